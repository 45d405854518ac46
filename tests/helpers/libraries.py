"""HuBERT and its relatives as the three libraries build them, of any shape."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from earlyexit_superb.benchmark.errors import require
from earlyexit_superb.upstreams.backbones.hubert_shape import KERNELS, STRIDES, HubertShape
from oracles import s3prl_module
from torch import Tensor, nn
from torch.nn import functional as F


@torch.no_grad()
def unlike_new(model: nn.Module) -> nn.Module:
    """New models have zero biases and unit norms, which would hide a name that was
    mapped to another's place.
    """
    draw = torch.Generator().manual_seed(1)
    for name, p in model.named_parameters():
        if p.ndim == 1 or name.endswith(("_const", "grep_a")):
            p.add_(torch.randn(p.shape, generator=draw) * 0.1)
        if "rel_attn_embed" in name or "relative_attention_bias" in name:
            p.copy_(torch.randn(p.shape, generator=draw))
        if "gru_rel_pos_linear.weight" in name or "grep_linear.weight" in name:
            p.copy_(torch.randn(p.shape, generator=draw) * 0.3)
    for name, b in model.named_buffers():
        if name.endswith("running_mean"):
            b.add_(torch.randn(b.shape, generator=draw))
        if name.endswith("running_var"):
            b.mul_(torch.rand(b.shape, generator=draw) + 0.5)
    return model.eval()


def library(name: str):
    """Part of the install set: a test without it has failed, not passed."""
    return require(name, "this test", "all")


def config_of(shape: HubertShape, kind: str = "Hubert"):
    """kind: Hubert, Wav2Vec2, WavLM or Data2VecAudio."""
    sizes = {
        "hidden_size": shape.dim,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.ffn,
        "conv_dim": (shape.conv_dim,) * len(shape.kernels),
        "conv_kernel": shape.kernels,
        "conv_stride": shape.strides,
        "conv_bias": shape.conv_bias,
        "num_conv_pos_embedding_groups": shape.pos_groups,
    }
    if kind == "Data2VecAudio":
        sizes |= {
            "num_conv_pos_embeddings": shape.pos_layers,
            "conv_pos_kernel_size": shape.pos_kernel,
        }
    else:
        sizes |= {
            "feat_extract_norm": shape.conv_norm,
            "num_conv_pos_embeddings": shape.pos_kernel,
            "do_stable_layer_norm": shape.pre_norm,
        }
    if kind == "Hubert":
        sizes |= {
            "conv_pos_batch_norm": shape.pos_batch_norm,
            "feat_proj_layer_norm": shape.feature_norm,
        }
    if kind == "WavLM":
        sizes |= {"num_buckets": shape.buckets, "max_bucket_distance": shape.max_distance}
    return getattr(library("transformers"), f"{kind}Config")(**sizes)


def of_transformers(shape: HubertShape, kind: str = "Hubert") -> nn.Module:
    torch.manual_seed(2)
    model = getattr(library("transformers"), f"{kind}Model")
    return unlike_new(model(config_of(shape, kind)))


def of_torchaudio(model: nn.Module) -> nn.Module:
    """torchaudio's own conversion of a transformers model."""
    return library("torchaudio.models.wav2vec2.utils").import_huggingface_model(model).eval()


def of_s3prl(shape: HubertShape, path) -> SimpleNamespace:
    """A checkpoint file of s3prl's format with s3prl's own initial weights, and the expert
    that s3prl makes of it.
    """
    library("torchaudio")
    expert, hubert_model = (
        s3prl_module("upstream.hubert.expert"),
        s3prl_module("upstream.hubert.hubert_model"),
    )
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
        "conv_feature_layers": str(
            [(shape.conv_dim, k, s) for k, s in zip(KERNELS, STRIDES, strict=True)]
        ),
        "conv_pos": shape.pos_kernel,
        "conv_pos_groups": shape.pos_groups,
        "logit_temp": 0.1,
    }
    task_cfg = {"normalize": shape.normalise_wav}
    symbols = [[str(i) for i in range(shape.units)]]
    torch.manual_seed(3)
    model = unlike_new(
        hubert_model.HubertModel(
            hubert_model.HubertConfig(**model_cfg),
            hubert_model.HubertPretrainingConfig(**task_cfg),
            symbols,
        )
    )
    torch.save(
        {
            "task_cfg": task_cfg,
            "model_cfg": model_cfg,
            "model_weight": model.state_dict(),
            "dictionaries_symbols": symbols,
        },
        path,
    )
    del model
    return expert.UpstreamExpert(str(path)).eval()


def heard(shape: HubertShape, wav: Tensor) -> Tensor:
    """(1, N) as a library wants it that leaves the normalisation to its user."""
    return (F.layer_norm(wav, wav.shape) if shape.normalise_wav else wav)[None]


@contextmanager
def doubled(model: nn.Module) -> Iterator[None]:
    """The library's own code in double precision: in float32 its states of Base are further from
    those than ours are.
    """
    model.double()
    with torch.no_grad():
        yield
    model.float()


def states_of_transformers(model: nn.Module, shape: HubertShape, wav: Tensor) -> list[Tensor]:
    with doubled(model):
        out = model(heard(shape, wav.double()), output_hidden_states=True)
    # a pre-norm model's last one is normalised
    return [x.float() for x in (*out.hidden_states[:-1], out.last_hidden_state)]


def states_of_torchaudio(model: nn.Module, shape: HubertShape, wav: Tensor) -> list[Tensor]:
    with doubled(model):
        out, _ = model.extract_features(heard(shape, wav.double()))
        out = [
            *out[:-1],
            model.encoder.transformer.layer_norm(out[-1]) if shape.pre_norm else out[-1],
        ]
    return [x.float() for x in out]


@torch.no_grad()
def logits_of_s3prl(model: nn.Module, state: Tensor) -> Tensor:
    """(1, T, D) -> (T, units). Its function puts the target first and strikes it out of the rest;
    unit 0 stays in place.
    """
    targets = model.label_embs_concat[:1].expand(state.shape[1], -1)
    negatives = model.label_embs_concat[:, None].expand(-1, state.shape[1], -1)
    found = model.compute_nce(model.final_proj(state[0]), targets, negatives)
    assert (found[:, 1] == -torch.inf).all()
    return torch.cat([found[:, :1], found[:, 2:]], 1)
