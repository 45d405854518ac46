"""Noises made in code, and mixing at a signal-to-noise ratio that means something.

Signal-to-noise ratios are taken over the *active* part of each signal: its frames of 20 ms within
40 dB of its loudest one (the gate STOI puts on speech). Over the whole file a dog that barks once
in five silent seconds, or speech with long pauses, would come out far louder or softer than the
number says. ITU-T P.56 serves the same end with more machinery.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ...benchmark.contract import SAMPLE_RATE
from ...benchmark.errors import UsageError

FRAME = SAMPLE_RATE // 50  # 20 ms
GATE = 40.0  # dB below the loudest frame, and still active
PEAK = 0.98  # a mixture that would be louder is turned down, clean and all


# ---- mixing ----


class Mixture(NamedTuple):
    """noisy = clean + noise, (N,) float32 each."""

    noisy: np.ndarray
    clean: np.ndarray  # the speech, turned down where the mixture would have clipped
    noise: np.ndarray


def active_frames(wav: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) -> (n,) mean power of each whole 20 ms frame, and (n,) whether it is active. All False
    for digital silence.
    """
    wav = np.asarray(wav, np.float64)
    wav = (
        wav[: len(wav) // FRAME * FRAME]
        if len(wav) >= FRAME
        else np.pad(wav, (0, FRAME - len(wav)))
    )
    power = np.square(wav.reshape(-1, FRAME)).mean(axis=1)
    return power, power > power.max() * 10 ** (-GATE / 10)


def active_power(wav: np.ndarray) -> float:
    """Mean power of the active frames; 0 for digital silence."""
    power, active = active_frames(wav)
    return float(power[active].mean()) if active.any() else 0.0


def snr(speech: np.ndarray, noise: np.ndarray) -> float:
    """dB, of two (N,) signals as they are."""
    above, below = active_power(speech), active_power(noise)
    if not above or not below:
        raise UsageError(
            f"the {'noise' if above else 'speech'} is digital silence, so there is no "
            "signal-to-noise ratio; take that recording out"
        )
    return 10 * float(np.log10(above / below))


def mix(speech: np.ndarray, noise: np.ndarray, snr_db: float, rng: np.random.Generator) -> Mixture:
    """Add `noise` (any length) to (N,) `speech` so that snr(clean, noise) is `snr_db`."""
    noise = fit(noise, len(speech), rng)
    noise = noise * 10 ** ((snr(speech, noise) - snr_db) / 20)
    loudest = max(np.abs(wav).max() for wav in (speech + noise, speech, noise))
    clean, noise = ((wav * min(1.0, PEAK / loudest)).astype(np.float32) for wav in (speech, noise))
    return Mixture(clean + noise, clean, noise)


def fit(noise: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """`samples` of `noise`, float64, looped where it is too short, from a random offset.

    Half of some recordings is silence, and a cut of nothing cannot be brought to any ratio: a
    randomly drawn active frame is made to fall on a random place of the cut, which for steady noise
    is an offset like any other.
    """
    _, active = active_frames(noise)
    if not active.any():
        raise UsageError(
            "the noise is digital silence, so there is no signal-to-noise ratio; take that "
            "recording out"
        )
    chosen = int(rng.choice(np.flatnonzero(active))) * FRAME
    start = chosen - int(rng.integers(max(1, samples - FRAME)))
    return np.take(np.asarray(noise, np.float64), np.arange(start, start + samples), mode="wrap")


# ---- noises: f(rng, samples) -> (samples,) float32 with an active power of 0.01 (-20 dB); other
# levels are up to `mix`


def white(rng: np.random.Generator, samples: int) -> np.ndarray:
    """The same power in every Hz."""
    return _level(rng.standard_normal(samples))


def pink(rng: np.random.Generator, samples: int) -> np.ndarray:
    """The same power in every octave: -3 dB an octave, down to 20 Hz."""
    return _level(_shaped(rng, samples, lambda hz: 1 / np.sqrt(np.maximum(hz, 20))))


def hum(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Mains: 50 or 60 Hz and its first 20 harmonics, the odd ones stronger, over a little hiss."""
    mains, t = rng.choice([50.0, 60.0]) * (1 + 0.002 * rng.standard_normal()), _seconds(samples)
    wav = 0.02 * rng.standard_normal(samples)
    for k in range(1, 21):
        strength = (1.0 if k % 2 else 0.3) * rng.uniform(0.5, 1) / k
        wav += strength * np.sin(2 * np.pi * (mains * k * t + rng.uniform()))
    return _level(wav)


def clicks(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Keys, drops, knocks: one to six short ringing strokes a second with digital
    silence between them.
    """
    wav = np.zeros(samples)
    for start in _events(rng, samples, rng.uniform(1, 6)):
        t = _seconds(min(int(0.08 * SAMPLE_RATE), samples - start))
        stroke = np.sin(2 * np.pi * rng.uniform(300, 5000) * t + 1) + 0.5 * rng.standard_normal(
            len(t)
        )
        wav[start : start + len(t)] += (
            rng.uniform(0.3, 1) * stroke * np.exp(-t / rng.uniform(0.003, 0.02))
        )
    return _level(wav)


def music(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Plucked notes of a pentatonic scale, two parts, harmonics that die away faster
    the higher they are.
    """
    wav, root = np.zeros(samples), rng.uniform(110, 220)
    # a slow bass, a quick tune
    for part, beat in ((1, rng.uniform(0.4, 0.7)), (3, rng.uniform(0.15, 0.35))):
        step = int(beat * SAMPLE_RATE)
        for start in range(0, samples, step):
            t = _seconds(min(4 * step, samples - start))
            pitch = part * root * 2 ** (rng.choice([0, 2, 4, 7, 9, 12]) / 12)
            for k in range(1, 7):
                if pitch * k < 7500:
                    wav[start : start + len(t)] += (
                        np.exp(-t * k / beat) * np.sin(2 * np.pi * pitch * k * t) / k
                    )
    return _level(wav)


def engine(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Harmonics of a firing rate that wanders, and the roar that beats with it."""
    rate = rng.uniform(25, 70) * (1 + 0.15 * _slow(rng, samples, 0.5))
    phase = 2 * np.pi * np.cumsum(rate) / SAMPLE_RATE
    wav = sum(
        rng.uniform(0.3, 1) / np.sqrt(k) * np.sin(k * phase + rng.uniform(0, 6))
        for k in range(1, 31)
    )
    roar = _shaped(rng, samples, lambda hz: 1 / (1 + (hz / 400) ** 2))
    return _level(_unit(wav) + 0.5 * _unit(roar) * (1 + 0.6 * np.sin(phase)))


def cafe(rng: np.random.Generator, samples: int) -> np.ndarray:
    """A room full of people without their words: eight bands of noise that swell at the pace of
    syllables, and cups.
    """
    wav = np.zeros(samples)
    for _ in range(8):
        low, high = sorted(rng.uniform(150, 3500, 2))
        stream = _shaped(
            rng, samples, lambda hz, a=low, b=high + 200: ((hz > a) & (hz < b)) / (1 + (hz / 500))
        )
        wav += _unit(stream) * np.exp(0.8 * _slow(rng, samples, 4.0))
    return _level(_unit(wav) + 0.15 * _unit(clicks(rng, samples)))


GENERATORS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "white": white,
    "pink": pink,
    "hum": hum,
    "clicks": clicks,
    "music": music,
    "engine": engine,
    "cafe": cafe,
}


def babble(rng: np.random.Generator, samples: int, talkers: Sequence[np.ndarray]) -> np.ndarray:
    """At least five people at once, equally loud, each (N,) recording looped
    from a random offset.
    """
    if len(talkers) < 5:
        raise UsageError(
            f"babble needs at least 5 talkers and got {len(talkers)}; "
            "give it more recordings of other speakers"
        )
    return _level(sum(_unit(fit(talker, samples, rng)) for talker in talkers))


# ---- their parts ----


def _seconds(samples: int) -> np.ndarray:
    return np.arange(samples) / SAMPLE_RATE


def _unit(wav: np.ndarray) -> np.ndarray:
    """Active power 1; digital silence stays what it is."""
    return np.asarray(wav, np.float64) / np.sqrt(active_power(wav) or 1.0)


def _level(wav: np.ndarray) -> np.ndarray:
    return (0.1 * _unit(wav)).astype(np.float32)


def _shaped(
    rng: np.random.Generator, samples: int, amplitude: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Gaussian noise whose spectrum is `amplitude` of the frequency in Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    return np.fft.irfft(spectrum * amplitude(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)), samples)


def _slow(rng: np.random.Generator, samples: int, rate: float) -> np.ndarray:
    """A smooth random curve of variance about 1 with `rate` independent values a second."""
    knots = rng.standard_normal(int(samples / SAMPLE_RATE * rate) + 3)
    return np.interp(_seconds(samples) * rate + rng.uniform(), np.arange(len(knots)), knots)


def _events(rng: np.random.Generator, samples: int, rate: float) -> np.ndarray:
    """Sorted samples at which something happens, `rate` times a second on average and at least
    once.
    """
    count = max(1, rng.poisson(rate * samples / SAMPLE_RATE))
    return np.sort(rng.integers(max(1, samples - FRAME), size=count))
