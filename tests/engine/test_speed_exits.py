"""What early exiting computes and waits for: no block too many, no bit that the batch decides."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.engine import speed_bench, speed_exits
from earlyexit_superb.benchmark.exiting import Exit, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones.convolutions import PIECE, Convolutions
from earlyexit_superb.upstreams.backbones.hubert_shape import SHORTEST, STRIDE
from earlyexit_superb.upstreams.daisy import entropy
from helpers.hubert import SMALL
from toys.toy import Toy

LENGTHS = torch.tensor([16_000, 9_999, 12_800])


@pytest.fixture(scope="module")
def daisy():
    return build_upstream("daisy.tiny", {"weights": "random"}).requires_grad_(False)


@pytest.fixture(scope="module")
def wavs():
    own = torch.arange(16_000) < LENGTHS[:, None]
    return 0.1 * torch.randn(3, 16_000, generator=torch.Generator().manual_seed(0)) * own


# ---- what is computed ----


@pytest.mark.parametrize(
    "shape",
    [SMALL, replace(SMALL, conv_norm="layer", conv_bias=True)],
    ids=["group norm", "layer norm"],
)
def test_convolutions_piece_by_piece_are_the_convolutions(shape):
    torch.manual_seed(0)
    convolutions = Convolutions(shape)
    with torch.no_grad():
        for p in convolutions.parameters():
            p.add_(0.1 * torch.randn_like(p))
        piece = STRIDE * PIECE
        around = (piece + 79, piece + 80, piece + STRIDE + 80, 2 * piece + 5_000)
        for samples in (SHORTEST, 719, 720, 721, *around):
            wav = 0.1 * torch.randn(samples) + 0.05
            whole = convolutions(wav[None], torch.tensor([samples]))[0]
            torch.testing.assert_close(convolutions.alone(wav), whole, atol=1e-5, rtol=1e-5)


def test_no_block_beyond_an_exit_runs_and_none_for_who_left(daisy, wavs, monkeypatch):
    net, ran = daisy.inner.net, []
    outputs = net.outputs
    monkeypatch.setattr(
        net,
        "outputs",
        lambda depth, x, mask, *bias: (
            ran.append((depth, x.shape[1], mask)),
            outputs(depth, x, mask, *bias),
        )[1],
    )
    own = daisy.frames(LENGTHS).tolist()
    run_until_exit(daisy, wavs, LENGTHS, Exit((4,)))
    assert ran == [(k, n, None) for k in range(1, 5) for n in own]  # no frame of padding either
    ran.clear()
    monkeypatch.setattr(
        daisy, "evidence", lambda depth, state, previous, frames: (frames != own[1]).float()
    )
    out = run_until_exit(daisy, wavs, LENGTHS, Exit((2, 5), 0.5))
    assert out.depth.tolist() == [5, 2, 5] and out.states.shape[:3] == (6, 3, max(own))
    assert [(k, n) for k, n, _ in ran] == [(k, n) for k in (1, 2) for n in own] + [
        (k, n) for k in (3, 4, 5) for n in (own[0], own[2])
    ]
    assert not out.states[3:, 1].any() and out.states[2, 1, : own[1]].any()


def test_a_device_is_read_once_at_each_tested_depth_and_nowhere_else(wavs):
    """The meta device has no numbers: whoever tries to read one fails."""
    daisy = build_upstream("daisy.tiny", {"weights": "random"}).to("meta")
    blind = wavs.to("meta")
    assert run_until_exit(daisy, blind, LENGTHS, Exit((12,))).states.shape == (13, 3, 49, 192)
    asked, evidence = [], daisy.evidence
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        run_until_exit(daisy, blind, LENGTHS, Exit((3, 12), 0.0))
    daisy.evidence = lambda depth, *args: (
        asked.append(evidence(depth, *args).device.type),
        torch.tensor([1.0, -1.0, 1.0][: len(args[0])]),
    )[1]
    out = run_until_exit(daisy, blind, LENGTHS, Exit((3, 7, 9), 0.0))
    assert out.depth.tolist() == [9, 3, 7] and asked == ["meta", "meta"]


# ---- evidence ----


def test_fused_entropy_is_the_entropy():
    torch.manual_seed(0)
    for scale in (0.01, 1.0, 10.0, 300.0):
        logits = scale * torch.randn(400, 504)
        exact = torch.special.entr(logits.double().softmax(-1)).sum(-1)
        mean = float(exact.mean())
        assert abs(float(entropy(logits).mean()) - mean) < 1e-6 * max(1.0, mean)
        torch.testing.assert_close(entropy(logits).double(), exact, atol=5e-6, rtol=5e-6)


def test_evidence_and_states_do_not_differ_by_one_bit_between_batches(daisy, wavs):
    frames = daisy.frames(LENGTHS)
    with torch.no_grad():
        together = list(daisy.states(wavs, LENGTHS))
        for row, samples in enumerate(LENGTHS.tolist()):
            alone = list(daisy.states(wavs[row : row + 1, :samples], LENGTHS[row : row + 1]))
            for depth in range(13):
                assert torch.equal(together[depth][row, : frames[row]], alone[depth][0])
                if depth:
                    own = frames[row : row + 1]
                    [mine] = daisy.evidence(depth, alone[depth], alone[depth - 1], own)
                    among = daisy.evidence(depth, together[depth], together[depth - 1], frames)
                    assert mine == among[row]


# ---- the table ----


def test_every_utterance_leaves_where_the_plan_says(daisy, wavs):
    for tested in ((1, 2, 3), (2, 3)):
        exit = speed_exits.leaving_at(3, tested, 12)
        assert run_until_exit(daisy, wavs, LENGTHS, exit).depth.tolist() == [3] * 3
        assert tuple(exit.tested) == tested


class Sparse(Toy):
    """Six blocks with branches at 2 and 4 alone."""

    exits = (2, 4)

    def __init__(self):
        super().__init__(blocks=6)

    def evidence(self, depth, state, previous, frames):
        assert depth in self.exits
        return super().evidence(depth, state, previous, frames)


def test_only_depths_with_a_branch_are_tested():
    bench = speed_bench.Bench(Sparse().eval(), "fp32", "cpu", [torch.randn(8000)], 2)
    plans = speed_exits.early_runs(bench)
    assert [n for n in plans if n.startswith("exit")] == [f"exit {k}" for k in range(1, 6)]
    assert {n: (p.left, tuple(p.exit.tested)) for n, p in plans.items() if "tested" in n} == {
        "toy, all depths tested": (2, (2,)),
        "toy, two depths tested": (2, (2,)),
    }
    walks = speed_exits.Walks(bench, True)
    for _ in range(3):
        walks(bench.wavs[0])
    assert len(walks.parts()) == len(walks.of_branches()) == 7 + 2
    assert np.flatnonzero(walks.of_branches()).tolist() == [3, 6]
