"""A bound on the loss of leaving early: against hand-computed values, and by simulation."""

import math

import numpy as np
import pytest
from earlyexit_superb.benchmark import risk
from earlyexit_superb.benchmark.metrics import Failure, Ratio

RNG = np.random.default_rng


def test_p_values_are_hoeffdings_and_bentkus():
    # 100 losses of 0.1, bound 0.2: D(0.1 || 0.2) = 0.1 ln(1/2) + 0.9 ln(9/8) = 0.036691 nats
    losses = np.full(100, 0.1)
    assert risk.divergence(0.1, 0.2) == pytest.approx(0.0366907, abs=1e-6)
    tail = sum(math.comb(100, k) * 0.2**k * 0.8 ** (100 - k) for k in range(11))
    assert risk.p_value(losses, 0.2) == pytest.approx(
        min(math.exp(-3.66907), math.e * tail), rel=1e-5
    )
    # without any loss both are known in closed form: Hoeffding's (1 - bound)^n is the smaller
    assert risk.p_value(np.zeros(30), 0.1) == pytest.approx(0.9**30)
    assert risk.p_value(np.full(30, 0.1), 0.1) == risk.p_value(np.empty(0), 0.1) == 1.0


@pytest.mark.parametrize("bound, delta", [(0.05, 0.1), (0.01, 0.1), (0.2, 0.05)])
def test_the_fewest_utterances_are_just_enough(bound, delta):
    n = risk.fewest(bound, delta)
    assert risk.p_value(np.zeros(n), bound) <= delta < risk.p_value(np.zeros(n - 1), bound)


def test_a_p_value_falls_with_the_losses_and_with_their_number():
    losses = RNG(0).uniform(0, 0.2, 50)
    more, fewer = np.concatenate([losses, losses]), np.clip(losses - 0.02, 0, 1)
    assert risk.p_value(fewer, 0.15) < risk.p_value(losses, 0.15)
    assert risk.p_value(more, 0.15) < risk.p_value(losses, 0.15)
    assert risk.p_value(losses, 0.2) < risk.p_value(losses, 0.15)


def test_settings_are_tried_in_order_and_none_after_the_first_that_fails():
    tried = iter([0.01, 0.05, 0.2, 0.001])
    assert risk.passed(tried, 0.1) == [0.01, 0.05] and next(tried) == 0.001
    assert risk.passed([], 0.1) == risk.passed([0.5, 0.0], 0.1) == []


@pytest.mark.parametrize("kind", ["all or nothing", "graded"])
def test_the_bound_is_exceeded_in_at_most_delta_of_the_trials(kind):
    """Settings lose 0.02, 0.04, ... in expectation: with the bound at 0.1 the sixth is too many."""
    bound, delta, trials, n = 0.1, 0.1, 400, 150
    expected, rng, exceeded, reached = np.arange(1, 9) * 0.02, RNG(1), 0, 0

    def drawn():
        luck = rng.uniform(size=n)  # of one utterance, whatever the setting
        if kind == "all or nothing":
            return (luck < expected[:, None]).astype(float)
        return np.clip(2 * luck * expected[:, None], 0, 1)

    for _ in range(trials):
        kept = risk.passed((risk.p_value(losses, bound) for losses in drawn()), delta)
        reached = max(reached, len(kept))
        exceeded += bool(kept) and bool(expected[len(kept) - 1] > bound + 1e-9)
    assert exceeded <= delta * trials and reached >= 3


def test_what_is_allowed_rises_with_the_bound_and_with_delta():
    rng = RNG(2)
    losses = [(rng.uniform(size=200) < p).astype(float) for p in np.linspace(0, 0.3, 20)]

    def depth(bound, delta):
        return len(risk.passed((risk.p_value(x, bound) for x in losses), delta))

    assert depth(0.05, 0.1) <= depth(0.1, 0.1) <= depth(0.2, 0.1) and depth(0.2, 0.1) > 5
    assert depth(0.1, 0.01) <= depth(0.1, 0.1) <= depth(0.1, 0.5)


def test_a_loss_is_a_drop_within_its_range():
    silent = Failure("silent estimate")
    assert risk.loss(3.0, 2.75, True, 1.0) == 0.25
    assert risk.loss(3.0, 3.25, True, 1.0) == 0.0 and risk.loss(3.0, 1.0, True, 1.0) == 1.0
    # one error of four words more, as a rate of this utterance
    assert risk.loss(Ratio(100, 4), Ratio(200, 4), False, 100.0) == 25.0
    assert risk.loss(3.0, silent, True, 1.0) == 1.0 and risk.loss(silent, 3.0, True, 1.0) is None
