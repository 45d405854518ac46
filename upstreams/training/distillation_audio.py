"""What a distillation hears: batches of crops from memory, or of whole utterances from disk, or
of a corpus with splits, whose labels are not looked at."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...benchmark import distributed, trainer
from ...benchmark.audio import read
from ...benchmark.contract import SAMPLE_RATE, Item, TrainingData, TrainingRun
from ...benchmark.errors import UsageError
from .distillation_recipe import DistillationRecipe
from .pretraining_data import Pool
from .utterances import READERS, Utterances

LOOKS = 8  # batches of crops of a look at held-out speech


@dataclass(frozen=True)
class Batch:
    """This process's rows of a batch.

    Attributes:
        wavs: (B, N), zero-padded; lengths: (B,) samples, on the host.
        of_all: the samples of all rows, whichever process has them.
    """

    wavs: Tensor
    lengths: Tensor
    of_all: Tensor


class Crops:
    """Crops of speech in memory: batch i is a function of the seed and i."""

    def __init__(self, recipe: DistillationRecipe, data: TrainingData, seed: int):
        self.pool = Pool(data.speech, crop=recipe.seconds)
        self.size, self.seed = recipe.batch, seed
        self.samples = int(recipe.seconds * SAMPLE_RATE)
        self.share = distributed.share(recipe.batch)
        self.sources = self.pool.sources

    def batch(self, i: int) -> Batch:
        rng = np.random.default_rng(trainer.step_seed(self.seed, i))
        wavs, _ = self.pool.crops(rng, self.size, self.samples)
        return self._batch(wavs[self.share])

    def held_out(self) -> Iterator[Batch]:
        rng = np.random.default_rng(self.seed)
        for _ in range(LOOKS):
            yield self._batch(self.pool.crops(rng, self.size, self.samples, held_out=True)[0])

    def _batch(self, wavs: Tensor) -> Batch:
        lengths = torch.full((self.size,), self.samples)
        return Batch(wavs, lengths[: len(wavs)], lengths)


class Whole:
    """Whole utterances, every one once an epoch (`utterances.py`)."""

    def __init__(self, recipe: DistillationRecipe, data: TrainingData, seed: int):
        self.utterances = Utterances(data.speech, recipe.seconds, recipe.batch, seed)
        self.sources = self.utterances.sources

    def batch(self, i: int) -> Batch:
        return Batch(*self.utterances.batch(i))

    def held_out(self) -> Iterator[Batch]:
        for i in range(self.utterances.held_out_batches()):
            wavs, lengths = self.utterances.held_out_batch(i)
            yield Batch(wavs, lengths, lengths)


class Listed:
    """The training split of a corpus, every utterance once an epoch, in an order of the seed; its
    dev split is held out. Of an utterance longer than a crop, the beginning.
    """

    def __init__(self, recipe: DistillationRecipe, data: TrainingData, seed: int):
        assert data.corpus
        self.longest, self.size = round(recipe.seconds * SAMPLE_RATE), recipe.batch
        self.seed, self.share = seed, distributed.share(recipe.batch)
        self.items, self.dev = (data.corpus.splits[split] for split in ("train", "dev"))
        if not self.items or not self.dev:
            raise UsageError(
                f"training speech: {data.corpus.name} needs a training and a dev split, which is "
                "held out; make them: run_benchmark.py data prepare --help"
            )
        hours = sum(min(i.samples, self.longest) for i in self.items) / SAMPLE_RATE / 3600
        self.sources = {data.corpus.name: hours}
        self._epoch, self._order = -1, np.empty(0, int)
        self._threads = ThreadPoolExecutor(READERS)

    def batch(self, i: int) -> Batch:
        places = range(i * self.size, (i + 1) * self.size)  # an epoch may end within a batch
        items = [self._drawn(*divmod(place, len(self.items))) for place in places]
        return self._batch(items[self.share], items)

    def held_out(self) -> Iterator[Batch]:
        for start in range(0, min(len(self.dev), LOOKS * self.size), self.size):
            items = self.dev[start : start + self.size]
            yield self._batch(items, items)

    def _drawn(self, epoch: int, at: int) -> Item:
        if self._epoch != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self._epoch, self._order = epoch, rng.permutation(len(self.items))
        return self.items[self._order[at]]

    def _batch(self, mine: Sequence[Item], of_all: Sequence[Item]) -> Batch:
        wavs = list(self._threads.map(self._read, mine))
        lengths = torch.tensor([min(item.samples, self.longest) for item in of_all])
        own = torch.tensor([len(wav) for wav in wavs])
        return Batch(nn.utils.rnn.pad_sequence(wavs, batch_first=True), own, lengths)

    def _read(self, item: Item) -> Tensor:
        return torch.from_numpy(read(item.path, item.start, min(item.samples, self.longest)))


def speech_of(
    recipe: DistillationRecipe, data: TrainingData, run: TrainingRun
) -> Crops | Whole | Listed:
    kind = Listed if data.corpus else Whole if recipe.whole else Crops
    return kind(recipe, data, run.seed)
