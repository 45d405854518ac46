"""Counted costs against hand counts; measured ones against given times."""

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.contract import Item
from earlyexit_superb.benchmark.engine import cost
from earlyexit_superb.benchmark.engine.parameters import Parameters
from earlyexit_superb.benchmark.engine.precision import at_precision
from earlyexit_superb.benchmark.exiting import Exit
from earlyexit_superb.benchmark.registry import build_upstream
from helpers import items_of
from torch import nn
from torch.nn import functional as F
from toys.contract import LETTERS, AnswersAfterwards, SelfAnswering
from toys.toy import Toy

# ---- parameters ----------------------------------------------------------------------------------


def hubert_count(dim, ffn, conv, pos, groups, depth):
    """Of a HuBERT with group norm and without convolution bias: (depth 0, each block)."""
    kernels = (10, 3, 3, 3, 3, 2, 2)
    convolutions = conv * kernels[0] + sum(conv * conv * k for k in kernels[1:]) + 2 * conv
    projection = 2 * conv + (conv + 1) * dim
    position = dim * (dim // groups) * pos + dim + 2 * dim
    block = 4 * (dim + 1) * dim + (dim + 1) * ffn + (ffn + 1) * dim + 4 * dim
    return convolutions + projection + position, block


@pytest.mark.parametrize(
    "tag, shape, units",  # units filled up to a multiple of 16
    [
        ("tiny", {"dim": 192, "ffn": 768, "conv": 128}, 512),
        ("base", {"dim": 768, "ffn": 3072, "conv": 512}, 512),
    ],
)
def test_parameters_are_those_of_a_hand_count(tag, shape, units):
    daisy = build_upstream(f"daisy.{tag}", {"weights": "random"})
    hubert = daisy.inner
    hubert.front = "block_input"  # the positional convolution belongs to depth 0
    front, block = hubert_count(**shape, pos=128, groups=16, depth=12)
    counted = Parameters(hubert)
    assert [counted.needed(k) for k in range(13)] == [front + k * block for k in range(13)]
    assert counted.all == counted.needed(12) == front + 12 * block
    head = sum(p.numel() for p in hubert.net.head.parameters())
    assert counted.all + head == sum(p.numel() for p in hubert.parameters())
    if tag == "base":  # Hsu et al., 2021; with the self-supervised head
        assert (counted.all, counted.all + head) == (94_370_816, 94_696_704)
    branch = (shape["dim"] + 1) * units
    counted = Parameters(daisy)
    assert counted.needed(6, (1, 2, 3, 9)) == front + 6 * block + 3 * branch
    assert counted.all == front + 12 * (block + branch)


def test_parameters_do_not_depend_on_how_they_are_read():
    tiny = build_upstream("daisy.tiny", {"weights": "random"})
    here = Parameters(tiny)
    low = Parameters(at_precision(tiny, "bf16"))
    assert [low.needed(k, (1, 5)) for k in range(13)] == [here.needed(k, (1, 5)) for k in range(13)]


class Tied(Toy):
    """One layer for all three blocks, a weight under two names, a slice of one, and a spare."""

    def __init__(self):
        super().__init__()
        for i in (1, 2):
            self.blocks[i] = self.blocks[0]
        self.again = nn.Parameter(self.blocks[0].weight.data)
        self.table, self.spare = nn.Parameter(torch.zeros(4, 16)), nn.Linear(9, 9)

    def states(self, wavs, lengths):
        for state in super().states(wavs, lengths):
            yield F.linear(state, torch.eye(16), self.table[2]) + F.linear(state, self.again)

    def answer(self, depth, state, frames):
        return list(state)


def test_a_weight_counts_once_and_one_that_nothing_reads_does_not():
    counted = Parameters(Tied(), answers=True)
    front, block, table, branch = 320 * 16 + 16, 17 * 16, 4 * 16, 17 * 8
    assert counted.needed(0) == front + 16 * 16 + table  # `again` is the block's weight
    assert counted.needed(1) == counted.needed(3) == front + block + table
    assert counted.all == counted.needed(3) + 3 * branch


class Elsewhere(Toy):
    """Its states come from where torch cannot see them computed."""

    def states(self, wavs, lengths):
        frames = int(self.frames(lengths).max())
        for _ in range(4):
            yield torch.from_numpy(np.ones((len(wavs), frames, 16), np.float32))


def test_an_upstream_that_torch_cannot_watch_counts_whole():
    upstream = Elsewhere()
    everything = sum(p.numel() for p in upstream.parameters())
    assert Parameters(upstream).needed(0) == Parameters(upstream).all == everything


def test_a_branch_that_answers_counts_where_its_answer_is_computed():
    upstream = SelfAnswering().eval()
    states, head = Parameters(upstream.inner), (192 + 1) * len(LETTERS)
    counted = Parameters(upstream, answers=True)
    assert counted.needed(4) == states.needed(4)
    assert counted.needed(4, (2, 4)) == states.needed(4) + 2 * head
    assert counted.all == states.all + 3 * head  # at 2, at 4, and where nobody left before
    assert Parameters(upstream).all == states.all + 2 * head  # a row that only reads its states


def test_an_answer_that_no_evidence_reads_counts_where_one_left():
    upstream = AnswersAfterwards().eval()
    states, head = Parameters(upstream.inner), (192 + 1) * len(LETTERS)
    counted = Parameters(upstream, answers=True)
    assert counted.needed(4, (2, 4)) == states.needed(4)
    assert counted.needed(4, (2, 4), (2,)) == states.needed(4) + head
    assert counted.all == states.all + 3 * head


# ---- multiply-accumulates ------------------------------------------------------------------------


class Answering(Toy):
    evidence_reads_answer = True

    def answer_macs(self, samples, depth):
        return 1000 * depth


def test_branches_and_answers_are_charged_where_they_are_computed():
    items = [Item(str(n), None, n) for n in (16_000, 8_000)]
    exit, depth = Exit((1, 3), 0.5), np.array([1, 3])
    toy = Toy()
    states = toy.macs(16_000, 1) + toy.macs(8_000, 3)
    tests = toy.evidence_macs(16_000, 1) + toy.evidence_macs(8_000, 1)
    assert cost.macs(toy, items, depth, exit) == states + tests
    both = Answering()  # at every tested depth, and where the last one left
    assert cost.macs(both, items, depth, exit) == states + tests + 1000 + 1000
    assert cost.macs(both, items, depth, exit, answers=True) == states + tests + 1000 + 1000 + 3000
    both.evidence_reads_answer = False  # only where each one left
    assert cost.macs(both, items, depth, exit, answers=True) == states + tests + 1000 + 3000


# ---- seconds and memory --------------------------------------------------------------------------


def test_what_is_saved_is_the_median_of_the_ratios_within_passes():
    """The second pass ran beside a busy neighbour: all took twice as long, so the ratio holds."""
    full = np.array([[1.0, 3.0], [2.0, 6.0], [1.0, 3.0], [1.0, 3.0]])
    taken = np.array([[1.0, 1.0], [2.0, 2.0], [1.0, 2.0], [1.0, 0.0]])  # saves 50, 50, 25, 75 %
    assert cost.saved(full, taken) == (50.0, 43.75, 56.25)
    assert cost.saved(full, full) == (0.0, 0.0, 0.0)
    items = [Item("a", None, 32_000), Item("b", None, 96_000)]
    assert cost.rtfx(items, full) == 2.0  # 8 s of audio, 4 s in the middle pass


def test_every_exit_is_run_live_on_every_timed_utterance(tmp_path, monkeypatch):
    items, load = items_of(tmp_path, range(3000, 3000 + 50 * 40, 50))
    chosen = cost.timed(items)
    assert chosen == [items[i] for i in cost.timed_rows(items)] and len(chosen) == cost.TIMED
    ran = []
    live = cost.run_until_exit
    monkeypatch.setattr(
        cost,
        "run_until_exit",
        lambda up, wav, lengths, exit, **more: (
            ran.append((len(wav[0]), exit)) or live(up, wav, lengths, exit, **more)
        ),
    )
    exits = {"full": Exit((3,)), "early": Exit((1, 3), 0.5)}
    seconds = cost.seconds(Toy().eval(), chosen, load, exits, passes=2)
    assert {name: of.shape for name, of in seconds.items()} == dict.fromkeys(exits, (2, 32))
    longest = max(i.samples for i in chosen)
    expected = [(i.samples, e) for i in chosen for e in exits.values()] * 2
    assert ran[:2] == [(longest, e) for e in exits.values()]
    assert sorted(map(str, ran[2:])) == sorted(map(str, expected))
    ran.clear()
    peak = cost.peak_memory(Toy().eval(), chosen, load, exits["early"])
    assert ran == [(longest, exits["early"])] and (peak is None or peak >= 0)
