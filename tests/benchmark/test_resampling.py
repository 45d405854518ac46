"""The two-stage bootstrap: its variance in closed form, and how often it covers the truth."""

import numpy as np
import pytest
from earlyexit_superb.benchmark import resampling
from earlyexit_superb.benchmark.resampling import interval, p_value, totals, weights


def test_speakers_are_drawn_then_as_many_utterances_of_each():
    names = ("a", "b", "b", "c", "c", "c")
    drawn = weights(names, draws=500)
    each = {name: drawn[:, [name == n for n in names]].sum(axis=1) for name in "abc"}
    assert (each["a"] + each["b"] / 2 + each["c"] / 3 == 3).all()
    assert (each["b"] % 2 == 0).all() and (each["c"] % 3 == 0).all() and drawn[:, 1].max() > 2


def test_the_variance_is_that_of_the_closed_form():
    """Balanced: (variance of speakers' means + their mean variance / n) / S (Field and Welsh)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10, 1)) + rng.normal(size=(10, 6))
    names = tuple(f"s{i}" for i in range(10) for _ in range(6))
    drawn = totals(x.ravel(), np.ones(60), names, draws=20_000)
    expected = (x.mean(axis=1).var() + x.var(axis=1).mean() / 6) / 10
    assert drawn.mean() == pytest.approx(x.mean(), abs=0.01)
    assert drawn.var() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("names", [("",) * 80, ("only",) * 80, tuple(map(str, range(80)))])
def test_one_utterance_a_speaker_or_no_speaker_is_the_plain_bootstrap(names):
    from scipy.stats import bootstrap

    x = np.random.default_rng(1).exponential(size=80)
    plain = bootstrap(
        (x,), np.mean, n_resamples=20_000, method="percentile", random_state=0
    ).confidence_interval
    ours = interval(totals(x, np.ones(80), names, draws=20_000))
    assert ours == pytest.approx(tuple(plain), abs=0.01)


def test_a_mixture_comes_as_often_as_one_talker_times_the_other():
    names = ("a+b", "a+c", "b+c")
    drawn = weights(names, draws=2000)
    assert resampling.speaker_count(names) == 3
    # three draws of three talkers: 1 1 1 brings each once, 2 1 0 one of them twice, 3 0 0 none
    assert {tuple(row) for row in drawn} == {(1, 1, 1), (0, 0, 0), (2, 0, 0), (0, 2, 0), (0, 0, 2)}
    assert len(totals(np.ones(3), np.ones(3), names)) < 2000
    assert (totals(np.ones(3), np.ones(3), names) == 1).all()


def test_coverage_under_strong_speaker_effects():
    """16 voices of 12 utterances, differences between voices twice those within. Utterances alone
    would claim 95 % and cover about half.
    """
    rng, names = np.random.default_rng(2), tuple(f"s{i // 12}" for i in range(192))
    held = np.zeros(2)
    for _ in range(400):
        x = (2 * rng.normal(size=(16, 1)) + rng.normal(size=(16, 12))).ravel()
        for i, who in enumerate((names, ("",) * 192)):
            low, high = interval(totals(x, np.ones(192), who, draws=1000))
            held[i] += low <= 0 <= high
    clustered, alone = held / 400
    assert 0.89 <= clustered <= 0.97 and alone < 0.65


def test_a_p_value_is_never_zero_and_agrees_with_the_interval():
    assert p_value(np.ones(1999)) == 2 / 2000 and p_value(np.zeros(1999)) == 1
    for shift in (1.5, 1.9, 2.1, 2.5):
        drawn = np.random.default_rng(0).normal(shift, size=20_000)
        low, high = interval(drawn)
        assert (p_value(drawn) < 0.05) == (not low <= 0 <= high)
