"""What frozen convolutions make of all speech at hand, clean and noisy, kept beside the training.

A training that is continued reads them back: on two CPU cores they take ten minutes for eight
hours of speech.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...benchmark import distributed
from ...benchmark.contract import TrainingRun
from ...benchmark.soundness import file_digest, remove, sealed, unsealed
from ...benchmark.storage import whole
from ..backbones.hubert import HubertNet
from ..backbones.hubert_shape import frame_counts
from .front_end import half
from .hubert_recipe import HubertRecipe
from .pretraining_data import Pool

DIGESTS = "digests.json"


class Heard:
    """Every clip after the frozen convolutions, fp16: clean, and with noise at one ratio.

    Args:
        noisy: share of the crops that is heard with noise; with 0 there is no noisy pass.
        run: its folder `heard` keeps them; made where it is missing.
    Attributes:
        clean, noisy: (F, C), the frames of all clips one after another: in the device's memory
            where they leave it half of what is free, else read from disk when they are looked at.
    """

    def __init__(self, net: HubertNet, pool: Pool, noisy: float, run: TrainingRun):
        self.pool, folder = pool, run.work / "heard"
        self.sizes = [int(frame_counts(len(clip))) for clip in pool.clips]
        self.starts = np.cumsum([0, *self.sizes])
        kinds = ("clean", "noisy") if noisy else ("clean",)
        with distributed.in_turn():
            if os.path.lexists(folder) and not _sound(folder, kinds):
                print(f"notice: {folder} is damaged; it is made again", file=sys.stderr)
                remove(folder)
            if not folder.exists():
                self._write(folder, kinds, net, run)
        frames = kept(folder, kinds, run.device)
        self.clean, self.noisy = frames[0], frames[-1]

    def whole(self, clip: int) -> Tensor:
        """(T, C) of one clean clip."""
        return self.clean[self.starts[clip] : self.starts[clip + 1]]

    def crops(
        self, rng: np.random.Generator, recipe: HubertRecipe, held_out: bool
    ) -> tuple[Tensor, Tensor, np.ndarray, list[tuple[int, int]]]:
        """(B, T, C) as heard, the same clean, (B,) True where with noise, and where each was taken:
        (clip, first frame).

        Held-out crops are clean.
        """
        pool, size = self.pool, recipe.frames
        among, share = (pool.held_out, None) if held_out else (pool.training, pool.share)
        places, noisy = [], []
        for clip in map(int, rng.choice(among, recipe.batch, p=share)):
            places.append((clip, int(rng.integers(0, self.sizes[clip] - size + 1))))
            noisy.append(not held_out and rng.random() < recipe.noisy)
        firsts = torch.tensor([self.starts[clip] + at for clip, at in places])
        frames = firsts[:, None] + torch.arange(size)
        clean = self.clean[frames].float()
        heard = clean.clone()
        heard[noisy] = self.noisy[frames[noisy]].float()
        return heard, clean, np.array(noisy), places

    def _write(self, folder: Path, kinds: Sequence[str], net: HubertNet, run: TrainingRun) -> None:
        from tqdm import tqdm

        shape = (sum(self.sizes), net.shape.conv_dim)
        with whole(folder, "clean.npy") as beside:
            files = [_mapped(beside / f"{kind}.npy", shape) for kind in kinds]
            clips, progress = range(len(self.sizes)), "front-end over the pool"
            for clip in tqdm(clips, progress, file=sys.stderr, unit="clip", mininterval=1):
                each = _convolved(net, self.pool, clip, len(kinds), run)
                for file, rows in zip(files, each, strict=True):
                    file[self.starts[clip] : self.starts[clip + 1]] = rows.half().cpu().numpy()
            for file in files:
                file.flush()
            digests = {kind: file_digest(beside / f"{kind}.npy") for kind in kinds}
            (beside / DIGESTS).write_text(sealed(digests), encoding="utf-8")


def _mapped(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new file to write into. Its space is taken now: on a full disk a write into a map is no
    error but the end of the process."""
    file = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with open(path, "r+b") as taken:
            os.posix_fallocate(taken.fileno(), 0, path.stat().st_size)
    return file


def _sound(folder: Path, kinds: Sequence[str]) -> bool:
    """Whether the files are those that were written; without digests nobody knows."""
    digests = unsealed(folder / DIGESTS) or {}
    return all(file_digest(folder / f"{k}.npy") == digests.get(k) for k in kinds)


def kept(folder: Path, kinds: Sequence[str], device: str) -> list[Tensor]:
    """The frames of each kind: in a GPU's memory where as much again stays free for the training,
    else as the files they are in.
    """
    # mapped copy-on-write: torch warns of tensors on memory that must not be written
    files = [torch.from_numpy(np.load(folder / f"{kind}.npy", mmap_mode="c")) for kind in kinds]
    if torch.device(device).type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if 2 * sum(file.nbytes for file in files) <= free:
            return [file.to(device) for file in files]
    return files


@torch.no_grad()
def _convolved(net: HubertNet, pool: Pool, clip: int, kinds: int, run: TrainingRun) -> list[Tensor]:
    """(T, C) of one clip: clean and, of two kinds, noisy."""
    wavs = torch.from_numpy(pool.wav(clip))[None]
    if kinds == 2:
        rng = np.random.default_rng([run.seed, clip])
        wavs = torch.cat([wavs, pool.add_noise(wavs, rng, share=1.0)])
    wavs = wavs.to(run.device)
    with half(run.device):
        if run.device == "cpu":  # as an upstream there: one by one
            return [net.feature_extractor.alone(wav) for wav in wavs]
        return list(net.feature_extractor(wavs, torch.full((kinds,), wavs.shape[1])))
