"""What enhancement and separation are scored with: functions of two waveforms, each giving a
number or a `Failure`.

Wide-band PESQ (ITU-T P.862.2, MOS-LQO, about 1 to 4.64), STOI (Taal et al., 2011; at most 1, papers
print it x 100) and SI-SDR (Le Roux et al., 2019, eq. 3-4; dB). s3prl takes all three from
`asteroid.metrics.get_metrics`, which takes them from pb_bss_eval; tests/benchmark/test_metrics.py
holds ours equal to it. One thing differs on purpose: there a file that cannot be scored ends the
run (PESQ) or enters the mean as 1e-5 (STOI); here it is a `Failure`, to be counted beside the mean.

Waveforms are float arrays (N,) at 16 kHz and keep their precision; reference first, as in asteroid.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from . import resampling
from .contract import SAMPLE_RATE
from .errors import require

# pb_bss_eval/evaluation/module_si_sdr.py; absolute, so SI-SDR of a perfect copy is finite
EPS = 1e-8
PESQ_SHORTEST = SAMPLE_RATE // 4  # samples; the pesq package refuses less


@dataclass(frozen=True)
class Failure:
    """Why there is no number. Few and fixed wordings, without file names or sizes, so that
    they can be counted.
    """

    reason: str


@dataclass(frozen=True)
class Ratio:
    """One utterance's share of a corpus-level rate: word errors over words. Rates add up above and
    below the line apart.
    """

    part: float  # already in the metric's unit: 100 x errors for a percentage
    whole: float


def pesq_wb(clean: np.ndarray, estimate: np.ndarray) -> float | Failure:
    """Wide-band PESQ. The package divides both signals by their joint peak, so only
    their ratio matters.
    """
    clean, estimate = np.asarray(clean), np.asarray(estimate)
    if trouble := _trouble(clean, estimate):
        return trouble
    if len(clean) < PESQ_SHORTEST:
        return Failure("shorter than 0.25 s")
    package = require("pesq", "PESQ", "se")
    try:
        with denormals_as_zero():
            value = float(package.pesq(SAMPLE_RATE, clean, estimate, "wb"))
    except Exception as error:
        # its own errors, and a bare ValueError where an inner step divides by zero
        return Failure(f"pesq: {type(error).__name__}")
    return value if np.isfinite(value) else Failure("pesq: not a number")


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """This thread's denormal floats are 0 inside, where the CPU can do so. PESQ's recursive filters
    ring out over silence into such numbers, with which a CPU calculates many times slower; its
    scores are the same to the last bit.
    """
    import torch

    already = not (torch.tensor(1e-30) * 1e-10).any()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


def stoi(clean: np.ndarray, estimate: np.ndarray) -> float | Failure:
    """Short-time objective intelligibility, not the extended one (which adds unseeded noise)."""
    clean, estimate = np.asarray(clean), np.asarray(estimate)
    if trouble := _trouble(clean, estimate):
        return trouble
    package, blas = require("pystoi", "STOI", "se"), _blas()
    with warnings.catch_warnings():
        # with fewer than 30 frames of speech (0.4 s) it warns and returns 1e-5: the
        # warning is the failure
        warnings.filterwarnings("error", message="Not enough STFT frames", category=RuntimeWarning)
        try:
            with blas.limit(limits=1):
                value = float(package.stoi(clean, estimate, SAMPLE_RATE, extended=False))
        except RuntimeWarning:
            return Failure("stoi: less than 0.4 s of speech")
        except Exception as error:
            return Failure(f"stoi: {type(error).__name__}")
    return value if np.isfinite(value) else Failure("stoi: not a number")


@cache
def _blas() -> Any:
    """The linear algebra that numpy and scipy have loaded, to be held to one thread: STOI
    multiplies small matrices, after each of which other threads spin for longer than it took, on
    cores that utterances are scored on.
    """
    return require("threadpoolctl", "STOI", "se").ThreadpoolController().select(user_api="blas")


def si_sdr(clean: np.ndarray, estimate: np.ndarray) -> float | Failure:
    """Scale-invariant signal-to-distortion ratio in dB, both signals made zero-mean first."""
    clean, estimate = np.asarray(clean), np.asarray(estimate)
    if trouble := _trouble(clean, estimate):
        return trouble
    clean, estimate = clean - clean.mean(), estimate - estimate.mean()
    target = np.sum(clean * estimate) / (np.sum(clean**2) + EPS) * clean  # eq. 4: e_target
    residue = estimate - target  # eq. 4: e_res
    return float(10 * np.log10(np.sum(target**2) / (np.sum(residue**2) + EPS) + EPS))


def si_sdr_improvement(
    clean: np.ndarray, estimate: np.ndarray, noisy: np.ndarray
) -> float | Failure:
    """SI-SDR of the estimate minus that of the unprocessed input, dB. s3prl prints it
    under the name si_sdr.
    """
    after, before = si_sdr(clean, estimate), si_sdr(clean, noisy)
    if isinstance(after, Failure):
        return after
    if isinstance(before, Failure):
        return Failure(before.reason.replace("estimate", "input"))
    return after - before


def mean(values: Sequence[float | Ratio]) -> float:
    """Over utterances; of ratios, the sum of the parts over the sum of the wholes."""
    part, whole = _parts(values)
    return float(part.sum() / whole.sum())


def bootstrap_interval(
    values: Sequence[float | Ratio],
    speakers: Sequence[str] = (),
    level: float = 0.95,
    n: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap of the mean: how far it could move with other speakers and other
    utterances of each, or with other utterances where no speakers are given (resampling.py).

    Says nothing of other training seeds. Of a single value it is that value, twice.
    """
    part, whole = _parts(values)
    names = tuple(speakers) or ("",) * part.size
    return resampling.interval(resampling.totals(part, whole, names, n, seed), level)


def _parts(values: Sequence[float | Ratio]) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array(
        [(v.part, v.whole) if isinstance(v, Ratio) else (v, 1.0) for v in values], dtype=np.float64
    ).reshape(-1, 2)
    if not len(pairs) or not np.isfinite(pairs).all():
        raise ValueError(
            "a mean needs at least one value, and finite ones: leave the failures out and count "
            "them"
        )
    if (pairs[:, 1] <= 0).any():
        raise ValueError(
            "a ratio needs something to be a part of: an empty reference is a failure, to be "
            "counted"
        )
    return pairs[:, 0], pairs[:, 1]


def _trouble(clean: np.ndarray, estimate: np.ndarray) -> Failure | None:
    """What no metric can digest. A constant signal counts as silent: it carries nothing
    once its mean is gone.
    """
    if clean.ndim != 1 or clean.shape != estimate.shape:
        return Failure("lengths differ")
    for what, signal in (("reference", clean), ("estimate", estimate)):
        if not np.isfinite(signal).all():
            return Failure(f"{what} is not finite")
        if not signal.size or np.ptp(signal) == 0:
            return Failure(f"silent {what}")
    return None
