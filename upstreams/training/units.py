"""Discrete units of speech by k-means: targets for frames without labels."""

import os
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...benchmark import distributed
from ...benchmark.contract import SAMPLE_RATE, Upstream
from ...benchmark.errors import require
from ...benchmark.soundness import is_whole_zip, set_aside
from ...benchmark.storage import atomic
from ..backbones.hubert_shape import SHORTEST, STRIDE

SAMPLE = 1200  # clips whose frames are clustered
TOGETHER = 64  # clips whose frames are named at a time
FFT = 512  # samples, around the 400 that a frame of the convolutions sees
SPECTRUM = {"n_fft": FFT, "win_length": SHORTEST, "hop_length": STRIDE, "center": False}
Features = Callable[[int], np.ndarray]  # clip number -> (T, D)


def units_of(
    features: Features, clips: int, count: int, folder: Path, seed: int
) -> list[np.ndarray]:
    """A unit a frame for each of so many clips, kept in `folder`; one process makes them for all.

    Returns: (T,) int16 a clip, in 0..count - 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "units.npz"
    with distributed.in_turn():
        if os.path.lexists(file) and not is_whole_zip(file):
            set_aside(file, "is damaged")
        if not file.exists():
            labels = _clustered(features, clips, count, folder.name, seed)
            with atomic(file, durable=True) as temporary, open(temporary, "wb") as out:
                np.savez(out, units=np.concatenate(labels), ends=np.cumsum([*map(len, labels)]))
        with np.load(file) as flat:
            return np.split(flat["units"], flat["ends"][:-1])


def _clustered(
    features: Features, clips: int, count: int, what: str, seed: int
) -> list[np.ndarray]:
    from tqdm import tqdm

    order = np.random.default_rng(seed).permutation(clips)[:SAMPLE]
    means = _means(
        np.concatenate([features(i) for i in order]),
        count,
        seed,
        max_no_improvement=50,
        reassignment_ratio=0.0,
    )
    labels: list[np.ndarray] = []
    with tqdm(
        total=clips, desc=f"{what} units", file=sys.stderr, unit="clip", mininterval=1
    ) as bar:
        for first in range(0, clips, TOGETHER):
            rows = [features(i) for i in range(first, min(first + TOGETHER, clips))]
            named = means.predict(np.concatenate(rows)).astype(np.int16)
            labels += np.split(named, np.cumsum([*map(len, rows)])[:-1])
            bar.update(len(rows))
    return labels


def nearest_centre(
    backbone: Upstream,
    block: int,
    batches: Iterable[tuple[Tensor, Tensor]],
    count: int,
    seed: int,
    device: str,
) -> Callable[[Tensor], Tensor]:
    """The units of a block's states: (B, T, D) -> (B, T), the nearest of `count` cluster centres.

    Args:
        batches: (B, N) audio and (B,) samples, whose frames are clustered.
    """
    rows = []
    with torch.no_grad():
        for wavs, lengths in batches:
            states = backbone.states(wavs.to(device), lengths)
            state = next(islice(states, block, None))
            frames = backbone.frames(lengths).tolist()
            rows += [row[:n].cpu().numpy() for row, n in zip(state, frames, strict=True)]
    means = _means(np.concatenate(rows), count, seed)
    centres = torch.from_numpy(means.cluster_centers_).float()
    return lambda state: torch.cdist(state, centres[None].to(state)).argmin(-1)


def _means(rows: np.ndarray, count: int, seed: int, **how):
    """Hsu et al., 2021, sec. IV-B: mini-batches of 10,000 frames."""
    cluster = require("sklearn.cluster", "clustering units", "train")
    means = cluster.MiniBatchKMeans(count, batch_size=10_000, n_init=3, random_state=seed, **how)
    return means.fit(rows)


def mfcc(wav_of: Callable[[int], np.ndarray]) -> Features:
    """(T, 39): 13 MFCCs with deltas and delta-deltas, standardised over the clip.

    On the frames of HuBERT's convolutions, 25 ms every 20 ms.
    """
    torchaudio = require("torchaudio", "MFCC units", "torchaudio")
    transform = torchaudio.transforms.MFCC(SAMPLE_RATE, 13, melkwargs={"n_mels": 40, **SPECTRUM})
    deltas = torchaudio.functional.compute_deltas

    def features(clip: int) -> np.ndarray:
        first = transform(on_frames(torch.from_numpy(wav_of(clip))))
        x = torch.cat([first, deltas(first), deltas(deltas(first))]).T
        return ((x - x.mean(0)) / (x.std(0) + 1e-5)).numpy()

    return features


def on_frames(wavs: Tensor) -> Tensor:
    """(..., N) padded so that a spectrum's windows lie around those of the convolutions."""
    margin = (FFT - SHORTEST) // 2
    return F.pad(wavs, (margin, margin))
