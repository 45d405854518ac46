"""What a distillation hears: batches of crops from memory, or of whole utterances from disk."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...benchmark import distributed, trainer
from ...benchmark.contract import SAMPLE_RATE, TrainingData, TrainingRun
from ...benchmark.masking import valid_mask
from ..backbones.hubert_shape import frame_counts
from .distillation_recipe import DistillationRecipe
from .pretraining_data import Pool
from .utterances import Utterances

LOOKS = 8  # batches of crops of a look at held-out speech


@dataclass(frozen=True)
class Batch:
    """This process's rows of a batch.

    Attributes:
        wavs: (B, N), zero-padded; lengths: (B,) samples, on the host.
        together: valid frames of all rows, whichever process has them.
    """

    wavs: Tensor
    lengths: Tensor
    together: int

    def valid(self, device: str) -> Tensor:
        """(B, T), True on each row's valid frames."""
        frames = frame_counts(self.lengths)
        return valid_mask(frames.to(device), frame_counts(self.wavs.shape[1]))


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
        return self._batch(wavs[self.share], self.size)

    def held_out(self) -> Iterator[Batch]:
        rng = np.random.default_rng(self.seed)
        for _ in range(LOOKS):
            wavs, _ = self.pool.crops(rng, self.size, self.samples, held_out=True)
            yield self._batch(wavs, self.size)

    def _batch(self, wavs: Tensor, rows: int) -> Batch:
        lengths = torch.full((len(wavs),), self.samples)
        return Batch(wavs, lengths, rows * frame_counts(self.samples))


class Whole:
    """Whole utterances, every one once an epoch (`utterances.py`)."""

    def __init__(self, recipe: DistillationRecipe, data: TrainingData, seed: int):
        self.utterances = Utterances(data.speech, recipe.seconds, recipe.batch, seed)
        self.sources = self.utterances.sources

    def batch(self, i: int) -> Batch:
        wavs, lengths, of_all = self.utterances.batch(i)
        return Batch(wavs, lengths, int(frame_counts(of_all).sum()))

    def held_out(self) -> Iterator[Batch]:
        for i in range(self.utterances.held_out_batches()):
            wavs, lengths = self.utterances.held_out_batch(i)
            yield Batch(wavs, lengths, int(frame_counts(lengths).sum()))


def speech_of(recipe: DistillationRecipe, data: TrainingData, run: TrainingRun) -> Crops | Whole:
    return (Whole if recipe.whole else Crops)(recipe, data, run.seed)
