"""What frozen convolutions make of all speech at hand, clean and noisy, kept beside the training.

A training that is continued reads them back: on two CPU cores they take ten minutes for eight
hours of speech.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...benchmark import distributed
from ...benchmark.contract import TrainingRun
from ...benchmark.storage import whole
from ..backbones.hubert import HubertNet
from ..backbones.hubert_shape import frame_counts
from .front_end import half
from .hubert_recipe import HubertRecipe
from .pretraining_data import Pool

KINDS = ("clean", "noisy")


class Heard:
    """Every clip after the frozen convolutions, (T, C) fp16: clean, and with noise at one ratio.

    Args:
        run: its folder `heard` keeps them; made where it is missing.
    Attributes:
        clean, noisy: a tensor a clip, read from disk when it is looked at.
    """

    def __init__(self, net: HubertNet, pool: Pool, run: TrainingRun):
        self.pool = pool
        folder = run.work / "heard"
        with distributed.in_turn():
            if not folder.exists():
                _write(folder, net, pool, run)
        self.clean, self.noisy = (_read(folder / f"{kind}.npy", pool) for kind in KINDS)

    def crops(
        self, rng: np.random.Generator, recipe: HubertRecipe, held_out: bool
    ) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        """(B, T, C) as heard, the same clean, and where each was taken: (clip, first frame).

        Held-out crops are clean.
        """
        pool, size = self.pool, recipe.frames
        among, share = (pool.held_out, None) if held_out else (pool.training, pool.share)
        rows, clean, places = [], [], []
        for clip in map(int, rng.choice(among, recipe.batch, p=share)):
            start = int(rng.integers(0, len(self.clean[clip]) - size + 1))
            noisy = not held_out and rng.random() < recipe.noisy
            rows.append((self.noisy if noisy else self.clean)[clip][start : start + size])
            clean.append(self.clean[clip][start : start + size])
            places.append((clip, start))
        return torch.stack(rows).float(), torch.stack(clean).float(), places


def _frames(pool: Pool) -> list[int]:
    return [int(frame_counts(len(clip))) for clip in pool.clips]


def _read(path: Path, pool: Pool) -> list[Tensor]:
    # mapped copy-on-write: torch warns of tensors on memory that must not be written
    flat = torch.from_numpy(np.load(path, mmap_mode="c"))
    return list(flat.split(_frames(pool)))


def _write(folder: Path, net: HubertNet, pool: Pool, run: TrainingRun) -> None:
    shape = (sum(_frames(pool)), net.shape.conv_dim)
    with whole(folder, "clean.npy") as beside:
        files = [
            np.lib.format.open_memmap(beside / f"{kind}.npy", "w+", np.float16, shape)
            for kind in KINDS
        ]
        at = 0
        for both in _convolved(net, pool, run):
            stop = at + len(both[0])
            for file, rows in zip(files, both, strict=True):
                file[at:stop] = rows.half().cpu().numpy()
            at = stop
        for file in files:
            file.flush()


@torch.no_grad()
def _convolved(net: HubertNet, pool: Pool, run: TrainingRun) -> Iterator[tuple[Tensor, Tensor]]:
    """(T, C) of every clip: clean, noisy."""
    from tqdm import tqdm

    rng, clips, device = np.random.default_rng(run.seed), range(len(pool.clips)), run.device
    progress = "front-end over the pool"
    for clip in tqdm(clips, progress, file=sys.stderr, unit="clip", mininterval=1):
        wav = torch.from_numpy(pool.wav(clip))[None]
        wavs = torch.cat([wav, pool.add_noise(wav, rng, share=1.0)]).to(device)
        with half(device):
            if device == "cpu":  # as an upstream there: one by one
                clean, noisy = (net.feature_extractor.alone(wav) for wav in wavs)
            else:
                samples = torch.full((len(wavs),), wavs.shape[1])
                clean, noisy = net.feature_extractor(wavs, samples)
        yield clean, noisy
