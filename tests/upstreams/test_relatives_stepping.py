"""Stepping through wav2vec 2.0, WavLM and data2vec: what is computed when, and what it costs."""

import pytest
import torch
from earlyexit_superb.benchmark.registry import build_upstream, upstream_class
from earlyexit_superb.upstreams.backbones.hubert import HubertNet
from earlyexit_superb.upstreams.backbones.hubert_shape import frame_counts, macs_to
from earlyexit_superb.upstreams.backbones.hubert_weights import load, save
from earlyexit_superb.upstreams.backbones.positions import PositionConvolution, RelativeBias
from helpers.hubert import (
    SAMPLES,
    SMALL_DATA2VEC,
    SMALL_MHUBERT,
    SMALL_WAVLM,
    close,
    padded,
    states,
)
from helpers.libraries import config_of, library
from torch import nn
from torch.nn import functional

FAMILIES = ("wav2vec2", "wavlm", "data2vec")
SMALL_ONES = pytest.mark.parametrize(
    "shape", [SMALL_WAVLM, SMALL_DATA2VEC, SMALL_MHUBERT], ids=["wavlm", "data2vec", "mhubert"]
)


# ---- stepping ----


@SMALL_ONES
@pytest.mark.parametrize("grad", [False, True], ids=["alone", "padded"])
def test_rows_that_are_sent_on_keep_their_states(clips, shape, grad):
    net, _ = load("random", shape)
    with torch.set_grad_enabled(grad):
        batch = nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor(SAMPLES)
        whole, steps = list(net.states(*batch)), net.states(*batch)
        close([next(steps), next(steps)], whole[:2])
        keep = torch.tensor([2, 0])
        close([steps.send(keep)], [whole[2][keep]])
        close([steps.send(torch.tensor([1]))], [whole[3][[0]]])


def test_the_table_of_distances_is_looked_up_once_and_not_for_depth_0(clips, monkeypatch):
    net, looked, usual = load("random", SMALL_WAVLM)[0], [], RelativeBias.forward
    monkeypatch.setattr(
        RelativeBias, "forward", lambda self, frames: looked.append(frames) or usual(self, frames)
    )
    batch = nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor(SAMPLES)
    with torch.no_grad():
        steps = net.states(*batch)
        next(steps)
        assert looked == []
        assert len(list(steps)) == SMALL_WAVLM.depth and looked == [frame_counts(max(SAMPLES))]


def test_the_bias_goes_into_the_fused_attention(clips, monkeypatch):
    net, given = load("random", SMALL_WAVLM)[0], []
    fused = functional.scaled_dot_product_attention

    def spy(q, k, v, attn_mask, dropout_p):
        given.append(attn_mask)
        return fused(q, k, v, attn_mask=attn_mask, dropout_p=dropout_p)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
    padded(net, clips)
    frames, heads = frame_counts(max(SAMPLES)), SMALL_WAVLM.heads
    assert [mask.shape for mask in given] == [(3, heads, frames, frames)] * SMALL_WAVLM.depth
    unread = given[0][0, :, :, frame_counts(SAMPLES[0]) :]
    assert (unread == -torch.inf).all() and not torch.allclose(given[0][2], given[1][2])


def test_a_plan_without_block_1_keeps_the_table(clips):
    net, _ = load("random", SMALL_WAVLM)
    some = net.with_blocks([2, 3])
    assert some.encoder.relative_bias is net.encoder.relative_bias
    with torch.no_grad():
        x = net.position(net.project(clips[0][None], torch.tensor([SAMPLES[0]])))
        wanted = x
        for depth in (2, 3):
            wanted = net.block(depth, wanted, None, net.relative_bias(x.shape[1]))
    close([states(some, clips[:1])[-1]], [wanted])
    plan = build_upstream("block_plan", {"backbone": "wavlm.tiny", "blocks": "2-12:2"})
    assert (
        plan.card.depth == 6 and len(list(plan.states(clips[0][None], torch.tensor([8000])))) == 7
    )


@pytest.mark.parametrize("shape", [SMALL_DATA2VEC, SMALL_MHUBERT], ids=["data2vec", "mhubert"])
def test_padding_would_change_a_state_without_its_care(clips, shape, monkeypatch):
    """The tests of batches can fail: without the masks within its positions a state moves."""
    net, usual = load("random", shape)[0], PositionConvolution.forward
    with torch.no_grad():
        for part in net.modules():
            if hasattr(part, "running_mean"):
                part.running_mean += 1
    right = padded(net, clips)[0]
    monkeypatch.setattr(PositionConvolution, "forward", lambda self, x, _: usual(self, x, None))
    frames = frame_counts(SAMPLES[0], shape)
    assert (padded(net, clips)[0] - right)[0, :frames].abs().max() > 1e-3


@SMALL_ONES
def test_our_own_format_keeps_the_shape(tmp_path, shape):
    net, _ = load("random", shape, seed=4)
    save(net, tmp_path / "w.safetensors", torch.float32)
    again, _ = load(str(tmp_path / "w.safetensors"), shape)
    assert again.shape == shape and again.state_dict().keys() == net.state_dict().keys()
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


# ---- what it costs ----


def _shapes():
    """Every published one; in short runs those that tell the families' terms apart."""
    short = ("wavlm.base", "data2vec.base", "wav2vec2.large_960")
    for family in FAMILIES:
        for tag, shape in upstream_class(family).shapes.items():
            name = f"{family}.{tag}"
            marks = () if name in short else pytest.mark.slow
            yield pytest.param(shape, id=name, marks=marks)
    yield pytest.param(SMALL_MHUBERT, id="mhubert")


@pytest.mark.parametrize("shape", _shapes())
def test_macs_are_what_the_flop_counter_counts_and_a_bias_a_score(shape):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    samples = 12_345
    with torch.device("meta"):
        net, wav = HubertNet(shape), torch.zeros(1, samples)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        x = net.project(wav, torch.tensor([samples]))
        counted = [counter.get_total_flops() // 2]
        x = net.position(x)
        block_input = counter.get_total_flops() // 2
        for _ in net.blocks(x, None):
            counted.append(counter.get_total_flops() // 2)
    scores = x.shape[1] ** 2 * shape.heads if shape.buckets else 0
    counted = [n + depth * scores for depth, n in enumerate(counted)]
    assert [macs_to(shape, samples, depth) for depth in range(shape.depth + 1)] == counted
    assert macs_to(shape, samples, 0, projection=False) == block_input


def parameters(module):
    return sum(p.numel() for p in module.parameters())


KINDS = {"wav2vec2": "Wav2Vec2", "wavlm": "WavLM", "data2vec": "Data2VecAudio", "hubert": "Hubert"}


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("tag", ["base", "large"])
def test_parameters_are_those_of_transformers(family, tag):
    """Ours are its own without the mask's embedding, and with the positional convolution's weight
    norm, one magnitude a tap, folded in."""
    shape = upstream_class(family).shapes[tag]
    with torch.device("meta"):
        ours = HubertNet(shape, with_head=False)
        theirs = getattr(library("transformers"), f"{KINDS[family]}Model")(
            config_of(shape, KINDS[family])
        )
    magnitudes = shape.pos_kernel if shape.pos_layers == 1 else 0
    assert parameters(ours) + shape.dim + magnitudes == parameters(theirs)


# of the tables of SUPERB (Yang et al., 2021) and WavLM (Chen et al., 2022), in millions
PAPERS = {
    ("wav2vec2", "base"): 95.04,
    ("wav2vec2", "large_960"): 317.38,
    ("hubert", "large"): 316.61,
    ("wavlm", "base"): 94.70,
    ("wavlm", "base_plus"): 94.70,
    ("wavlm", "large"): 316.62,
}


@pytest.mark.parametrize(("family", "tag"), PAPERS)
def test_parameters_are_those_of_the_papers_with_what_only_the_pre_training_used(family, tag):
    """The papers count whole checkpoints: mask embedding, magnitudes, and wav2vec 2.0's quantiser
    (2 x 320 entries, 128 or 384 wide) with its two projections, or the label embeddings of HuBERT
    and WavLM with the projection to them. None of it is computed here."""
    shape = upstream_class(family).shapes[tag]
    with torch.device("meta"):
        ours = parameters(HubertNet(shape, with_head=False))
    ours += shape.dim + shape.pos_kernel
    wide = 256 if shape.depth == 12 else 768
    if family == "wav2vec2":
        ours += 640 * (shape.conv_dim + 1) + 640 * wide // 2
        ours += wide * (wide + 1) + wide * (shape.dim + 1)
    else:
        ours += wide * (shape.dim + 1) + 504 * wide
    assert ours / 1e6 == pytest.approx(PAPERS[family, tag], abs=0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_speed_compares_with_what_runs_the_same_network(family, clips):
    found, notices = build_upstream(family).reference_models("cpu")
    with torch.no_grad():
        out = found["transformers"](clips[:2])
    assert len(out.hidden_states) == 13 and out.hidden_states[0].shape[2] == 192
    if family == "wav2vec2":
        assert set(found) == {"transformers", "torchaudio", "s3prl"} and not notices
        assert len(found["s3prl"](clips[:1])) == 13
    else:
        assert set(found) == {"transformers"} and "not on a" in notices[0]
