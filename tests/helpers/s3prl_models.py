"""wav2vec 2.0, WavLM and data2vec as s3prl builds them, each as the checkpoint file that its expert
reads.
"""

from types import SimpleNamespace

import torch
from earlyexit_superb.upstreams.backbones.hubert_shape import HubertShape
from oracles import s3prl_module
from torch import nn

from .libraries import library, unlike_new


def of_s3prl(kind: str, shape: HubertShape, path) -> SimpleNamespace:
    """kind: wav2vec2, wavlm or data2vec. Writes the checkpoint, and returns s3prl's expert."""
    library("torchaudio")
    torch.manual_seed(3)
    model_cfg = _model_cfg(shape)
    normalize = {"normalize": shape.normalise_wav}
    if kind == "wavlm":
        blob = _wavlm(model_cfg | normalize, shape)
    else:
        blob = _converted(kind, model_cfg, shape) | {"task_cfg": normalize}
    torch.save(blob, path)
    return s3prl_module(f"upstream.{kind}.expert").UpstreamExpert(str(path)).eval()


def _model_cfg(shape: HubertShape) -> dict:
    steps = zip(shape.kernels, shape.strides, strict=True)
    return {
        "encoder_layers": shape.depth,
        "encoder_embed_dim": shape.dim,
        "encoder_ffn_embed_dim": shape.ffn,
        "encoder_attention_heads": shape.heads,
        "layer_norm_first": shape.pre_norm,
        "extractor_mode": "layer_norm" if shape.conv_norm == "layer" else "default",
        "conv_bias": shape.conv_bias,
        "conv_feature_layers": str([(shape.conv_dim, k, s) for k, s in steps]),
        "conv_pos_groups": shape.pos_groups,
        "conv_pos": shape.pos_kernel,
    }


def _wavlm(cfg: dict, shape: HubertShape) -> dict:
    library_code = s3prl_module("upstream.wavlm.WavLM")
    cfg |= {
        "relative_position_embedding": True,
        "gru_rel_pos": True,
        "num_buckets": shape.buckets,
        "max_distance": shape.max_distance,
    }
    model = unlike_new(library_code.WavLM(library_code.WavLMConfig(cfg)))
    return {"cfg": cfg, "model": model.state_dict()}


def _converted(kind: str, cfg: dict, shape: HubertShape) -> dict:
    """As s3prl converts fairseq's, quantiser and running average of the pre-training included."""
    code = s3prl_module(f"upstream.{kind}.{kind}_model")
    if kind == "wav2vec2":
        few = {"final_dim": 8, "latent_vars": 4, "latent_groups": 2}
        cfg |= {"_name": "wav2vec2", "quantize_targets": True, **few}
        model = code.Wav2Vec2Model(code.Wav2Vec2Config(**_without_name(cfg)))
        more = {}
    else:
        deep = shape.pos_kernel * shape.pos_layers
        cfg |= {"_name": "data2vec_audio", "pos_conv_depth": shape.pos_layers, "conv_pos": deep}
        model = code.Data2VecAudioModel(code.Data2VecAudioConfig(**_without_name(cfg)))
        model.final_proj = nn.Identity()  # the expert leaves it out
        more = {"_ema": {"layers.0.fc1.weight": torch.zeros(2)}}
    return {"model_cfg": cfg, "model_weight": dict(unlike_new(model).state_dict()) | more}


def _without_name(cfg: dict) -> dict:
    return {key: value for key, value in cfg.items() if key != "_name"}
