"""What is trained for a row: a featurizer and the task's head, and which exits it is trained with.

`head_training.py` trains heads, `head_files.py` stores and chooses them.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..contract import Example, Item, Setup, Task
from ..exiting import Exit, TruncatedWeightedSum, replay_batches
from .standardise import Standardise

VERSION = 2  # of a stored head's parameter names; part of its key
SMALL = 2_000_000  # parameters of a head
MEMORY = 8 * 2**30  # bytes for the heads that are trained side by side


@dataclass(frozen=True)
class Together:
    """How the training utterances of a micro-batch leave together (`Protocol.exits_together`).

    Attributes:
        evidence: (n, E) of all training utterances, a column for each of `exits`.
        frames: (n,) their valid frames.
    """

    exit: Exit
    exits: tuple[int, ...]
    evidence: np.ndarray
    frames: np.ndarray

    def depths(self, rows: list[int]) -> np.ndarray:
        evidence, frames = self.evidence[rows], self.frames[rows]
        return replay_batches(evidence, frames, self.exit, self.exits, len(rows))


@dataclass(frozen=True)
class Plan:
    """One head to train.

    Attributes:
        name: for people: "full", "rho 0.7".
        normalise: whether states are layer-normed before they are summed.
        train: (n,) exit depth of every training utterance.
        dev: (n,) exit depth of every dev utterance, by the same rule.
        alone: the head reads the state at the exit, not the weighted sum up to there.
        together: None = training utterances leave as `train` says, each for itself.
    """

    name: str
    normalise: bool
    lr: float
    train: np.ndarray
    dev: np.ndarray
    alone: bool = False
    together: Together | None = None

    def depths(self, rows: list[int]) -> np.ndarray:
        """The exit depths of the training utterances of a micro-batch."""
        return self.together.depths(rows) if self.together else self.train[rows]

    def key(self, *context: object) -> str:
        """A hash of all that the trained numbers depend on, in 16 hexadecimal digits.

        Args:
            context: task, protocol, corpus, upstream and seed, in terms that JSON or str can show.
        """
        settings = [VERSION, self.normalise, self.lr, *context, *["alone"] * self.alone]
        if self.together:  # two thresholds may agree on every utterance alone
            settings.append(self.together.exit)
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
        digest.update(self.train.astype(np.int64).tobytes())
        digest.update(self.dev.astype(np.int64).tobytes())
        return digest.hexdigest()[:16]


class Downstream(nn.Module):
    """The trainable part of one row: the featurizer (learned weights of the depths) and the head.

    Args:
        blocks: L, of the upstream; there are L + 1 depths.
        normalise: whether its states are layer-normed.
        alone: read the state at the exit instead of the weighted sum up to there.
    """

    def __init__(self, task: Task, setup: Setup, blocks: int, normalise: bool, alone: bool = False):
        super().__init__()
        standardise = setup.protocol.standardise_states
        self.standardise = Standardise(blocks + 1, setup.dim) if standardise else nn.Identity()
        rows = setup.protocol.sum_rows
        self.featurizer = TruncatedWeightedSum(blocks + 1, normalise, alone, rows)
        self.head = task.head(setup)

    def prepared(self, states: Tensor) -> Tensor:
        """Recorded (L', B, T, D) states, layer-normed where `normalise` asks for it, as `forward`
        wants them: equal for all heads of a split with the same `normalise`.
        """
        return self.standardise(states)

    def forward(self, states: Tensor, depth: Tensor, frames: Tensor, samples: Tensor) -> Tensor:
        """Predictions, one row an utterance.

        Args:
            states: (L', B, T, D), `prepared`.
            depth: (B,) exit depths, all below L'.
            frames: (B,) valid frames.
            samples: (B,) samples of audio.
        """
        return self.head(self.featurizer.weighted(states, depth), frames, samples)


def parameters(task: Task, setup: Setup, blocks: int) -> int:
    """How many parameters a head and its featurizer have; no memory is taken for them."""
    with torch.device("meta"):
        return sum(p.numel() for p in Downstream(task, setup, blocks, True).parameters())


def side_by_side(task: Task, setup: Setup, blocks: int) -> int:
    """How many heads MEMORY holds at a time: parameter, gradient and Adam's two moments take 16
    bytes.
    """
    return max(1, MEMORY // (16 * parameters(task, setup, blocks)))


def small(task: Task, setup: Setup, blocks: int) -> bool:
    """Whether a head has so little to do in one step that threads would wait for each other."""
    return parameters(task, setup, blocks) < SMALL


def example(task: Task, item: Item) -> Example:
    """What loss and score compare with; no audio is opened for a task that needs none of it."""
    return Example(item.id, torch.empty(0), task.target(item)) if task.target else task.load(item)
