"""An upstream that does not keep its promises is one sentence, before a number is stored."""

import numpy as np
import pytest
from earlyexit_superb.benchmark.conformance import check_upstream
from earlyexit_superb.benchmark.engine import feature_cache
from earlyexit_superb.benchmark.engine.promises import check_built, threshold
from earlyexit_superb.benchmark.errors import UsageError
from helpers.traces import folders
from toys import contract, liars
from toys.toy import Toy

KEEP = ("states", "means")


def recorded(upstream, split, keep):
    return feature_cache.cached_features(upstream.eval(), *split, "liars", keep=keep)


@pytest.mark.parametrize("keep", KEEP)
@pytest.mark.parametrize("liar", liars.RECORDED)
def test_a_lie_is_found_while_it_is_recorded(liar, keep, split):
    with pytest.raises(UsageError) as told:
        recorded(liar(), split, keep)
    name = liar.__name__.lower()
    assert str(told.value).startswith(f"{name}: ") and liar.said in str(told.value)
    assert not any(feature_cache.finished(folder) for folder in folders(split[0]))


@pytest.mark.parametrize("liar", liars.BUILT)
def test_a_lie_about_costs_and_weights_is_found_before_anything_is_recorded(liar):
    with pytest.raises(UsageError) as told:
        check_built(liar())
    assert liar.said in str(told.value)


def test_a_threshold_is_a_number():
    with pytest.raises(UsageError, match=r"tau\(\) gives None for"):
        threshold(liars.NoThreshold(), np.ones((3, 3)), 0.5)


@pytest.mark.parametrize(
    "toy", [Toy, liars.CountsWithNumpy, contract.Halved, contract.SelfAnswering, contract.Slow]
)
def test_who_keeps_every_promise_is_recorded(toy, split):
    check_built(toy())
    keep = "answers" if toy is contract.SelfAnswering else "states"
    assert len(recorded(toy(), split, keep).evidence) == 4


@pytest.mark.parametrize("liar", [liars.Spoils, liars.SpoilsUnseen])
def test_check_finds_evidence_that_writes(liar):
    failed = [f.sentence for f in check_upstream(liar().eval()) if not f.ok]
    assert "evidence() and answer() leave the states as they are" in failed


def test_check_finds_states_that_write():
    for liar in (liars.SpoilsAudio, liars.GoesOnInPlace):
        failed = [f.sentence for f in check_upstream(liar().eval()) if not f.ok]
        assert any(said.startswith("audio and states stay as they are") for said in failed)
