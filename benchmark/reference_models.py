"""HuBERT and its relatives as transformers, torchaudio and s3prl run them, with random weights of
any shape: the reference models that `speed` times beside this project's own.

Each is called as its own documentation or runner calls it, and asked for all hidden states, which
are what a benchmark needs:

* transformers: a zero-padded batch and no attention mask, as its documentation demands for models
  with a group norm (Wav2Vec2FeatureExtractor, return_attention_mask); with the mask for the others.
* torchaudio: `extract_features(waveforms, lengths)`, lengths only where something is padded.
* s3prl: the list of waveforms given to the upstream's expert, as s3prl/downstream/runner.py does;
  it pads by itself.
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

from .errors import BenchmarkError, MachineError, first_line, require
from .extras import install
from .s3prl_compat import s3prl_shim

# (N,) waveforms of one batch, on the device -> hidden states that nobody reads
ReferenceModel = Callable[[Sequence[Tensor]], Any]


def reference_models(shape: Any, device: str) -> tuple[dict[str, ReferenceModel], list[str]]:
    """What of the three can be built here, by name, and a sentence for each that cannot.

    Args:
        shape: dim, depth, heads, ffn, ..., as `HubertShape` names them.
    """
    logging.getLogger("s3prl").setLevel(logging.ERROR)
    found, notices = {}, []
    builders = {"transformers": of_transformers, "torchaudio": of_torchaudio, "s3prl": of_s3prl}
    kind = _kind(shape)
    if kind != "Hubert" or shape.pos_batch_norm or not shape.feature_norm:
        builders = {"transformers": of_transformers}
        notices.append(f"torchaudio and s3prl are compared on HuBERT's network, not on a {kind}'s")
    for name, build in builders.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[name] = build(shape, device)
        except BenchmarkError as error:
            notices.append(f"{name} is unavailable: {error}")
    return found, notices


def of_transformers(shape: Any, device: str) -> ReferenceModel:
    model = _transformers_model(shape).to(device)

    def reference(wavs: Sequence[Tensor]) -> Any:
        mask = None
        if shape.conv_norm == "layer" and _padded(wavs):
            ones = [torch.ones_like(w, dtype=torch.long) for w in wavs]
            mask = pad_sequence(ones, batch_first=True)
        batch = pad_sequence(list(wavs), batch_first=True)
        return model(batch, attention_mask=mask, output_hidden_states=True)

    return reference


def of_torchaudio(shape: Any, device: str) -> ReferenceModel:
    library = require(
        "torchaudio.models.wav2vec2.model", "the comparison with torchaudio", "torchaudio"
    )
    model = library.wav2vec2_model(
        extractor_mode="layer_norm" if shape.conv_norm == "layer" else "group_norm",
        extractor_conv_layer_config=_convolutions(shape),
        extractor_conv_bias=shape.conv_bias,
        encoder_embed_dim=shape.dim,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=shape.pos_kernel,
        encoder_pos_conv_groups=shape.pos_groups,
        encoder_num_layers=shape.depth,
        encoder_num_heads=shape.heads,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=shape.ffn,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=shape.pre_norm,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    )
    model = model.eval().to(device)

    def reference(wavs: Sequence[Tensor]) -> Any:
        lengths = torch.tensor([len(w) for w in wavs], device=device) if _padded(wavs) else None
        return model.extract_features(pad_sequence(list(wavs), batch_first=True), lengths)

    return reference


def of_s3prl(shape: Any, device: str) -> ReferenceModel:
    s3prl_shim()
    hubert = require("s3prl.upstream.hubert.hubert_model", "the comparison with s3prl", "s3prl")
    expert = require("s3prl.upstream.hubert.expert", "the comparison with s3prl", "s3prl")
    model_cfg = {
        "label_rate": 50.0,
        "encoder_layers": shape.depth,
        "encoder_embed_dim": shape.dim,
        "encoder_ffn_embed_dim": shape.ffn,
        "encoder_attention_heads": shape.heads,
        "final_dim": shape.unit_dim,
        "layer_norm_first": shape.pre_norm,
        "extractor_mode": "layer_norm" if shape.conv_norm == "layer" else "default",
        "conv_bias": shape.conv_bias,
        "conv_feature_layers": str(_convolutions(shape)),
        "conv_pos": shape.pos_kernel,
        "conv_pos_groups": shape.pos_groups,
        "logit_temp": 0.1,
    }
    task_cfg = {"normalize": shape.normalise_wav}
    symbols = [[str(i) for i in range(shape.units)]]
    model = hubert.HubertModel(
        hubert.HubertConfig(**model_cfg), hubert.HubertPretrainingConfig(**task_cfg), symbols
    )
    checkpoint = {
        "task_cfg": task_cfg,
        "model_cfg": model_cfg,
        "model_weight": model.state_dict(),
        "dictionaries_symbols": symbols,
    }
    with tempfile.TemporaryDirectory() as folder:  # its expert takes nothing but a file
        path = Path(folder) / "converted.pt"
        torch.save(checkpoint, path)
        upstream = expert.UpstreamExpert(str(path)).eval().to(device)
    return lambda wavs: upstream(list(wavs))["hidden_states"]


def _convolutions(shape: Any) -> list[tuple[int, int, int]]:
    """(channels, kernel, stride) of each."""
    return [(shape.conv_dim, k, s) for k, s in zip(shape.kernels, shape.strides, strict=True)]


def _padded(wavs: Sequence[Tensor]) -> bool:
    return len({len(w) for w in wavs}) > 1


def _kind(shape: Any) -> str:
    """Whose network it is, as transformers names it; wav2vec 2.0's is HuBERT's."""
    if shape.buckets:
        return "WavLM"
    return "Data2VecAudio" if shape.pos_layers > 1 else "Hubert"


def _transformers_model(shape: Any) -> nn.Module:
    transformers = require("transformers", "the comparison with transformers", "hf")
    kind = _kind(shape)
    sizes = {
        "hidden_size": shape.dim,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.ffn,
        "conv_dim": (shape.conv_dim,) * len(shape.kernels),
        "conv_kernel": shape.kernels,
        "conv_stride": shape.strides,
        "conv_bias": shape.conv_bias,
        "feat_extract_norm": shape.conv_norm,
        "num_conv_pos_embeddings": shape.pos_kernel,
        "num_conv_pos_embedding_groups": shape.pos_groups,
        "do_stable_layer_norm": shape.pre_norm,
    }
    own = {
        "WavLM": {"num_buckets": shape.buckets, "max_bucket_distance": shape.max_distance},
        "Data2VecAudio": {
            "num_conv_pos_embeddings": shape.pos_layers,
            "conv_pos_kernel_size": shape.pos_kernel,
        },
        "Hubert": {
            "conv_pos_batch_norm": shape.pos_batch_norm,
            "feat_proj_layer_norm": shape.feature_norm,
        },
    }
    try:
        config = getattr(transformers, f"{kind}Config")(**sizes | own[kind])
        return getattr(transformers, f"{kind}Model")(config).eval()
    # Its lazy modules fail when first touched.
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise MachineError(
            f"{kind}Model of transformers cannot be used ({type(error).__name__}: "
            f"{first_line(error)}); run: {install('hf')}"
        ) from error
