"""Microphones made in code."""

import numpy as np
import pytest
from earlyexit_superb.tasks.corpora.channel import TAPS, heard, microphone
from helpers.sounds import rng


def test_a_microphone_without_colour_is_a_delay():
    wav = rng().standard_normal(4000)
    half = TAPS // 2
    out = heard(wav, microphone(rng(), 0.0))
    np.testing.assert_allclose(out[half:], wav[:-half], atol=1e-3)


def test_microphones_differ_by_as_much_as_is_asked_for():
    def spread(step):
        responses = [np.fft.rfft(microphone(rng(seed), step), 512) for seed in range(40)]
        level = 20 * np.log10(np.abs(responses))[:, 8:-8]
        return level.std(0).mean()

    assert spread(2.0) == pytest.approx(2 * spread(1.0), rel=0.1)
    assert len(heard(np.ones(1000), microphone(rng(), 3.0))) == 1000
