"""Extra rows: what the user may ask for, and what the two controls promise."""

import numpy as np
import pytest
from earlyexit_superb.benchmark.contract import Metric
from earlyexit_superb.benchmark.engine.controls import Extra, extra, oracle, shuffled
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.metrics import Failure, Ratio
from hypothesis import given
from hypothesis import strategies as st
from toys.toy import Toy


@given(st.lists(st.integers(0, 12), min_size=1), st.integers(0, 9))
def test_a_random_control_has_the_same_histogram(depths, seed):
    dealt = shuffled(np.array(depths), seed)
    assert (
        np.bincount(dealt).tolist() == np.bincount(depths).tolist()
        and (dealt == shuffled(np.array(depths), seed)).all()
    )


def test_seeds_deal_differently():
    assert (shuffled(np.arange(50), 0) != shuffled(np.arange(50), 1)).any()


score = st.floats(-5, 5) | st.integers(0, 2).map(float) | st.just(Failure("silent"))


@given(st.lists(score, min_size=1, max_size=12), st.booleans(), st.booleans())
def test_the_oracle_is_the_shallowest_depth_that_loses_nothing(scores, higher, rate):
    if rate:
        scores = [s if isinstance(s, Failure) else Ratio(s, 7) for s in scores]
    metric, asked = Metric("m", higher), []
    depth = oracle(lambda k: (asked.append(k), scores[k - 1])[1], range(1, len(scores) + 1), metric)

    def good(k):
        values = [
            None if isinstance(s, Failure) else s.part if rate else s
            for s in (scores[k - 1], scores[-1])
        ]
        return None not in values and (values[0] >= values[1] if higher else values[0] <= values[1])

    assert (
        1 <= depth <= len(scores)
        and (depth == len(scores) or good(depth))
        and not any(good(k) for k in range(1, depth))
    )
    # deeper depths are not scored for nothing
    assert set(asked) <= {*range(1, depth + 1), len(scores)}


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
        ("tau:", "tau: takes one number, or 3"),
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
