"""Scores of waveforms: equal to asteroid's, true to their definitions, and a Failure
where there is no score.
"""

import numpy as np
import pytest
from earlyexit_superb.benchmark import metrics
from earlyexit_superb.benchmark.errors import MachineError
from earlyexit_superb.benchmark.metrics import (
    Failure,
    Ratio,
    bootstrap_interval,
    mean,
    pesq_wb,
    si_sdr,
    si_sdr_improvement,
    stoi,
)
from earlyexit_superb.benchmark.s3prl_compat import s3prl_shim

RATE = 16_000


def voice(seconds=2.0, seed=0, dtype=np.float32):
    """(N,) a gliding pitch with harmonics and syllables: enough of speech for PESQ to
    find utterances in it.
    """
    rng, t = np.random.default_rng(seed), np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * t + rng.uniform(0, 6))) / RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 30))
    return (0.1 * tone * np.clip(np.sin(2 * np.pi * 2 * t), 0, 1) ** 0.5).astype(dtype)


def noise(like, seed=1, level=0.03):
    return (level * np.random.default_rng(seed).standard_normal(len(like))).astype(like.dtype)


CLEAN = voice()
NOISY = CLEAN + noise(CLEAN)
ESTIMATE = CLEAN + noise(CLEAN, seed=2, level=0.01)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed, seconds", [(0, 2.0), (1, 1.3), (2, 3.7)])
def test_equals_asteroid(seed, seconds, dtype):
    s3prl_shim()  # asteroid needs no more of torchaudio than that it imports
    from asteroid.metrics import get_metrics

    clean = voice(seconds, seed, dtype)
    # an offset, a gain
    noisy, estimate = (
        clean + noise(clean, 1, 0.05) + dtype(0.01),
        0.7 * clean + noise(clean, 2, 0.01),
    )
    theirs = get_metrics(
        noisy, clean, estimate, sample_rate=RATE, metrics_list=["si_sdr", "pesq", "stoi"]
    )
    assert pesq_wb(clean, estimate) == pytest.approx(theirs["pesq"], abs=1e-6)
    assert stoi(clean, estimate) == pytest.approx(theirs["stoi"], abs=1e-6)
    assert si_sdr(clean, estimate) == pytest.approx(theirs["si_sdr"], abs=1e-6)
    assert pesq_wb(clean, noisy) == pytest.approx(theirs["input_pesq"], abs=1e-6)
    improvement = theirs["si_sdr"] - theirs["input_si_sdr"]
    assert si_sdr_improvement(clean, estimate, noisy) == pytest.approx(improvement, abs=1e-6)


@pytest.mark.parametrize("silence", [0, 4_000, 16_000])
def test_pesq_is_the_packages_own_to_the_last_bit(silence):
    from pesq import pesq

    clean = np.concatenate([CLEAN, np.zeros(silence, np.float32)])
    noisy = np.concatenate([NOISY, np.zeros(silence, np.float32)])
    assert pesq_wb(clean, noisy) == pesq(RATE, clean, noisy, "wb")


@pytest.mark.parametrize("before", [True, False])
def test_denormals_are_zero_within_pesq_and_afterwards_as_before(before, monkeypatch):
    import pesq
    import torch

    def are_zero():
        return bool(torch.tensor(1e-30) * 1e-10 == 0)

    if not torch.set_flush_denormal(before):
        pytest.skip("this CPU cannot have denormals as zero")
    inside = []
    monkeypatch.setattr(pesq, "pesq", lambda *_: inside.append(are_zero()) or 1.0)
    try:
        with np.errstate(all="raise"):
            assert pesq_wb(CLEAN, NOISY) == 1
        assert (inside, are_zero()) == ([True], before)
    finally:
        torch.set_flush_denormal(False)


def test_stoi_has_one_thread_of_numpy_and_gives_the_others_back(monkeypatch):
    import pystoi
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    if not threads():
        pytest.skip("numpy multiplies by something that threadpoolctl does not know")
    expected, inside = stoi(CLEAN, NOISY), []
    with threadpool_limits(2, user_api="blas"):
        assert pystoi.stoi(CLEAN, NOISY, RATE) == expected
    monkeypatch.setattr(pystoi, "stoi", lambda *_, **__: inside.append(threads()) or 1.0)
    with threadpool_limits(2, user_api="blas"):
        stoi(CLEAN, NOISY)
        assert (inside, threads()) == ([{1}], {2})


def test_a_broken_package_is_a_sentence_and_no_failed_score(monkeypatch):
    metrics._blas.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "threadpoolctl", None)
    with pytest.raises(MachineError, match="STOI needs the package threadpoolctl"):
        stoi(CLEAN, NOISY)


def test_a_perfect_copy_gets_the_most():
    # where P.862.2 maps the raw score of 4.5
    assert pesq_wb(CLEAN, CLEAN) == pytest.approx(4.6439, abs=1e-3)
    assert stoi(CLEAN, CLEAN) == pytest.approx(1, abs=1e-3)
    assert si_sdr(CLEAN, CLEAN) > 80  # finite because of EPS
    for metric in (pesq_wb, stoi, si_sdr):
        assert metric(CLEAN, CLEAN) > metric(CLEAN, ESTIMATE) > metric(CLEAN, NOISY)


def test_si_sdr_is_the_ratio_that_was_mixed():
    """A residue orthogonal to the reference at 10 dB below it scores 10 dB, at any level
    and with any offset.
    """
    clean = CLEAN.astype(np.float64) - CLEAN.mean(dtype=np.float64)
    residue = noise(clean) - np.mean(noise(clean))
    residue -= clean * (residue @ clean) / (clean @ clean)
    residue *= np.sqrt(0.1 * (clean @ clean) / (residue @ residue))
    for scale, offset in ((1, 0), (0.05, 0), (-3, 0), (1, 0.5)):  # a flipped sign is no error to it
        assert si_sdr(clean, scale * (clean + residue) + offset) == pytest.approx(10, abs=1e-4)
        assert si_sdr(10 * clean, scale * (clean + residue) + offset) == pytest.approx(10, abs=1e-4)


def test_improvement_of_doing_nothing_is_zero():
    assert si_sdr_improvement(CLEAN, NOISY, NOISY) == 0
    assert si_sdr_improvement(CLEAN, ESTIMATE, NOISY) == pytest.approx(10 * np.log10(9), abs=0.2)


def test_pesq_and_stoi_do_not_hear_the_level():
    assert pesq_wb(CLEAN / 8, NOISY / 8) == pytest.approx(pesq_wb(CLEAN, NOISY), abs=1e-5)
    assert stoi(CLEAN, NOISY / 8) == pytest.approx(stoi(CLEAN, NOISY), abs=1e-5)


BROKEN = {
    "silent reference": (np.zeros_like(CLEAN), ESTIMATE),
    "silent estimate": (CLEAN, np.zeros_like(CLEAN)),
    "estimate is not finite": (CLEAN, np.where(np.arange(len(CLEAN)) == 7, np.nan, ESTIMATE)),
    "reference is not finite": (np.where(np.arange(len(CLEAN)) == 7, np.inf, CLEAN), ESTIMATE),
    "lengths differ": (CLEAN, ESTIMATE[:-1]),
}


@pytest.mark.parametrize("metric", [pesq_wb, stoi, si_sdr])
@pytest.mark.parametrize("reason", BROKEN)
def test_what_cannot_be_scored_says_why(metric, reason):
    assert metric(*BROKEN[reason]) == Failure(reason)


def test_constant_and_empty_signals_are_silent():
    assert si_sdr(CLEAN, np.full_like(CLEAN, 0.3)) == Failure("silent estimate")
    assert si_sdr(CLEAN[:0], CLEAN[:0]) == Failure("silent reference")


def test_failures_of_improvement_name_the_signal():
    assert si_sdr_improvement(CLEAN, NOISY * 0, NOISY) == Failure("silent estimate")
    assert si_sdr_improvement(CLEAN, ESTIMATE, NOISY * 0) == Failure("silent input")
    assert si_sdr_improvement(CLEAN, ESTIMATE, NOISY[:-1]) == Failure("lengths differ")


def test_too_short_is_a_failure_and_no_sentinel():
    short = slice(3000, 3000 + RATE // 4 - 1)
    assert pesq_wb(CLEAN[short], NOISY[short]) == Failure("shorter than 0.25 s")
    # pystoi says 1e-5
    assert stoi(CLEAN[short], NOISY[short]) == Failure("stoi: less than 0.4 s of speech")
    assert stoi(CLEAN[:40], NOISY[:40]).reason.startswith("stoi: ")
    assert isinstance(si_sdr(CLEAN[short], NOISY[short]), float)


def test_errors_of_the_packages_are_failures():
    """PESQ finds no utterance in a reference far below its floor, and divides by zero
    with such an estimate.
    """
    click = np.zeros_like(CLEAN)
    click[100] = 1e-30
    assert pesq_wb(click, CLEAN).reason.startswith("pesq: ")
    assert pesq_wb(CLEAN, click).reason.startswith("pesq: ")


def test_a_missing_package_is_no_score_but_a_sentence(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pesq", None)
    with pytest.raises(MachineError, match=r"run: pip install .*\[se\]"):
        pesq_wb(CLEAN, NOISY)


def test_bootstrap_holds_the_mean_and_repeats_itself():
    values = np.random.default_rng(0).normal(2.5, 0.4, 200)
    low, high = bootstrap_interval(values)
    assert low < values.mean() < high and (low, high) == bootstrap_interval(list(values))
    assert (low, high) != bootstrap_interval(values, seed=1)
    # the normal approximation, good for n = 200
    width = 2 * 1.96 * values.std() / np.sqrt(len(values))
    assert high - low == pytest.approx(width, rel=0.15)
    narrow = bootstrap_interval(values, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = [
        low < 0 < high
        for low, high in (bootstrap_interval(rng.normal(size=60), n=400) for _ in range(200))
    ]
    assert 0.89 <= np.mean(hits) <= 0.99  # 0.95, give or take three standard errors


def test_bootstrap_of_little():
    assert bootstrap_interval([1.5]) == (1.5, 1.5)
    for nothing in ([], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="leave the failures out"):
            bootstrap_interval(nothing)


def test_ratios_add_up_above_and_below_the_line():
    errors, words = [100.0, 0.0, 300.0], [10.0, 30.0, 5.0]
    ratios = [Ratio(e, w) for e, w in zip(errors, words, strict=True)]
    assert (
        mean(ratios)
        == sum(errors) / sum(words)
        != np.mean([e / w for e, w in zip(errors, words, strict=True)])
    )
    low, high = bootstrap_interval(ratios)
    assert low < mean(ratios) < high
    assert mean([Ratio(v, 1.0) for v in (1.0, 2.0, 4.0)]) == mean([1.0, 2.0, 4.0])
    with pytest.raises(ValueError, match="empty reference"):
        mean([Ratio(0.0, 0.0)])
