"""Unlabelled speech as whole utterances, read from disk when their turn comes.

For corpora too large for the memory, as in published recipes;
`pretraining_data.py` holds small ones.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...benchmark import distributed
from ...benchmark.audio import length, read
from ...benchmark.contract import SAMPLE_RATE
from ...benchmark.errors import UsageError
from ...benchmark.training_data import files

SHORTEST = 2.0  # seconds; shorter utterances are left out (fairseq's min_sample_size 32,000)
FEWEST = 50  # utterances
# utterances that are used for the training log alone, or one of 20 where there are few
HELD_OUT = 64
READERS = 4  # threads that read ahead


class Utterances:
    """Every utterance once an epoch, in an order that is a function of the seed and the epoch.

    Args:
        longest: seconds; of a longer utterance a part is used, another one each epoch.
        batch: utterances of a step.
    Attributes:
        sources: hours by folder.
    """

    def __init__(self, folders: Sequence[Path], longest: float, batch: int, seed: int):
        self.longest, self.size, self.seed = round(longest * SAMPLE_RATE), batch, seed
        self.share = distributed.share(batch)
        self.paths, self.sources = _long_enough(folders)
        if len(self.paths) < FEWEST:
            raise UsageError(
                f"training speech: {len(self.paths)} utterances of at least {SHORTEST:g} s in "
                f"{', '.join(map(str, folders))}; at least {FEWEST} are needed"
            )
        names = list(self.paths)
        held_out = min(HELD_OUT, len(names) // 20)
        self.held_out = names[:: len(names) // held_out][:held_out]
        held = set(self.held_out)
        self.training = [path for path in names if path not in held]
        self._epoch, self._order = -1, np.empty(0, int)
        self._threads = ThreadPoolExecutor(READERS)
        self._ahead: tuple[int, list[Future]] = (-1, [])

    @property
    def hours(self) -> float:
        return sum(self.sources.values())

    def batch(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """This process's rows of batch i; those of the one after it are read meanwhile.

        Returns: (B', N) zero-padded audio, its (B',) samples, and the (B,) samples of all rows.
        """
        number, reads = self._ahead
        reads = reads if number == i else self._reads(i)
        lengths = torch.tensor([stop - start for _, start, stop in self._rows(i)])
        self._ahead = (i + 1, self._reads(i + 1))
        return *_padded([read.result() for read in reads]), lengths

    def held_out_batch(self, i: int) -> tuple[Tensor, Tensor]:
        """Batch i of the held-out utterances, from their start on: (B, N), (B,)."""
        paths = self.held_out[i * self.size : (i + 1) * self.size]
        return _padded([read(p, 0, min(self.paths[p], self.longest)) for p in paths])

    def held_out_batches(self) -> int:
        return -(-len(self.held_out) // self.size)

    def _reads(self, i: int) -> list[Future]:
        rows = self._rows(i)[self.share]
        return [self._threads.submit(read, path, at, stop - at) for path, at, stop in rows]

    def _rows(self, i: int) -> list[tuple[Path, int, int]]:
        """(file, first sample, stop) of batch i; an epoch may end within a batch."""
        rows, count = [], len(self.training)
        for place in range(i * self.size, (i + 1) * self.size):
            epoch, at = divmod(place, count)
            path = self.training[self._permuted(epoch)[at]]
            spare = self.paths[path] - self.longest
            rng = np.random.default_rng([self.seed, 1, place])
            start = int(rng.integers(0, spare + 1)) if spare > 0 else 0
            rows.append((path, start, min(start + self.longest, self.paths[path])))
        return rows

    def _permuted(self, epoch: int) -> np.ndarray:
        if self._epoch != epoch:
            rng = np.random.default_rng([self.seed, 0, epoch])
            self._epoch, self._order = epoch, rng.permutation(len(self.training))
        return self._order


def _long_enough(folders: Sequence[Path]) -> tuple[dict[Path, int], dict[str, float]]:
    """Samples by file, from the headers alone, and hours by folder."""
    from tqdm import tqdm

    paths, sources = {}, {}
    for folder in folders:
        progress = f"headers of {folder.name}"
        for path in tqdm(files(folder), progress, file=sys.stderr, unit="file", mininterval=1):
            samples = length(path)
            if samples >= SHORTEST * SAMPLE_RATE:
                paths[path] = samples
                hours = samples / SAMPLE_RATE / 3600
                sources[folder.name] = sources.get(folder.name, 0) + hours
    return paths, sources


def _padded(wavs: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    rows = [torch.from_numpy(wav) for wav in wavs]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(r) for r in rows])
