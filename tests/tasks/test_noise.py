"""Noises and mixing: the ratio asked for is the ratio there is."""

import numpy as np
import pytest
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.tasks.corpora import noise as noises
from helpers.sounds import mostly_silent, rng, speechlike

NOISES = noises.GENERATORS | {
    "babble": lambda draw, n: noises.babble(
        draw, n, [speechlike(2 + 0.1 * i, seed=i) for i in range(5)]
    ),
    "mostly silent": mostly_silent,
}


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("ratio", [17.5, 0.0, -5.0])
def test_the_ratio_asked_for_is_the_ratio_there_is(kind, ratio):
    speech = speechlike()
    for samples in (40_000, 5_000):  # to be cut, to be looped
        noise = NOISES[kind](rng(1), samples)
        assert noise.dtype == np.float32 and noise.shape == (samples,)
        mixed = noises.mix(speech, noise, ratio, rng(2))
        assert noises.snr(mixed.clean, mixed.noise) == pytest.approx(ratio, abs=1e-3)
        np.testing.assert_array_equal(mixed.noisy, mixed.clean + mixed.noise)
        assert np.abs(mixed.noisy).max() <= 0.981


@pytest.mark.parametrize("kind", noises.GENERATORS)
def test_noises_repeat_with_their_seed_only(kind):
    make = noises.GENERATORS[kind]
    np.testing.assert_array_equal(make(rng(5), 16_000), make(rng(5), 16_000))
    assert not np.array_equal(make(rng(5), 16_000), make(rng(6), 16_000))
    assert noises.active_power(make(rng(5), 16_000)) == pytest.approx(0.01, rel=1e-4)
    assert len(make(rng(5), 100)) == 100


def slope(wav):
    """dB an octave between 100 Hz and 6.4 kHz."""
    power, hz = np.abs(np.fft.rfft(wav)) ** 2, np.fft.rfftfreq(len(wav), 1 / 16_000)
    edges = 100 * 2.0 ** np.arange(7)
    bands = [10 * np.log10(power[(hz >= a) & (hz < 2 * a)].mean()) for a in edges[:-1]]
    return np.polyfit(range(len(bands)), bands, 1)[0]


def test_pink_falls_by_3_db_an_octave_and_white_by_none():
    assert slope(noises.pink(rng(), 320_000)) == pytest.approx(-3.01, abs=0.15)
    assert slope(noises.white(rng(), 320_000)) == pytest.approx(0, abs=0.15)


def test_silence_around_a_sound_does_not_change_its_ratio():
    speech, noise = speechlike(), noises.white(rng(), 16_000)
    assert noises.snr(np.pad(speech, 16_000), np.pad(noise, 32_000)) == pytest.approx(
        noises.snr(speech, noise), abs=0.01
    )


def test_a_loud_mixture_is_turned_down_as_a_whole():
    speech = speechlike() * 4
    mixed = noises.mix(speech, noises.white(rng(), 16_000), 0.0, rng())
    np.testing.assert_allclose(mixed.clean / mixed.clean.max(), speech / speech.max(), atol=1e-6)
    assert np.abs(mixed.noisy).max() == pytest.approx(noises.PEAK, abs=1e-3)


def test_mixing_complaints():
    for speech, noise in ((np.zeros(16_000), speechlike()), (speechlike(), np.zeros(16_000))):
        with pytest.raises(UsageError, match="digital silence"):
            noises.mix(speech, noise, 5.0, rng())
    with pytest.raises(UsageError, match="at least 5 talkers and got 4"):
        noises.babble(rng(), 100, [speechlike()] * 4)
