"""Thresholds and spans: the worked examples, and properties over random evidence."""

import numpy as np
import pytest
from earlyexit_superb.benchmark.calibration import (
    first_that,
    for_mean_depth,
    ladder,
    midpoint,
    span,
    thresholds,
)
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import Exit, replay
from hypothesis import given, settings
from hypothesis import strategies as st


def test_tau_is_rho_times_the_mid_point_of_the_depth_means():
    evidence = np.array([[2.5, 1.6, 0.8], [1.5, 1.4, 1.2]], np.float32)  # means 2, 1.5, 1
    assert midpoint(evidence, 0.7) == pytest.approx(1.05)
    assert midpoint(evidence[:, ::-1], 0.7) == pytest.approx(1.05)  # no order is assumed
    assert midpoint(evidence, 0.0) == 0.0


def exits(**counts):
    return np.repeat([int(k[1:]) for k in counts], list(counts.values()))


def test_spans_of_the_paper():
    few = exits(d6=1, d7=2, d8=1)
    assert span("mean", few, range(1, 13)) == (7,)
    assert span("min-max", few, range(1, 13)) == (6, 7, 8)
    assert span("mean", exits(d6=1, d7=1), range(1, 13)) == (6, 7)
    assert span("all", few, (1, 2, 3)) == (1, 2, 3)
    # 15 % is not more than 15 %; gaps stay
    assert span("threshold", exits(d4=15, d6=40, d9=45), range(1, 13)) == (6, 9)


def test_an_empty_span_says_so():
    with pytest.raises(UsageError, match=r"is empty: no depth has more than 15% .*--span mean"):
        span("threshold", np.arange(1, 11), range(1, 13))
    with pytest.raises(UsageError, match="no span 'median'"):
        span("median", np.arange(1, 3), range(1, 13))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(0, 1))
def test_a_target_mean_depth_is_met_as_closely_as_any_threshold_can(seed, blocks, where):
    evidence = np.random.default_rng(seed).random((17, blocks)).astype(np.float32)
    target = 1 + where * (blocks - 1)

    def mean_depth(tau):
        return replay(evidence, Exit(range(1, blocks + 1), tau)).mean()

    found = mean_depth(for_mean_depth(evidence, target))
    possible = [mean_depth(float(t)) for t in np.append(np.unique(evidence), 2.0)]
    assert abs(found - target) == pytest.approx(min(abs(p - target) for p in possible), abs=1e-9)


def test_an_unreachable_mean_depth_is_refused():
    with pytest.raises(UsageError, match="mean depth of 13"):
        for_mean_depth(np.ones((2, 12), np.float32), 13)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(0, 1))
def test_the_smallest_threshold_that_holds_is_found(seed, blocks, where):
    evidence = np.random.default_rng(seed).random((9, blocks)).astype(np.float32)
    depths = exits = tuple(range(1, blocks + 1))
    target = 0.5 + where * blocks
    taus = thresholds(evidence, depths, exits)
    assert taus[0] == -np.inf and (np.diff(taus) > 0).all()

    def mean_depth(tau):
        return replay(evidence, Exit(depths, float(tau))).mean()

    exit = Exit(depths)
    found = first_that(taus, evidence, exit, exits, lambda depth: depth.mean() <= target)
    assert found == next((t for t in taus if mean_depth(t) <= target), None)
    steps = ladder(evidence, exit, exits, 8)
    assert steps == sorted(set(steps)) and steps[0] == -np.inf and mean_depth(steps[-1]) == 1


def test_one_depth_has_one_threshold():
    evidence = np.ones((3, 4), np.float32)
    assert thresholds(evidence, (2,), (1, 2, 3, 4)).tolist() == [-np.inf]
    assert ladder(evidence, Exit((2,)), (1, 2, 3, 4), 5) == [-np.inf]
    assert for_mean_depth(evidence[:, :1], 1) == 0  # of one block
