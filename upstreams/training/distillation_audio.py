"""What a distillation hears: batches of crops from memory, or of whole utterances from disk, as
those of a corpus always are."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...benchmark import distributed, trainer
from ...benchmark.contract import SAMPLE_RATE, TrainingData, TrainingRun
from .distillation_recipe import DistillationRecipe
from .pretraining_data import Pool
from .utterances import of_corpus, of_folders

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
    """Whole utterances, every one once an epoch (`utterances.py`): of folders, or of a corpus."""

    def __init__(self, recipe: DistillationRecipe, data: TrainingData, seed: int):
        how = recipe.seconds, recipe.batch, seed
        corpus = data.corpus
        self.utterances = of_corpus(corpus, *how) if corpus else of_folders(data.speech, *how)
        self.sources = self.utterances.sources

    def batch(self, i: int) -> Batch:
        return Batch(*self.utterances.batch(i))

    def held_out(self) -> Iterator[Batch]:
        for i in range(self.utterances.held_out_batches()):
            wavs, lengths = self.utterances.held_out_batch(i)
            yield Batch(wavs, lengths, lengths)


def speech_of(recipe: DistillationRecipe, data: TrainingData, run: TrainingRun) -> Crops | Whole:
    kind = Whole if recipe.whole or data.corpus else Crops
    return kind(recipe, data, run.seed)
