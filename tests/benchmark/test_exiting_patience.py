"""Patience: an exit that takes several depths in a row below their thresholds."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.calibration import first_that, ladder, thresholds
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import (
    Exit,
    replay,
    replay_batches,
    run_until_exit,
    within,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from toys.toy import Toy


def by_hand(row, exit, exits):
    """Where one utterance leaves, read off the definition."""
    tested = list(exit.tested.items())
    for end in range(exit.patience, len(tested) + 1):
        last = tested[end - exit.patience : end]
        if all(row[exits.index(k)] < tau for k, tau in last):
            return last[-1][0]
    return exit.depths[-1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 4))
def test_an_exit_is_at_the_end_of_the_first_run_that_is_long_enough(seed, blocks, patience):
    rng = np.random.default_rng(seed)
    evidence, exits = rng.random((20, blocks)).astype(np.float32), list(range(1, blocks + 1))
    depths = sorted(rng.choice(blocks + 1, rng.integers(1, blocks + 2), replace=False).tolist())
    exit = Exit(depths, float(rng.random()), patience)
    left = replay(evidence, exit)
    assert left.tolist() == [by_hand(row, exit, exits) for row in evidence]
    assert set(left.tolist()) <= set(exit.places)
    plain = replay(evidence, Exit(depths, exit.tau))
    assert (left >= plain).all() and (patience > 1 or (left == plain).all())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 3))
def test_a_larger_threshold_or_less_patience_never_exits_later(seed, blocks, patience):
    evidence = np.random.default_rng(seed).random((9, blocks)).astype(np.float32)
    exits = tuple(range(1, blocks + 1))
    exit = Exit(exits, patience=patience)
    taus = thresholds(evidence, exits, exits)
    left = [replay(evidence, Exit(exits, float(tau), patience)) for tau in taus]
    assert all((a >= b).all() for a, b in pairwise(left))
    assert (left[-1] == exit.places[0]).all()
    target = float(np.mean(exit.places))
    found = first_that(taus, evidence, exit, exits, lambda depth: depth.mean() <= target)
    means = [depth.mean() for depth in left]
    assert found == next(t for t, mean in zip(taus, means, strict=True) if mean <= target)
    lowest = ladder(evidence, exit, exits, 5)[-1]
    assert replay(evidence, Exit(exits, lowest, patience)).mean() == exit.places[0]


@pytest.mark.parametrize("size", [1, 2, 6])
def test_batches_that_leave_together_are_replayed(size):
    toy, generator = Toy(blocks=5).eval(), torch.Generator().manual_seed(0)
    wavs = 0.1 * torch.randn(6, 16_000, generator=generator)
    lengths = torch.tensor([16_000, 9_000, 12_000, 8_000, 15_000, 11_000])
    frames, states = toy.frames(lengths), list(toy.states(wavs, lengths))
    table = torch.stack(
        [toy.evidence(k, states[k], states[k - 1], frames) for k in toy.exits], 1
    ).detach()
    left = set()
    for tau in table.quantile(torch.linspace(0, 1, 7)):
        exit = Exit(toy.exits, float(tau) + 1e-5, 2)
        live = [
            run_until_exit(toy, wavs[rows], lengths[rows], exit, granularity="batch").depth
            for rows in torch.arange(6).split(size)
        ]
        replayed = replay_batches(table.numpy(), frames.numpy(), exit, toy.exits, size)
        assert torch.cat(live).tolist() == replayed.tolist()
        left |= set(replayed.tolist())
    assert left >= {2, 5}


def test_members_of_a_batch_leave_as_they_do_alone():
    """The counts go with those who stay, whoever left before."""
    toy = Toy(blocks=6).eval()
    lengths = torch.tensor([8000, 3300, 6400, 1200, 7777, 5000, 2600, 4100])
    generator = torch.Generator().manual_seed(0)
    wavs = torch.randn(8, 8000, generator=generator) * (torch.arange(8000) < lengths[:, None])
    frames, states = toy.frames(lengths), list(toy.states(wavs, lengths))
    values = torch.stack(
        [toy.evidence(k, states[k], states[k - 1], frames) for k in toy.exits]
    ).detach()
    seen = set()
    for tau in values.quantile(torch.linspace(0.1, 0.9, 9)) + 1e-5:
        exit = Exit(toy.exits, float(tau), 2)
        together = run_until_exit(toy, wavs, lengths, exit).depth.tolist()
        each = zip(wavs, lengths, strict=True)
        alone = [run_until_exit(toy, w[None, :n], n[None], exit).depth.item() for w, n in each]
        assert together == alone
        seen |= set(together)
    assert len(seen) > 2


def test_a_span_is_where_it_leaves_and_the_depths_before_it_are_tested():
    toy = Toy(blocks=8)
    assert within(toy, (5, 6, 7), 0.5) == Exit((5, 6, 7), 0.5)
    patient = within(toy, (5, 6, 7), 0.5, 3)
    assert patient == Exit((3, 4, 5, 6, 7), 0.5, 3) and patient.places == (5, 6, 7)
    assert within(toy, (2, 3), 0.5, 9).places == (3,)  # too few depths to be patient at
    assert within(toy, (8,), 0.5, 3) == Exit((8,), 0.5, 3) and Exit((8,), 0.5, 3).tested == {}
    assert Exit((0, 2, 4, 6), 0.5, 2).places == (4, 6) and Exit((3,)).places == (3,)


def test_patience_is_a_positive_number():
    for patience in (0, -1, 1.5):
        with pytest.raises(UsageError, match=f"is a whole number from 1, not {patience}"):
            Exit((1, 2), 0.5, patience)
