"""Masks, waveforms and the metric of separation, and its permutation."""

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.contract import Example
from earlyexit_superb.benchmark.metrics import Failure, si_sdr
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks import ss
from helpers import hubert_frames
from helpers.talkers import example, ideal
from toys.toy import at

V1, V2, MINI = ss.SUPERB_V1, ss.S3PRL_V2, ss.MINI
TASK = tasks.get("ss")


def improvement(e, estimates, permutation="si_sdr"):
    return ss.improvement(e.target.numpy(), np.asarray(estimates), e.wav.numpy(), permutation)


# ---- masks and waveforms ----


@pytest.mark.parametrize("name", TASK.protocols)
def test_ideal_masks_have_no_loss_and_separate(name):
    protocol, e = TASK.protocols[name], example(16_000)
    masks, frames = ideal(e, protocol), hubert_frames(16_000)
    assert ss.loss(masks.flip(0)[None], [e], torch.tensor([frames]), at(protocol)) < 1e-6
    scored = ss.score(masks, e, frames, at(protocol))
    assert list(scored) == ["si_sdr_improvement"] and scored["si_sdr_improvement"] > 4
    assert scored == ss.score(masks.flip(0), e, frames, at(protocol))


def test_separated_waveforms_are_those_of_enhancement():
    """One mask at a time through the code that tests/tasks/test_spectra.py holds to s3prl's."""
    from earlyexit_superb.tasks import se

    e = example(16_159)
    for protocol in (V1, V2):
        masks = torch.rand(
            2,
            1 + 16_159 // 320,
            protocol.n_fft // 2 + 1,
            generator=torch.Generator().manual_seed(0),
        )
        both = ss.separate(masks, e.wav, at(protocol))
        for estimate, mask in zip(both, masks, strict=True):
            torch.testing.assert_close(estimate, se.enhance(mask, e.wav, at(protocol)))


# ---- the metric and its permutation ----


def leaky(e, share):
    """Estimates of both talkers that each hold `share` of the other."""
    return np.stack([(e.target[k] + share * e.target[1 - k]).numpy() for k in (0, 1)])


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_improvement_equals_asteroid(order):
    """v1: BSS-eval decides (compute_permutation); v2: the better of all orders. Both as the
    experts call get_metrics.
    """
    from asteroid.metrics import get_metrics

    e = example(8_000, 7)
    estimates = (leaky(e, 0.3) + 0.01 * np.random.default_rng(0).standard_normal((2, 8_000)))[
        order
    ].astype(np.float32)
    mixture, talkers = e.wav.numpy()[None], e.target.numpy()

    def theirs(given, compute_permutation):
        values = get_metrics(
            mixture, talkers, given, 16_000, ["si_sdr"], compute_permutation=compute_permutation
        )
        return values["si_sdr"] - values["input_si_sdr"]

    assert improvement(e, estimates, "bss_eval") == pytest.approx(
        theirs(estimates, compute_permutation=True), abs=1e-4
    )
    best = max(theirs(estimates[[a, b]], compute_permutation=False) for a, b in ((0, 1), (1, 0)))
    assert improvement(e, estimates, "si_sdr") == pytest.approx(best, abs=1e-4)


def test_the_two_rules_can_disagree():
    """BSS-eval forgives a filter of 512 taps, SI-SDR does not: a delayed copy is the talker for one
    and noise for the other.
    """
    e = example(8_000, 9)
    first, second = e.target.numpy()
    estimates = np.stack([np.roll(first, 40) + 0.02 * second, np.roll(second, 40) + 0.02 * first])
    assert improvement(e, estimates, "si_sdr") > improvement(e, estimates, "bss_eval") + 1


def test_unprocessed_is_no_improvement_and_perfect_is_large():
    e = example(8_000, 2)
    assert TASK.unprocessed(e, V1) == TASK.unprocessed(e, V2) == {"si_sdr_improvement": 0.0}
    assert improvement(e, e.target.flip(0)) > 60
    for level in (0.3, 30.0):
        assert improvement(e, leaky(e, 0.1) * level) == pytest.approx(
            improvement(e, leaky(e, 0.1)), abs=0.01
        )
    assert improvement(e, leaky(e, 0.1)) == pytest.approx(
        np.mean(
            [
                si_sdr(t.numpy(), x) - si_sdr(t.numpy(), e.wav.numpy())
                for t, x in zip(e.target, leaky(e, 0.1), strict=True)
            ]
        )
    )


@pytest.mark.parametrize("permutation", ["si_sdr", "bss_eval"])
def test_what_cannot_be_scored_is_a_failure_with_a_reason(permutation):
    e = example(8_000, 2)
    silent = Example("u", e.target[0], torch.stack([e.target[0], torch.zeros(8_000)]))
    assert improvement(silent, leaky(e, 0.1), permutation) == Failure("silent reference")
    half = leaky(e, 0.1) * [[1.0], [0.0]]
    assert improvement(e, half, permutation) == Failure("silent estimate")
    half[1, 5] = np.nan
    assert improvement(e, half, permutation) == Failure("estimate is not finite")
    assert TASK.unprocessed(silent, V1) == {"si_sdr_improvement": Failure("silent reference")}
