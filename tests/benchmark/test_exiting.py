"""Exits: identities that hold for any upstream, shown on the toy one."""

import math

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.contract import Upstream, UpstreamCard
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import (
    Exit,
    TruncatedWeightedSum,
    replay,
    run_until_exit,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import s3prl_module
from toys.toy import Toy

L, B, T, D = 13, 3, 7, 5


@pytest.fixture
def mix():
    torch.manual_seed(0)
    mix = TruncatedWeightedSum(L)
    torch.nn.init.normal_(mix.scores)
    return mix


@pytest.fixture(scope="module")
def toy():
    return Toy().eval()


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([8000, 3300, 6400, 1200, 7777])
    wavs = torch.randn(5, 8000, generator=generator) * (torch.arange(8000) < lengths[:, None])
    return wavs, lengths


def recorded(upstream, wavs, lengths):
    frames = upstream.frames(lengths)
    with torch.no_grad():
        states = list(upstream.states(wavs, lengths))
        return torch.stack(
            [upstream.evidence(k, states[k], states[k - 1], frames) for k in range(1, len(states))],
            1,
        ).numpy()


def thresholds(evidence):
    values = np.unique(evidence)
    return [float(values[0] - 1), *((values[:-1] + values[1:]) / 2).tolist(), float(values[-1] + 1)]


# ---- the weighted sum ----------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", [False, True])
def test_equals_s3prl_featurizer_when_nothing_exits(mix, normalise):
    Featurizer = s3prl_module("upstream.interfaces").Featurizer
    states, mix.normalise = torch.randn(L, B, T, D), normalise
    theirs = Featurizer.__new__(Featurizer)
    torch.nn.Module.__init__(theirs)
    theirs.layer_num, theirs.normalize, theirs.weights = L, normalise, mix.scores
    torch.testing.assert_close(
        mix(states, torch.full((B,), L - 1)), theirs._weighted_sum(list(states))
    )


def test_exit_at_zero_is_the_front_end(mix):
    states = torch.randn(L, B, T, D)
    torch.testing.assert_close(mix(states, torch.zeros(B, dtype=torch.long)), states[0])


def test_zero_scores_average_the_states_reached_and_gradients_stop_there():
    states, mix = torch.randn(L, 1, T, D), TruncatedWeightedSum(L)
    out = mix(states, torch.tensor([5]))
    torch.testing.assert_close(out[0], states[:6, 0].mean(0))
    out.square().sum().backward()
    assert bool((mix.scores.grad[:6] != 0).all()) and bool((mix.scores.grad[6:] == 0).all())


def test_one_utterances_exit_does_not_touch_another(mix):
    states = torch.randn(L, B, T, D)
    torch.testing.assert_close(
        mix(states, torch.tensor([3, 5, 12]))[1], mix(states, torch.tensor([9, 5, 1]))[1]
    )


def test_states_beyond_the_exit_are_never_looked_at(mix):
    states = torch.randn(L, B, T, D)
    short = mix(states[:6], torch.tensor([5, 2, 4]))
    states[6:] = 1e30
    torch.testing.assert_close(mix(states, torch.tensor([5, 2, 4])), short)


# ---- the driver ----------------------------------------------------------------------------------


def spy(upstream, monkeypatch):
    computed, asked, states, evidence = [], [], upstream.states, upstream.evidence

    def spied(*args):
        walk, keep, depth = states(*args), None, 0
        try:
            while True:
                state = walk.send(keep)
                computed.append((depth, len(state)))
                depth += 1
                keep = yield state
        except StopIteration:
            return

    monkeypatch.setattr(upstream, "states", spied)
    monkeypatch.setattr(upstream, "evidence", lambda k, *a: (asked.append(k), evidence(k, *a))[1])
    return computed, asked


@pytest.mark.parametrize(
    "exit, deepest, tested",
    [
        (Exit((0,)), 0, []),
        (Exit((1,)), 1, []),
        (Exit((3,)), 3, []),
        (Exit((2, 3), 99.0), 2, [2]),
        (Exit((1, 3), -99.0), 3, [1]),
    ],
)
def test_nothing_beyond_the_exit_is_computed_and_nothing_outside_the_span_is_asked(
    toy, batch, monkeypatch, exit, deepest, tested
):
    computed, asked = spy(toy, monkeypatch)
    out = run_until_exit(toy, *batch, exit)
    assert (
        [k for k, _ in computed] == list(range(deepest + 1))
        and asked == tested
        and len(out.states) == deepest + 1
    )


def test_utterances_that_left_are_not_computed_further(toy, batch, monkeypatch):
    evidence = recorded(toy, *batch)
    tau = float(np.median(evidence[:, 0]))
    computed, _ = spy(toy, monkeypatch)
    out = run_until_exit(toy, *batch, Exit((1, 2, 3), tau))
    gone = (out.depth == 1).sum()
    assert 0 < gone < len(evidence) and dict(computed)[2] == len(evidence) - gone


@pytest.mark.parametrize("depths", [(1, 2, 3), (2, 3), (1, 3), (3,), (1, 2)])
def test_replay_is_the_live_run_and_a_larger_threshold_never_exits_later(toy, batch, depths):
    evidence, means = recorded(toy, *batch), []
    for tau in thresholds(evidence):
        live = run_until_exit(toy, *batch, Exit(depths, tau)).depth.numpy()
        assert (live == replay(evidence, Exit(depths, tau))).all()
        means.append(live.mean())
    assert means == sorted(means, reverse=True)


def test_thresholds_may_differ_by_depth(toy, batch):
    evidence = recorded(toy, *batch)
    exit = Exit(
        (1, 2, 3),
        tuple(
            float(np.quantile(evidence[:, k], q)) + 1e-6 for k, q in ((0, 0.2), (1, 0.5), (2, 0.0))
        ),
    )
    live = run_until_exit(toy, *batch, exit).depth.numpy()
    assert (live == replay(evidence, exit)).all() and len(set(live.tolist())) > 1


def test_an_early_stopped_batch_has_the_full_runs_states(toy, batch):
    evidence = recorded(toy, *batch)
    with torch.no_grad():
        full = torch.stack(list(toy.states(*batch)))
    for tau in thresholds(evidence):
        out = run_until_exit(toy, *batch, Exit((1, 2, 3), tau))
        for row, (depth, frames) in enumerate(
            zip(out.depth.tolist(), out.frames.tolist(), strict=True)
        ):
            torch.testing.assert_close(
                out.states[: depth + 1, row, :frames], full[: depth + 1, row, :frames]
            )
        assert bool(torch.isfinite(out.states).all())


def test_neighbours_and_padding_do_not_move_an_exit(toy, batch):
    wavs, lengths = batch
    for tau in thresholds(recorded(toy, wavs, lengths)):
        together = run_until_exit(toy, wavs, lengths, Exit((1, 2, 3), tau)).depth
        alone = [
            int(
                run_until_exit(
                    toy, wavs[i : i + 1, :n], lengths[i : i + 1], Exit((1, 2, 3), tau)
                ).depth
            )
            for i, n in enumerate(lengths)
        ]
        assert together.tolist() == alone


class Record(Upstream):
    """States are row numbers, evidence is read from a table: any record, played live."""

    knob = "none"

    def __init__(self, table):
        super().__init__()
        self.table = torch.from_numpy(table)
        self.card = UpstreamCard(
            "record", depth=table.shape[1], dim=1, stride=320, revision="", source=""
        )

    def frames(self, lengths):
        return lengths

    def states(self, wavs, lengths):
        x = wavs[:, None]
        for _ in range(self.card.depth + 1):
            keep = yield x
            x = x if keep is None else x[keep]

    def evidence(self, depth, state, previous, frames):
        return self.table[state[:, 0, 0].long(), depth - 1]


@st.composite
def records(draw):
    """(n, L) evidence with ties, infinities and the threshold itself among its values; an exit of
    any span, thresholds and patience.
    """
    n, blocks = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    values = [0.1, 0.5, 0.7000000000000001, 1 / 3, math.inf, -math.inf]
    table = np.array(
        draw(
            st.lists(
                st.lists(
                    st.sampled_from(values) | st.floats(0, 1, width=32),
                    min_size=blocks,
                    max_size=blocks,
                ),
                min_size=n,
                max_size=n,
            )
        ),
        np.float32,
    )
    depths = sorted(draw(st.sets(st.integers(0, blocks), min_size=1)))
    threshold = (
        st.sampled_from(values) | st.floats(0, 1) | st.sampled_from([float(v) for v in table.flat])
    )
    tau = draw(threshold | st.lists(threshold, min_size=len(depths), max_size=len(depths)))
    return table, Exit(depths, tau, draw(st.integers(1, 3)))


@settings(max_examples=100, deadline=None)
@given(records())
def test_replay_is_the_live_run_on_any_record(record):
    table, exit = record
    wavs = torch.arange(len(table), dtype=torch.float32)[:, None]
    live = run_until_exit(Record(table), wavs, torch.ones(len(table), dtype=torch.long), exit)
    assert live.depth.tolist() == replay(table, exit).tolist()
    for row, depth in enumerate(live.depth.tolist()):  # and every utterance brought its own states
        assert (live.states[: depth + 1, row] == row).all() and not live.states[
            depth + 1 :, row
        ].any()


def test_batch_granularity_lets_all_leave_together(toy, batch):
    evidence, frames = recorded(toy, *batch), toy.frames(batch[1]).numpy()
    mean = (evidence * frames[:, None]).sum(0) / frames.sum()
    out = run_until_exit(toy, *batch, Exit((1, 2, 3), float(mean[0] + 1e-4)), granularity="batch")
    assert set(out.depth.tolist()) == {1}


def test_exit_refuses_nonsense():
    for depths, tau in (
        ((), 0.0),
        ((3, 2), 0.0),
        ((1, 1), 0.0),
        ((-1, 2), 0.0),
        ((1, 2), float("nan")),
        ((1, 2), (0.5,)),
    ):
        with pytest.raises(UsageError):
            Exit(depths, tau)
    assert (
        Exit((12,)).tested == {}
        and Exit(range(1, 4), 0.5).tested == {1: 0.5, 2: 0.5}
        and Exit((6,)).taus == (-math.inf,)
    )
