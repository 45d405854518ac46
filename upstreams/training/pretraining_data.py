"""Unlabelled speech for training, all in memory as 16-bit: crops drawn by seed, noise mixed in.

For corpora of some hours; `utterances.py` reads larger ones from disk.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...benchmark.audio import read
from ...benchmark.contract import SAMPLE_RATE
from ...benchmark.errors import UsageError
from ...benchmark.training_data import files

SHORTEST = 2.6  # seconds; shorter clips are left out, so that no crop is ever padded
LOUDNESS = (0.01, 0.2)  # root mean square of a crop, drawn evenly on a log scale
SNRS = (0.0, 20.0)  # dB of a crop with noise
FEWEST = 50  # clips


class Pool:
    """Clips of at least SHORTEST seconds. Every fiftieth is held out for the training log.

    Args:
        crop: seconds of the longest crop that will be drawn; shorter clips are left out too.
    Attributes:
        sources: hours by folder.
    """

    def __init__(self, folders: Sequence[Path], noise: Sequence[Path] = (), crop: float = SHORTEST):
        shortest = max(SHORTEST, crop)
        self.clips: list[np.ndarray] = []
        self.sources: dict[str, float] = {}
        for folder in folders:
            self._add(folder, shortest)
        if len(self.clips) < FEWEST:
            raise UsageError(
                f"training speech: {len(self.clips)} clips of at least {shortest:g} s in "
                f"{', '.join(map(str, folders))}; at least {FEWEST} are needed"
            )
        self.noises = [read(path) for folder in noise for path in files(folder)]
        self.held_out = list(range(0, len(self.clips), 50))
        self.training = [i for i in range(len(self.clips)) if i % 50]
        seconds = np.array([len(self.clips[i]) for i in self.training], dtype=float)
        self.share = seconds / seconds.sum()  # a clip is drawn in proportion to its length

    def _add(self, folder: Path, shortest: float) -> None:
        from tqdm import tqdm

        progress = f"reading {folder.name}"
        for path in tqdm(files(folder), progress, file=sys.stderr, unit="file", mininterval=1):
            wav = read(path)
            if len(wav) >= shortest * SAMPLE_RATE and np.square(wav).mean() > 1e-8:
                self.clips.append((wav / np.abs(wav).max() * 32000).astype(np.int16))
                hours = len(wav) / SAMPLE_RATE / 3600
                self.sources[folder.name] = self.sources.get(folder.name, 0) + hours

    @property
    def hours(self) -> float:
        return sum(self.sources.values())

    def wav(self, clip: int) -> np.ndarray:
        """(N,) float32 of a clip, whose peak is just below 1."""
        return self.clips[clip].astype(np.float32) / 32768

    def crops(
        self,
        rng: np.random.Generator,
        batch: int,
        samples: int,
        frame: int = 320,
        held_out: bool = False,
    ) -> tuple[Tensor, list[tuple[int, int]]]:
        """Crops of drawn loudness that start on frames.

        Args:
            frame: samples between two frames.
            held_out: of the held-out clips instead of the others.
        Returns: (B, samples), and where each was taken: (clip, first frame).
        """
        among, share = (self.held_out, None) if held_out else (self.training, self.share)
        wavs, places = np.empty((batch, samples), np.float32), []
        for row, clip in enumerate(map(int, rng.choice(among, batch, p=share))):
            start = int(rng.integers(0, (len(self.clips[clip]) - samples) // frame + 1))
            first = start * frame
            wav = self.clips[clip][first : first + samples].astype(np.float32)
            loudness = np.exp(rng.uniform(*np.log(LOUDNESS)))
            wavs[row] = wav * (loudness / (np.sqrt(np.square(wav).mean()) + 1e-3))
            places.append((clip, start))
        return torch.from_numpy(wavs), places

    def add_noise(self, wavs: Tensor, rng: np.random.Generator, share: float) -> Tensor:
        """Noise on a `share` of the (B, N) rows, at a signal-to-noise ratio from SNRS."""
        noisy = wavs.clone()
        for row in np.flatnonzero(rng.random(len(wavs)) < share):
            noise = torch.from_numpy(np.asarray(self._noise(rng, wavs.shape[1]), np.float32))
            power = wavs[row].square().mean() / (noise.square().mean() + 1e-12)
            noisy[row] += (power * 10 ** (-rng.uniform(*SNRS) / 10)).sqrt() * noise
        return noisy

    def _noise(self, rng: np.random.Generator, samples: int) -> np.ndarray:
        """A recording, white noise, or five other talkers."""
        kind = rng.random()
        if kind < 0.6 and self.noises:
            recording = self.noises[rng.integers(len(self.noises))]
            return np.resize(np.roll(recording, rng.integers(1 << 20)), samples)
        if kind < 0.8:
            return rng.standard_normal(samples)
        talkers = rng.choice(self.training, 5)
        return sum(np.resize(self.wav(clip), samples) for clip in talkers)
