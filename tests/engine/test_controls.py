"""Extra rows: what the user may ask for, and what the two controls promise."""

import itertools

import numpy as np
import pytest
from earlyexit_superb.benchmark.contract import Metric
from earlyexit_superb.benchmark.engine.controls import (
    Extra,
    expected,
    extra,
    oracle,
    shares,
    worth,
)
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.metrics import Failure, Ratio, mean
from hypothesis import given, settings
from hypothesis import strategies as st
from toys.toy import Toy

HIGHER, LOWER = Metric("m", True), Metric("m", False)


@pytest.mark.parametrize("rate", [False, True])
def test_the_expectation_is_the_mean_over_very_many_permutations(rate):
    rng = np.random.default_rng(0)
    part, whole = rng.normal(size=(30, 4)), rng.integers(1, 20, 30)
    left = rng.integers(0, 4, 30)
    of = shares(left)
    assert sum(of.values()) == pytest.approx(1)

    def at(i):
        return lambda k: {"m": Ratio(part[i, k], whole[i]) if rate else part[i, k]}

    exact = mean([expected(at(i), of)["m"] for i in range(30)])
    dealt = rng.permuted(np.tile(left, (40_000, 1)), axis=1)
    means = part[np.arange(30), dealt].sum(axis=1) / (whole.sum() if rate else 30)
    assert exact == pytest.approx(means.mean(), abs=4 * means.std() / 200)


def test_an_expectation_of_one_depth_is_its_score_and_a_failure_stays_one():
    found = {1: {"m": 0.1, "e": Ratio(3, 7)}, 2: {"m": Failure("silent"), "e": Ratio(4, 7)}}
    assert expected(found.get, {1: 1.0}) == found[1]
    both = expected(found.get, {1: 0.5, 2: 0.5})
    assert both == {"m": Failure("silent"), "e": Ratio(3.5, 7)}


def brute_force(value, depths, total):
    """The largest total worth within the depth, and the smallest depth that has it."""
    return min(
        (-round(sum(value[i, k] for i, k in enumerate(choice)), 6), spent)
        for choice in itertools.product(range(len(depths)), repeat=len(value))
        if (spent := sum(depths[k] for k in choice)) <= total
    )


@settings(deadline=None)
@given(st.data())
def test_the_oracle_is_the_best_of_all_assignments(data):
    depths = (1, 2, 4)
    grid = st.integers(-3, 3).map(lambda n: n / 2)  # ties are frequent
    of = st.lists(grid, min_size=3, max_size=3)
    value = np.array(data.draw(st.lists(of, min_size=1, max_size=5)))
    total = data.draw(st.integers(len(value), 4 * len(value) + 1))
    found = oracle(value, depths, total)
    spent, columns = int(found.sum()), [depths.index(k) for k in found]
    gained = value[np.arange(len(value)), columns].sum()
    assert (-round(gained, 6), spent) == brute_force(value, depths, total) and spent <= total


def test_the_oracle_is_never_behind_any_exits_of_its_mean_depth():
    rng = np.random.default_rng(0)
    value, depths = rng.normal(size=(300, 12)).cumsum(axis=1), range(1, 13)
    for most in (1, 4, 8, 12):
        left = rng.integers(1, most + 1, 300)
        found = oracle(value, depths, int(left.sum()))
        rows = np.arange(300)
        assert found.mean() <= left.mean()
        assert value[rows, found - 1].sum() >= value[rows, left - 1].sum()
    full = oracle(value, depths, 12 * 300)
    assert (value[rows, full - 1] == value.max(axis=1)).all()


def test_a_failure_is_chosen_only_where_the_depth_forces_it():
    silent = Failure("silent")
    value = worth([[silent, 1.0], [0.0, 50.0], [silent, silent]], HIGHER)
    assert oracle(value, (1, 2), 4).tolist() == [2, 1, 1]
    assert oracle(value, (1, 2), 3).tolist() == [1, 1, 1]
    assert oracle(value, (1, 2), 6).tolist() == [2, 2, 1]


def test_a_rate_is_judged_by_its_errors():
    value = worth([[Ratio(100, 1), Ratio(0, 1)], [Ratio(300, 30), Ratio(0, 30)]], LOWER)
    assert oracle(value, (1, 2), 3).tolist() == [1, 2]  # three errors of thirty words before one


def test_words_become_rows():
    toy = Toy()
    assert extra("", toy) == Extra()
    assert extra("2, static,0,2,oracle,random,oracle", toy) == Extra(
        (2, 1, 0), (), ("oracle", "random")
    )
    assert extra("tau:0.5,tau:0.9/0.8/inf", toy).taus == ((0.5,), (0.9, 0.8, float("inf")))
    assert extra("[1, 2]", toy).depths == (1, 2)  # a list in a YAML file


@pytest.mark.parametrize(
    "word, said",
    [
        ("4", "a depth .0, 1, 2, 3."),
        ("oracel", "did you mean oracle"),
        ("tau:", "tau: takes one number, such as tau:0.5, or 3"),
        ("tau:1/2", "or 3 with /"),
        ("tau:nan", "takes one number"),
        ("tau:a", "takes one number"),
        ("-1", "a depth .0, 1, 2, 3."),
    ],
)
def test_other_words_are_refused(word, said):
    with pytest.raises(UsageError, match=said):
        extra(word, Toy())


def test_a_backbone_has_no_controls():
    toy = Toy()
    toy.knob = None
    assert extra("1", toy).depths == (1,)
    for word in ("oracle", "random", "tau:1"):
        with pytest.raises(UsageError, match="does not exit by itself"):
            extra(word, toy)
