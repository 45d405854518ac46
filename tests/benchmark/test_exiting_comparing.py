"""Evidence that compares an exit with the exit before, wherever the span has its gaps."""

import numpy as np
import torch
from earlyexit_superb.benchmark.asking import Before, depth_before
from earlyexit_superb.benchmark.conformance import check_upstream
from earlyexit_superb.benchmark.contract import Upstream, UpstreamCard, Wrapper
from earlyexit_superb.benchmark.engine.parameters import Parameters
from earlyexit_superb.benchmark.engine.precision import LowerPrecision
from earlyexit_superb.benchmark.exiting import Exit, replay, run_until_exit
from hypothesis import given, settings
from hypothesis import strategies as st
from toys.toy import Toy


class Pairs(Upstream):
    """A state says of which row and depth it is; evidence is read from a table by the row and by
    both depths that it is given."""

    knob, compares_exits = "none", True

    def __init__(self, table, exits):
        super().__init__()
        self.table, self.at = torch.from_numpy(table), tuple(exits)
        depth = table.shape[1] - 1
        self.card = UpstreamCard("pairs", depth=depth, dim=2, stride=320, revision="", source="")

    @property
    def exits(self):
        return self.at

    def frames(self, lengths):
        return lengths

    def states(self, wavs, lengths):
        x = torch.stack([wavs, torch.zeros_like(wavs)], -1)
        for _ in range(self.card.depth + 1):
            keep = yield x
            x = (x if keep is None else x[keep]) + torch.tensor([0.0, 1.0])

    def evidence(self, depth, state, previous, frames):
        (row, here), (same, before) = state[:, 0].long().T, previous[:, 0].long().T
        assert row.tolist() == same.tolist() and set(here.tolist()) == {depth}
        return self.table[row, depth, before]


@st.composite
def walks(draw):
    """(n, L + 1, L + 1) evidence, the exits, and an exit at some of them."""
    blocks, rows = draw(st.integers(2, 7)), draw(st.integers(1, 6))
    table = np.random.default_rng(draw(st.integers(0, 9999))).random((rows, blocks + 1, blocks + 1))
    exits = sorted(draw(st.sets(st.integers(1, blocks), min_size=1)))
    span = sorted(draw(st.sets(st.sampled_from(exits))) | {blocks})
    patience = draw(st.integers(1, 2))
    return table.astype(np.float32), exits, Exit(span, draw(st.floats(0, 1)), patience)


@settings(max_examples=80, deadline=None)
@given(walks())
def test_a_live_run_is_the_replay_of_one_record_with_any_gaps_in_the_span(walk):
    table, exits, exit = walk
    before = [max((k for k in exits if k < depth), default=0) for depth in exits]
    recorded = table[:, exits, before]
    up, wavs = Pairs(table, exits), torch.arange(len(table), dtype=torch.float32)[:, None]
    assert [depth_before(up, depth) for depth in exits] == before
    live = run_until_exit(up, wavs, torch.ones(len(table), dtype=torch.long), exit)
    assert live.depth.tolist() == replay(recorded, exit, exits).tolist()


def test_without_it_the_depth_before_is_given_also_where_exits_are_sparse():
    class Beside(Pairs):
        compares_exits = False

    table = np.random.default_rng(0).random((3, 6, 6)).astype(np.float32)
    up, wavs = Beside(table, (2, 5)), torch.arange(3.0)[:, None]
    recorded = table[:, [2, 5], [1, 4]]
    for tau in (0.3, 0.6):
        live = run_until_exit(up, wavs, torch.ones(3, dtype=torch.long), Exit((2, 5), tau))
        assert live.depth.tolist() == replay(recorded, Exit((2, 5), tau), (2, 5)).tolist()


def test_a_walk_remembers_no_state_that_nothing_compares_with():
    up, before = Pairs(np.zeros((1, 8, 8), np.float32), (3, 6)), []
    walk = Before(up)
    for depth in range(8):
        before.append(None if walk.state is None else int(walk.state))
        walk.passed(depth, torch.tensor(depth))
    assert before == [None, 0, 0, 0, 3, 3, 3, 3]  # asked at 3 and 6; nobody asks for 6 itself


class Comparing(Toy):
    """Evidence is what changed since the exit before."""

    compares_exits, at = True, (1, 3, 4)

    def __init__(self):
        super().__init__(blocks=5)

    @property
    def exits(self):
        return self.at

    def evidence(self, depth, state, previous, frames):
        then = self.branches[depth_before(self, depth) - 1]
        now = super().evidence(depth, state, None, frames)
        return now + torch.stack(
            [then(row[:n]).square().mean() for row, n in zip(previous, frames, strict=True)]
        )


def test_whoever_compares_exits_meets_the_contract():
    up = Comparing().eval()
    assert [f.sentence for f in check_upstream(up) if not f.ok] == []
    # the head of exit 3 belongs to the branch at 4, too
    counted = Parameters(up)
    alone = sum(p.numel() for p in up.branches[3].parameters())
    both = counted.needed(4, (4,)) - counted.needed(4)
    assert both == alone + sum(p.numel() for p in up.branches[2].parameters())


def test_wrappers_are_given_what_the_inner_one_is():
    assert Wrapper(Comparing()).compares_exits and LowerPrecision(Comparing()).compares_exits
    assert not Wrapper(Toy()).compares_exits
