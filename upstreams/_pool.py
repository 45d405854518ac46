"""Unlabelled speech for self-supervised training: everything in memory as 16-bit, crops drawn by seed, noise mixed in."""
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..benchmark.audio import read
from ..benchmark.contract import SAMPLE_RATE
from ..benchmark.errors import UsageError

AUDIO = (".wav", ".flac", ".opus", ".ogg")
SHORTEST = 2.6            # seconds; shorter clips are left out, so that no crop is ever padded
LOUDNESS = (0.01, 0.2)    # root mean square of a crop, drawn evenly on a log scale
SNRS = (0.0, 20.0)        # dB of the noisy half of a batch


def listed(folder: Path) -> list[Path]:
    """The audio below `folder`; where an iden_split.txt lies in it ("1 path" lines), only its training part."""
    split = folder / "iden_split.txt"
    if split.exists():
        rows = [line.split(maxsplit=1) for line in split.read_text().splitlines() if line.strip()]
        base = next((b for b in (folder, folder / "WAVE", folder / "wav") if (b / rows[0][1].strip()).exists()), folder)
        return sorted(base / name.strip() for part, name in rows if part == "1")
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO)


class Pool:
    """Clips of at least SHORTEST seconds. Every fiftieth is held out for the training log."""

    def __init__(self, folders: Sequence[Path], noise: Sequence[Path] = ()):
        from tqdm import tqdm
        self.clips: list[np.ndarray] = []
        self.sources: dict[str, float] = {}
        for folder in folders:
            if not folder.is_dir():
                raise UsageError(f"training speech: there is no folder {folder}; name folders of audio with --data")
            for path in tqdm(listed(folder), desc=f"reading {folder.name}", file=sys.stderr, unit="file", mininterval=1):
                wav = read(path)
                if len(wav) >= SHORTEST * SAMPLE_RATE and np.square(wav).mean() > 1e-8:
                    self.clips.append((wav / np.abs(wav).max() * 32000).astype(np.int16))
                    self.sources[folder.name] = self.sources.get(folder.name, 0) + len(wav) / SAMPLE_RATE / 3600
        if len(self.clips) < 50:
            raise UsageError(f"training speech: {len(self.clips)} clips of at least {SHORTEST:g} s in "
                             f"{', '.join(map(str, folders))}; at least 50 are needed")
        self.noises = [read(p) for folder in noise for p in listed(folder)]
        self.held_out = list(range(0, len(self.clips), 50))
        self.training = [i for i in range(len(self.clips)) if i % 50]
        seconds = np.array([len(self.clips[i]) for i in self.training], dtype=float)
        self.share = seconds / seconds.sum()     # a clip is drawn in proportion to its length

    @property
    def hours(self) -> float:
        return sum(self.sources.values())

    def wav(self, clip: int) -> np.ndarray:
        return self.clips[clip].astype(np.float32) / 32768

    def crops(self, rng: np.random.Generator, batch: int, samples: int, frame: int = 320,
              held_out: bool = False) -> tuple[Tensor, list[tuple[int, int]]]:
        """(B, samples) of scaled crops, and where each was taken: (clip, first frame). Starts fall on frames."""
        among = rng.choice(self.held_out, batch) if held_out else rng.choice(self.training, batch, p=self.share)
        wavs, places = np.empty((batch, samples), np.float32), []
        for row, clip in enumerate(map(int, among)):
            start = int(rng.integers(0, (len(self.clips[clip]) - samples) // frame + 1))
            wav = self.clips[clip][start * frame: start * frame + samples].astype(np.float32)
            wavs[row] = wav * (np.exp(rng.uniform(*np.log(LOUDNESS))) / (np.sqrt(np.square(wav).mean()) + 1e-3))
            places.append((clip, start))
        return torch.from_numpy(wavs), places

    def add_noise(self, wavs: Tensor, rng: np.random.Generator, share: float) -> Tensor:
        """Noise on a `share` of the rows: a recording, white noise, or five other talkers, at an SNR from SNRS."""
        noisy, (batch, samples) = wavs.clone(), wavs.shape
        for row in np.flatnonzero(rng.random(batch) < share):
            kind = rng.random()
            if kind < 0.6 and self.noises:
                noise = np.resize(np.roll(self.noises[rng.integers(len(self.noises))], rng.integers(1 << 20)), samples)
            elif kind < 0.8:
                noise = rng.standard_normal(samples)
            else:
                noise = sum(np.resize(self.wav(clip), samples) for clip in rng.choice(self.training, 5))
            noise = torch.from_numpy(np.asarray(noise, np.float32))
            scale = wavs[row].square().mean() / (noise.square().mean() + 1e-12) * 10 ** (-rng.uniform(*SNRS) / 10)
            noisy[row] += scale.sqrt() * noise
        return noisy
