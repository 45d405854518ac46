"""Our student beside s3prl's own distiller: states, told states and loss from the same weights."""

from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones import hubert_weights
from earlyexit_superb.upstreams.distilhubert import DistilHubert
from earlyexit_superb.upstreams.training import distillation_student
from helpers import wav
from helpers.hubert import SMALL, close
from helpers.libraries import unlike_new
from oracles import s3prl_module
from torch import nn

SHAPE = replace(SMALL, depth=2, units=0, feature_norm=False)
BASE = DistilHubert.shape_of("base")
TOLD = 3


def of_s3prl(shape, path):
    """s3prl's distiller with random weights, and its checkpoint in `path`."""
    module = s3prl_module("upstream.distiller.model")
    convolutions = zip(shape.kernels, shape.strides, strict=True)
    config = {
        "extractor_conv_feature_layers": str([(shape.conv_dim, k, s) for k, s in convolutions]),
        "conv_pos": shape.pos_kernel,
        "conv_pos_groups": shape.pos_groups,
        "encoder_layers": shape.depth,
        "encoder_embed_dim": shape.dim,
        "encoder_ffn_embed_dim": shape.ffn,
        "encoder_attention_heads": shape.heads,
        "final_dim": shape.dim,
        "n_tasks": TOLD,
        "pred_layer_id": [4, 8, 12],
    }
    torch.manual_seed(0)
    model = unlike_new(module.DistillerModel(module.DistillerConfig(config)))
    states = {"Distiller": model.state_dict(), "Config": {"distiller": config}, "Step": 1}
    torch.save(states, path)
    return model


@torch.no_grad()
def by_s3prl(model, sound):
    """Its states 0 to L of one utterance, and the states that it tells: (told, 1, T, D)."""
    wavs = sound[None]
    _, first, told, _, hidden = model(wavs, torch.ones_like(wavs), get_hidden=True)
    return [first, *hidden], told.transpose(0, 1)


def heads_of(model, dim):
    """Its two wide layers are as many narrow heads beside one another."""
    first, _, second = model.output_layer
    heads = []
    for k in range(TOLD):
        head = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
        head[0].weight.data = first.weight.data[k * dim : (k + 1) * dim]
        head[0].bias.data = first.bias.data[k * dim : (k + 1) * dim]
        head[2].weight.data, head[2].bias.data = second.weight.data[k].T, second.bias.data[0, 0, k]
        heads.append(head)
    return nn.ModuleList(heads)


def held_beside_s3prl(shape, path, samples):
    model, sound = of_s3prl(shape, path), wav(samples)
    net, _ = hubert_weights.load(str(path), shape)
    theirs, told = by_s3prl(model, sound)
    lengths = torch.tensor([samples])
    with torch.no_grad():
        close(list(net.states(sound[None], lengths, projection=True)), theirs)
        student = distillation_student.Student(net, TOLD)
        student.heads = heads_of(model, shape.dim)
        ours = student(sound[None], lengths)
    torch.testing.assert_close(ours, told, atol=1e-5, rtol=1e-5)
    return ours, told


def test_states_and_told_states_are_those_of_s3prl(tmp_path):
    ours, told = held_beside_s3prl(SHAPE, tmp_path / "distiller.ckpt", 12_345)
    wanted = torch.randn(told.shape, generator=torch.Generator().manual_seed(1))
    found = distillation_student.distance(ours, wanted, 1.0).mean()
    # pretrain/distiller/pretrain_expert.py: the mean L1 loss plus the mean of -log sigmoid(cosine)
    similarity = nn.functional.cosine_similarity(told, wanted, dim=-1)
    asked = nn.functional.l1_loss(told, wanted) - nn.functional.logsigmoid(similarity).mean()
    torch.testing.assert_close(found, asked, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_states_are_those_of_s3prl_at_the_published_size(tmp_path):
    held_beside_s3prl(BASE, tmp_path / "distiller.ckpt", 16_000)


def test_weights_of_other_sizes_are_a_row_of_their_own(tmp_path):
    path = tmp_path / "distiller.ckpt"
    of_s3prl(SHAPE, path)
    upstream = build_upstream("distilhubert.own", {"weights": str(path)})
    card = upstream.card
    assert (card.depth, card.dim, card.kind, card.stepped) == (2, 32, "distilled", True)
    assert upstream.net.shape.heads == 2  # as its configuration says
    assert upstream.macs(16_000, 2) > upstream.macs(16_000, 1)
    with pytest.raises(UsageError, match="has the sizes of its weights; name them"):
        build_upstream("distilhubert.own")
    with pytest.raises(UsageError, match=r"has dim 32, .*choose the tag that fits"):
        build_upstream("distilhubert.base", {"weights": str(path)})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        # FitHuBERT shortens time by a convolution of its own
        (lambda state: state | {"time_reduction.conv.weight": torch.zeros(2, 2)}, "unknown time_"),
        # ARMHuBERT reuses the attention maps of the block before
        (
            lambda state: {k: v for k, v in state.items() if "layers.1.self_attn.q_" not in k},
            "lacks encoder.layers.1.attention.q_proj",
        ),
    ],
)
def test_another_architecture_is_refused_in_a_sentence(tmp_path, change, sentence):
    path = tmp_path / "other.ckpt"
    of_s3prl(SHAPE, path)
    there = torch.load(path)
    torch.save(there | {"Distiller": change(there["Distiller"])}, path)
    with pytest.raises(UsageError) as refused:
        build_upstream("distilhubert.own", {"weights": str(path)})
    said = str(refused.value)
    assert sentence in said and "\n" not in said
    assert said.endswith(f"--upstream s3prl:FOLDER/expert.py --set ckpt={path}")


def test_heads_are_never_guessed(tmp_path):
    path = tmp_path / "distiller.ckpt"
    model = of_s3prl(SHAPE, path)
    there = torch.load(path)
    there["Config"]["distiller"]["encoder_attention_heads"] = 5
    torch.save(there, path)
    with pytest.raises(UsageError, match="dim 32, which 5 heads do not divide"):
        build_upstream("distilhubert.own", {"weights": str(path)})
    torch.save(model.state_dict(), path)  # tensors alone do not tell its 2 heads from 4
    with pytest.raises(UsageError, match="does not state its heads and pre_norm, and no tag does"):
        build_upstream("distilhubert.own", {"weights": str(path)})
