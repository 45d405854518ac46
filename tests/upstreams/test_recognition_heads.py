"""Heads: sizes and costs of the publications, padding, ties."""

from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones.measuring import products
from earlyexit_superb.upstreams.recognition import heads
from earlyexit_superb.upstreams.recognition.heads import HeadShape
from helpers.recognition import ATTENTION, WIDENED, speller

SHAPES = {
    "linear": HeadShape(),
    "dnn": HeadShape("dnn"),
    "attention": ATTENTION,
    "widened": WIDENED,
}
EACH = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def head(shape, dim=12, symbols=7):
    return heads.new({1: shape}, dim, symbols)["1"].eval()


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@EACH
@torch.no_grad()
def test_an_utterance_alone_is_what_it_is_in_a_batch(shape):
    states, frames = torch.randn(3, 9, 12), torch.tensor([9, 4, 1])
    states[1, 4:], states[2, 1:] = 1e3, -1e3  # whatever stands behind an end
    one = head(shape)
    together = one(states, frames)
    assert together.shape == (3, 9, 7) and torch.equal(together, one(states, frames))
    for row, n in enumerate(frames.tolist()):
        alone = one(states[row : row + 1, :n], frames[row : row + 1])[0]
        torch.testing.assert_close(together[row, :n], alone, atol=1e-5, rtol=1e-5)


@EACH
def test_gradients_reach_every_parameter_and_the_states(shape):
    one, states = head(shape), torch.randn(2, 5, 12, requires_grad=True)
    one(states, torch.tensor([5, 3])).log_softmax(-1)[..., 2].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in (states, *one.parameters()))


@EACH
@pytest.mark.parametrize("frames", [1, 50])
def test_macs_are_what_the_flop_counter_counts(shape, frames):
    one, states = head(shape), torch.randn(1, frames, 12)
    with torch.no_grad():
        assert one.macs(frames) == products(lambda: one(states, torch.tensor([frames])))


def test_what_a_recogniser_states_is_what_it_multiplies(clips):
    up, samples = speller(shape=ATTENTION), 6400
    with torch.no_grad():
        states = list(up.states(clips[0][None, :samples], torch.tensor([samples])))
        for depth in (1, 6):
            counted = products(
                lambda k=depth: up.answer(k, states[k], up.frames(torch.tensor([samples])))
            )
            assert up.answer_macs(samples, depth) == counted


def test_seeds_alone_decide_and_the_global_state_stays():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    made = [heads.new({1: ATTENTION, 2: ATTENTION}, 12, 7, seed) for seed in (5, 5, 6)]
    assert torch.equal(torch.rand(2), expected)
    first, again, other = (dict(bank.named_parameters()) for bank in made)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["1.out.weight"], other["1.out.weight"])
    assert not torch.equal(first["1.out.weight"], first["2.out.weight"])


def test_tied_heads_are_one():
    tied = heads.new(dict.fromkeys((2, 4, 6), HeadShape()), 12, 7, tied=True)
    assert heads.are_tied(tied) and parameters(tied) == 12 * 7 + 7 and list(tied) == ["2", "4", "6"]
    assert not heads.are_tied(heads.new({2: HeadShape(), 4: HeadShape()}, 12, 7))
    with pytest.raises(UsageError, match="heads of different shapes cannot be tied"):
        heads.new({2: HeadShape(), 4: ATTENTION}, 12, 7, tied=True)


# ---- the publications' sizes ----


def real(name, **options):
    """A system of published size, its parameters nowhere."""
    with torch.device("meta"):
        return build_upstream(name, {"weights": "random", **options})


def test_hubert_ee_has_the_116_million_parameters_of_its_paper():
    up = real("hubert_ee.base", branch="paper")
    assert parameters(up) == pytest.approx(115.7e6, abs=0.1e6)
    three = sum(parameters(up.heads[str(k)]) for k in (5, 8, 11))
    assert three == pytest.approx(21.35e6, abs=0.01e6)  # "about 22 M"
    light = real("hubert_ee.base")
    assert parameters(light.heads["5"]) == pytest.approx(3.56e6, abs=0.01e6)
    assert parameters(light.trunk) == pytest.approx(94.37e6, abs=0.01e6)
    tiny = build_upstream("hubert_ee.tiny")
    shape, widths = tiny.heads["5"].shape, tiny.heads["5"].enter.out_features
    assert (tiny.exits, widths, shape.heads) == ((5, 8, 11), 128, 4)


def test_wav2vec2_ctc_has_94_million_parameters():
    tied, separate = (real("wav2vec2_ctc.base", head=head) for head in ("tied", "separate"))
    assert parameters(tied) == pytest.approx(94.0e6, rel=0.005)
    assert parameters(separate) - parameters(tied) == 5 * (768 * 32 + 32)
    assert tied.exits == (2, 4, 6, 8, 10) and len(tied.heads) == 6
    single = real("wav2vec2_ctc.base", single="4")
    assert single.exits == () and single.knob is None and single.card.depth == 4
    assert single.macs(16_000, 4) == tied.macs(16_000, 4)


def test_zaiem_has_twelve_heads_of_two_maps_on_the_upper_half():
    up = real("zaiem.large")
    assert up.exits == tuple(range(13, 24)) and list(up.heads)[-1] == "24"
    assert parameters(up.heads) == 12 * (1024 * 1024 + 1024 + 1024 * 31 + 31)
    assert parameters(up.trunk) == pytest.approx(315.5e6, abs=0.5e6)
    assert up.answer_macs(160_000, 24) == 499 * 1024 * (1024 + 31)


def test_a_paper_size_branch_makes_late_exits_slower_than_the_model_without_them():
    """systems.md A2: 0.38 GMAC/s a branch; at 10 s it saves about 32, 11, -10 and -15 %."""
    up, samples = real("hubert_ee.base", branch="paper"), 160_000
    whole = up.macs(samples, 12) + up.answer_macs(samples, 12)
    assert up.answer_macs(samples, 5) / 10 == pytest.approx(0.38e9, rel=0.1)
    saved = []
    for left, tested in ((5, (5,)), (8, (5, 8)), (11, (5, 8, 11)), (12, (5, 8, 11, 12))):
        spent = up.macs(samples, left) + sum(up.answer_macs(samples, k) for k in tested)
        saved.append(100 * (1 - spent / whole))
    assert saved == pytest.approx([32, 11, -10, -15], abs=1.5)


def test_a_branch_of_another_size_costs_as_its_sizes_say():
    small, large = (head(replace(ATTENTION, blocks=n), 12, 7) for n in (1, 2))
    enter, out = 5 * 12 * 8, 5 * 8 * 7
    block = small.macs(5) - enter - out
    assert large.macs(5) == enter + out + 2 * block
