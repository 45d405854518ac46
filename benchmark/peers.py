"""HuBERT as transformers, torchaudio and s3prl run it, with random weights of any shape: whom `speed` is held against.

Each is called as its own documentation or runner calls it, all hidden states asked for, which are what a benchmark needs:

* transformers: a zero-padded batch and no attention mask, as its documentation demands for models with a group norm
  (Wav2Vec2FeatureExtractor, return_attention_mask); with the mask for the others.
* torchaudio: `extract_features(waveforms, lengths)`, lengths only where something is padded.
* s3prl: the list of waveforms given to the upstream's expert, as s3prl/downstream/runner.py does; it pads by itself.
"""
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from .errors import Complaint, MachineError, need
from .extras import install
from .shim import s3prl_shim

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)       # of every HuBERT and wav2vec 2.0

Peer = Callable[[Sequence[Tensor]], Any]      # waveforms (N,) of one batch, on the device -> hidden states nobody looks at


def peers(shape: Any, device: str) -> tuple[dict[str, Peer], list[str]]:
    """What of the three can be built here for a shape (dim, depth, heads, ffn, ... as upstreams/_hubert.py names them), and why not the rest."""
    logging.getLogger("s3prl").setLevel(logging.ERROR)
    found, notices = {}, []
    for name, build in (("transformers", of_transformers), ("torchaudio", of_torchaudio), ("s3prl", of_s3prl)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[name] = build(shape, device)
        except Complaint as error:
            notices.append(f"{name} is unavailable: {error}")
    return found, notices


def of_transformers(shape: Any, device: str) -> Peer:
    model = _transformers_model(shape).to(device)

    def peer(wavs: Sequence[Tensor]):
        mask = None
        if shape.conv_norm == "layer" and len({len(w) for w in wavs}) > 1:
            mask = pad_sequence([torch.ones_like(w, dtype=torch.long) for w in wavs], batch_first=True)
        return model(pad_sequence(list(wavs), batch_first=True), attention_mask=mask, output_hidden_states=True)
    return peer


def of_torchaudio(shape: Any, device: str) -> Peer:
    library = need("torchaudio.models.wav2vec2.model", "the comparison with torchaudio", "torchaudio")
    model = library.wav2vec2_model(
        "layer_norm" if shape.conv_norm == "layer" else "group_norm",
        [(shape.conv_dim, k, s) for k, s in zip(KERNELS, STRIDES, strict=True)], shape.conv_bias, shape.dim, 0.0, shape.pos_kernel,
        shape.pos_groups, shape.depth, shape.heads, 0.0, shape.ffn, 0.0, 0.0, shape.pre_norm, 0.0, None).eval().to(device)

    def peer(wavs: Sequence[Tensor]):
        lengths = None
        if len({len(w) for w in wavs}) > 1:
            lengths = torch.tensor([len(w) for w in wavs], device=device)
        return model.extract_features(pad_sequence(list(wavs), batch_first=True), lengths)
    return peer


def of_s3prl(shape: Any, device: str) -> Peer:
    s3prl_shim()
    hubert = need("s3prl.upstream.hubert.hubert_model", "the comparison with s3prl", "s3prl")
    expert = need("s3prl.upstream.hubert.expert", "the comparison with s3prl", "s3prl")
    model_cfg = {
        "label_rate": 50.0, "encoder_layers": shape.depth, "encoder_embed_dim": shape.dim, "encoder_ffn_embed_dim": shape.ffn,
        "encoder_attention_heads": shape.heads, "final_dim": shape.unit_dim, "layer_norm_first": shape.pre_norm,
        "extractor_mode": "layer_norm" if shape.conv_norm == "layer" else "default", "conv_bias": shape.conv_bias,
        "conv_feature_layers": str([(shape.conv_dim, k, s) for k, s in zip(KERNELS, STRIDES, strict=True)]),
        "conv_pos": shape.pos_kernel, "conv_pos_groups": shape.pos_groups, "logit_temp": 0.1}
    task_cfg, symbols = {"normalize": shape.normalise_wav}, [[str(i) for i in range(shape.units)]]
    weights = hubert.HubertModel(hubert.HubertConfig(**model_cfg), hubert.HubertPretrainingConfig(**task_cfg), symbols).state_dict()
    with tempfile.TemporaryDirectory() as folder:       # its expert takes nothing but a file
        path = Path(folder) / "converted.pt"
        torch.save({"task_cfg": task_cfg, "model_cfg": model_cfg, "model_weight": weights, "dictionaries_symbols": symbols}, path)
        model = expert.UpstreamExpert(str(path)).eval().to(device)
    return lambda wavs: model(list(wavs))["hidden_states"]


def _transformers_model(shape: Any) -> nn.Module:
    transformers = need("transformers", "the comparison with transformers", "hf")
    try:
        config = transformers.HubertConfig(
            hidden_size=shape.dim, num_hidden_layers=shape.depth, num_attention_heads=shape.heads, intermediate_size=shape.ffn,
            conv_dim=(shape.conv_dim,) * 7, conv_bias=shape.conv_bias, feat_extract_norm=shape.conv_norm,
            num_conv_pos_embeddings=shape.pos_kernel, num_conv_pos_embedding_groups=shape.pos_groups, do_stable_layer_norm=shape.pre_norm)
        return transformers.HubertModel(config).eval()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:       # its lazy modules fail when first touched
        raise MachineError(f"HubertModel of transformers cannot be used ({type(error).__name__}: {str(error).splitlines()[0]}); "
                           f"run: {install('hf')}") from error
