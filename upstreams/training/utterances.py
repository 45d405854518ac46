"""Unlabelled speech as whole utterances, read from disk when their turn comes.

For corpora too large for the memory, as in published recipes;
`pretraining_data.py` holds small ones.
"""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...benchmark import distributed
from ...benchmark.audio import length, read
from ...benchmark.contract import SAMPLE_RATE, Corpus
from ...benchmark.errors import UsageError
from ...benchmark.training_data import files

SHORTEST = 2.0  # seconds; shorter utterances are left out (fairseq's min_sample_size 32,000)
FEWEST = 50  # utterances
# utterances that are used for the training log alone, or one of 20 where there are few
HELD_OUT = 64
READERS = 4  # threads that read ahead


class Clip(NamedTuple):
    """An utterance: a file, or a part of one."""

    path: Path
    first: int
    samples: int


class Utterances:
    """Every utterance once an epoch, in an order that is a function of the seed and the epoch.

    Args:
        longest: seconds; of a longer utterance a part is used, another one each epoch.
        batch: utterances of a step.
        sources: hours by where they are from.
    """

    def __init__(
        self,
        training: Sequence[Clip],
        held_out: Sequence[Clip],
        sources: Mapping[str, float],
        longest: float,
        batch: int,
        seed: int,
    ):
        self.longest, self.size, self.seed = round(longest * SAMPLE_RATE), batch, seed
        self.share = distributed.share(batch)
        self.training, self.held_out, self.sources = training, held_out, sources
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
        clips = self.held_out[i * self.size : (i + 1) * self.size]
        return _padded([read(c.path, c.first, min(c.samples, self.longest)) for c in clips])

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
            clip = self.training[self._permuted(epoch)[at]]
            spare = clip.samples - self.longest
            rng = np.random.default_rng([self.seed, 1, place])
            start = clip.first + (int(rng.integers(0, spare + 1)) if spare > 0 else 0)
            rows.append((clip.path, start, start + min(self.longest, clip.samples)))
        return rows

    def _permuted(self, epoch: int) -> np.ndarray:
        if self._epoch != epoch:
            rng = np.random.default_rng([self.seed, 0, epoch])
            self._epoch, self._order = epoch, rng.permutation(len(self.training))
        return self._order


def of_folders(folders: Sequence[Path], longest: float, batch: int, seed: int) -> Utterances:
    """Those of at least SHORTEST seconds; some are held out.

    Raises: UsageError: there are fewer than FEWEST.
    """
    clips, sources = _long_enough(folders)
    if len(clips) < FEWEST:
        raise UsageError(
            f"training speech: {len(clips)} utterances of at least {SHORTEST:g} s in "
            f"{', '.join(map(str, folders))}; at least {FEWEST} are needed"
        )
    held_out = _thinned(clips, min(HELD_OUT, len(clips) // 20))
    held = set(held_out)
    training = [clip for clip in clips if clip not in held]
    return Utterances(training, held_out, sources, longest, batch, seed)


def of_corpus(corpus: Corpus, longest: float, batch: int, seed: int) -> Utterances:
    """Those of its training split, whose labels are not looked at; of its dev split some are held
    out.

    Raises: UsageError: one of the two is empty.
    """
    training, dev = (
        [Clip(item.path, item.start, item.samples) for item in corpus.splits[split]]
        for split in ("train", "dev")
    )
    if not training or not dev:
        raise UsageError(
            f"training speech: {corpus.name} needs a training and a dev split, which is "
            "held out; make them: run_benchmark.py data prepare --help"
        )
    sources = {corpus.name: sum(clip.samples for clip in training) / SAMPLE_RATE / 3600}
    held_out = _thinned(dev, min(HELD_OUT, len(dev)))
    return Utterances(training, held_out, sources, longest, batch, seed)


def _thinned(clips: Sequence[Clip], count: int) -> Sequence[Clip]:
    """`count` of them, evenly spread."""
    return clips[:: len(clips) // count][:count]


def _long_enough(folders: Sequence[Path]) -> tuple[list[Clip], dict[str, float]]:
    """From the headers alone; and hours by folder."""
    from tqdm import tqdm

    clips, sources = [], {}
    for folder in folders:
        progress = f"headers of {folder.name}"
        for path in tqdm(files(folder), progress, file=sys.stderr, unit="file", mininterval=1):
            samples = length(path)
            if samples >= SHORTEST * SAMPLE_RATE:
                clips.append(Clip(path, 0, samples))
                hours = samples / SAMPLE_RATE / 3600
                sources[folder.name] = sources.get(folder.name, 0) + hours
    return clips, sources


def _padded(wavs: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    rows = [torch.from_numpy(wav) for wav in wavs]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(r) for r in rows])
