"""How a microphone colours speech, made in code."""

import numpy as np

from ...benchmark.contract import SAMPLE_RATE

KNOTS = np.geomspace(100, SAMPLE_RATE / 2, 9)  # Hz; between them the response is interpolated
TAPS = 257


def microphone(rng: np.random.Generator, step: float) -> np.ndarray:
    """(TAPS,) a linear-phase filter whose response wanders from knot to knot by normal steps of
    `step` dB: tilts, hills and valleys of an octave and wider.
    """
    from scipy.signal import firwin2

    level = np.cumsum(rng.standard_normal(len(KNOTS))) * step
    gain = 10 ** ((level - level.mean()) / 20)
    return firwin2(TAPS, [0, *KNOTS], [gain[0], *gain], fs=SAMPLE_RATE)


def heard(wav: np.ndarray, filter: np.ndarray) -> np.ndarray:
    """(N,) -> (N,) float64, later by half of the filter's length."""
    from scipy.signal import fftconvolve

    return fftconvolve(np.asarray(wav, np.float64), filter)[: len(wav)]
