"""What the functions of a task are tried on: a few of its real utterances, with random features of
the right shapes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..contract import Corpus, Example, Item, Protocol, Setup, Task

DIM, STRIDES = 24, (320, 640)  # of the features; the first stride, where one is enough


@dataclass(frozen=True)
class Batch:
    """Random features of some utterances.

    Attributes:
        features: (B, T, D); frames: (B,) valid frames; samples: (B,) samples of audio.
    """

    features: Tensor
    frames: Tensor
    samples: Tensor

    def row(self, i: int) -> "Batch":
        """One utterance without padding."""
        rows = slice(i, i + 1)
        valid = self.features[rows, : int(self.frames[i])]
        return Batch(valid, self.frames[rows], self.samples[rows])

    @property
    def means(self) -> "Batch":
        """One frame an utterance, the mean of its valid frames."""
        counts = self.frames.tolist()
        rows = zip(self.features, counts, strict=True)
        means = torch.stack([row[:count].mean(0, keepdim=True) for row, count in rows])
        return replace(self, features=means, frames=torch.ones_like(self.frames))


@dataclass(frozen=True)
class Scored:
    """An utterance, the prediction of an untrained head for it, and its scores."""

    example: Example
    prediction: Tensor
    frames: int
    scores: Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A task with a protocol, a corpus, and a few of its test utterances, the shortest, read."""

    task: Task
    protocol: Protocol
    corpus: Corpus
    items: Sequence[Item]
    examples: Sequence[Example]

    def setup(self, stride: int = STRIDES[0]) -> Setup:
        return Setup(self.protocol, self.corpus, DIM, stride)

    def frames_batch(self, stride: int = STRIDES[0]) -> Batch:
        """Random features of every frame."""
        samples = torch.tensor([item.samples for item in self.items])
        frames = (samples // stride).clamp(min=1)
        rows = [torch.randn(int(count), DIM) for count in frames]
        return Batch(nn.utils.rnn.pad_sequence(rows, batch_first=True), frames, samples)

    def batch(self, stride: int = STRIDES[0]) -> Batch:
        """Random features as the engine gives them: the means alone for a pooled task."""
        batch = self.frames_batch(stride)
        return batch.means if self.task.pooled else batch

    def score(self, prediction: Tensor, example: Example, frames: int) -> dict[str, Any]:
        return self.task.score(prediction, example, frames, self.setup())

    @cached_property
    def scored(self) -> list[Scored]:
        batch = self.batch()
        with torch.no_grad():
            predictions = predict(self.task.head(self.setup()).eval(), batch)
        rows = zip(predictions, self.examples, batch.frames.tolist(), strict=True)
        return [
            Scored(example, row, frames, self.score(row, example, frames))
            for row, example, frames in rows
        ]

    @cached_property
    def floors(self) -> dict[str, dict[str, Any]]:
        """Example's id -> the score of doing nothing; empty where that means nothing."""
        unprocessed = self.task.unprocessed
        if not unprocessed:
            return {}
        return {example.id: unprocessed(example, self.protocol) for example in self.examples}


def predict(head: nn.Module, batch: Batch) -> Tensor:
    """Predictions, one row an utterance."""
    return head(batch.features, batch.frames, batch.samples)
