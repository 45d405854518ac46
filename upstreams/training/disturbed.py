"""What keeps a recogniser from learning its few transcripts by heart: spans of frames, features or
samples blotted out, and speech sped up or slowed down.

Everything is drawn from the generator it is given, which for an utterance of a batch is a function
of the seed, the batch and the utterance's place in it: so a resumed training, and one whose batches
several processes share, draws the same.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...benchmark.audio import resample
from ...benchmark.contract import SAMPLE_RATE

CHUNK = (1000, 2000)  # samples, SpeechBrain's TimeDomainSpecAugment
SHORTEST = 0.1  # seconds that speeding up leaves


def spans(
    rng: np.random.Generator, size: int, share: float, width: int, least: int = 0
) -> np.ndarray:
    """(size,) True within spans whose starts are drawn without replacement, and which may overlap.

    share * size / width of them, the fraction deciding by chance about one more, and `least` at
    least: wav2vec 2.0's masks of a fixed width (fairseq/data/data_utils.py, compute_mask_indices).
    A row that is too short for a span has none.
    """
    inside = np.zeros(size, bool)
    count = max(int(share * size / width + rng.random()), least)
    places = size - width + 1
    if places < 1 or not count:
        return inside
    starts = rng.choice(places, min(count, places), replace=False)
    inside[(starts[:, None] + np.arange(width)).ravel()] = True
    return inside


def span_rows(
    rngs: Sequence[np.random.Generator],
    sizes: Sequence[int],
    share: float,
    width: int,
    least: int = 0,
) -> Tensor:
    """(B, max(sizes)) of `spans`, one row a generator, none behind a row's own size."""
    out = torch.zeros(len(rngs), max(sizes), dtype=torch.bool)
    for row, rng, size in zip(out, rngs, sizes, strict=True):
        row[:size] = torch.from_numpy(spans(rng, size, share, width, least))
    return out


def sped(rng: np.random.Generator, wav: Tensor, speeds: Sequence[float]) -> Tensor:
    """(N,) -> (about N / speed,): one of the speeds, the pitch going with it (Ko et al., 2015)."""
    speed = speeds[int(rng.integers(len(speeds)))]
    if speed == 1 or len(wav) / speed < SHORTEST * SAMPLE_RATE:
        return wav
    return torch.from_numpy(resample(wav.numpy(), round(SAMPLE_RATE * speed)))


def chunked(rng: np.random.Generator, wav: Tensor, most: int) -> Tensor:
    """(N,) -> (N,) with 0 to `most` chunks set to zero."""
    wav = wav.clone()
    for _ in range(int(rng.integers(most + 1))):
        length = int(rng.integers(CHUNK[0], CHUNK[1] + 1))
        if length < len(wav):
            start = int(rng.integers(len(wav) - length))
            wav[start : start + length] = 0
    return wav
