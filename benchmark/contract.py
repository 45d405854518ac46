"""The words every room shares, and no logic.

Shapes: B utterances, N samples, T frames, D features, L blocks. Depth 0 is the front-end, depth k >= 1 the output of
block k, so an upstream of L blocks has the depths 0..L.
"""
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

SAMPLE_RATE = 16_000  # Hz, all of SUPERB


@dataclass(frozen=True)
class UpstreamCard:
    """What an upstream says of itself; `check` holds it against reality."""
    name: str           # as a row shows it: plug-in.tag, and in brackets every option that differs from its default
    depth: int          # L, the number of blocks
    dim: int            # D
    stride: int         # samples a frame
    revision: str       # which weights: a content hash, or "random-<seed>"
    source: str         # paper or repository
    evidence: str = ""  # what evidence() measures and in which unit; "" when it has none


class Upstream(nn.Module):
    """A waveform goes in, hidden states come out depth by depth, and nobody has to take them all.

    A plug-in writes `states` (required), and to be adaptive `evidence` and `tau`. It never writes an exit loop:
    `benchmark.exiting.run_until_exit` is the only one.
    """
    card: UpstreamCard
    knob: ClassVar[str | None] = None            # the name of what a user turns to trade metric for compute (DAISY: rho)
    knob_values: ClassVar[tuple[float, ...]] = ()  # its values when the user names none
    spans: ClassVar[tuple[str, ...]] = ("all",)  # the spans of depths an exit may be tested in, one row each
    unit_count: int = 0                          # how many units `units` tells apart; 0 = this upstream names none

    @property
    def backbone(self) -> "Upstream":
        """The same states without exits: full-depth and fixed-depth rows belong to it. Itself when not adaptive."""
        return self

    def frames(self, lengths: Tensor) -> Tensor:
        """(B,) samples -> (B,) valid frames."""
        raise NotImplementedError

    def states(self, wavs: Tensor, lengths: Tensor) -> Generator[Tensor, Tensor | None, None]:
        """(B, N) zero-padded 16 kHz audio and (B,) samples (on the host) -> one (B, T, D) a depth, shallow to deep, each made on demand.

        The driver may `send` a (B',) tensor of row numbers: only those rows go on, in that order (compaction).
        A row's valid frames must not depend on the other rows or on padding.
        """
        raise NotImplementedError

    def evidence(self, depth: int, state: Tensor, previous: Tensor, frames: Tensor) -> Tensor:
        """How unsure depth `depth` >= 1 is, (B,): lower = surer, over each row's own valid frames only.

        Args:
            state, previous: (B, T, D), the states at `depth` and at `depth - 1`.
            frames: (B,) valid frames, where the states are.
        """
        raise NotImplementedError(f"{type(self).__name__} has no exit evidence")

    def units(self, state: Tensor) -> Tensor | None:
        """The upstream's own discrete units of its last state, (B, T, D) -> (B, T) int64 in 0..unit_count - 1; None when it has none.

        What an upstream learned to predict without labels (HuBERT: the argmax of its self-supervised head). Branches on top of
        it are trained to guess these units.
        """
        return None

    def tau(self, evidence: np.ndarray, value: float) -> float:
        """The threshold for one value of the knob, from (n, L) evidence on a task's training split (column k-1 = depth k)."""
        raise NotImplementedError(f"{type(self).__name__} cannot be calibrated")

    def macs(self, samples: int, depth: int) -> int:
        """Multiply-accumulates of the front-end and the blocks 1..depth for one utterance of `samples`."""
        raise NotImplementedError

    def evidence_macs(self, samples: int, depth: int) -> int:
        """Multiply-accumulates of one test of depth `depth`, whether or not it fires."""
        return 0


@dataclass(frozen=True)
class Metric:
    name: str                # says what it is: si_sdr_improvement, not si_sdr
    higher_is_better: bool
    unit: str = ""


@dataclass(frozen=True)
class Item:
    """One utterance of a split: where its audio is, how long it is, and whatever else its task needs (paths, text, label)."""
    id: str
    path: Path
    samples: int                                   # at 16 kHz
    start: int = 0                                 # first sample at 16 kHz, where an item is a piece of its file
    speaker: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """The splits of one corpus, checked before anything is spent."""
    name: str                                      # "mini", or the folder's name
    hash: str                                      # of what was listed: the same hash means the same corpus
    splits: Mapping[str, Sequence[Item]]           # "train", "dev", "test"
    notices: Sequence[str] = ()                    # what a reader of the row should know (resampled, dev split chosen here)
    labels: Sequence[str] = ()                     # the closed set a classifier chooses from, in the order of its outputs


@dataclass(frozen=True)
class Example:
    """One utterance, read."""
    id: str
    wav: Tensor                                    # (N,), float32, 16 kHz: what the upstream hears
    target: Any                                    # what the task compares with


@dataclass(frozen=True)
class Protocol:
    """A published training recipe. Tasks subclass it with their own fields; a changed field makes the row `custom`."""
    name: str
    source: str                                    # where each number was read
    lr: float
    steps: int                                     # optimiser updates, not micro-batches
    batch: int                                     # utterances of a micro-batch, drawn at random
    eval_every: int                                # updates between two looks at the dev split
    accumulate: int = 1
    optimiser: str = "adam"                        # adam (eps 1e-8) | adamw (eps 1e-7, no decay), as s3prl/optimizers.py sets them
    clip: float = 1.0                              # global gradient norm
    train_limit: int | None = None                 # utterances drawn from the split with `limit_seed`; None = all
    dev_limit: int | None = None
    test_limit: int | None = None
    limit_seed: int = 8830                         # MiniSUPERB's sampler
    bucket: int = 0                                # instead: cut the utterances, longest first, into buckets of so many, and halve each
    at_test: ClassVar[tuple[str, ...]] = ()        # fields that only the scoring of the test split looks at: no reason to train again
    lr_grid: tuple[float, ...] = ()                # what --lr sweep tries: the dev split chooses (SUPERB: 1e-1 ... 1e-7)


@dataclass(frozen=True)
class Task:
    """A task is one frozen value made of functions. Bump `version` whenever a number can move."""
    name: str
    version: int
    metrics: tuple[Metric, ...]                    # the first one ranks the board and picks the checkpoint on dev
    protocols: Mapping[str, Protocol]
    builtin: str                                   # protocol for the built-in corpus
    default: str                                   # protocol for anybody else's corpus
    corpus: Callable[[Path | None, Protocol], Corpus]          # None = the built-in mini corpus
    load: Callable[[Item], Example]
    # (protocol, D, stride, corpus) -> a module: (B, T, D) features, (B,) frames, (B,) samples -> predictions, one row an utterance
    head: Callable[[Protocol, int, int, Corpus], nn.Module]
    loss: Callable[[Tensor, Sequence[Example], Tensor, Protocol], Tensor]   # (prediction, examples, frames, protocol) -> ()
    # (one row, example, its frames, protocol) -> for every metric a float, a Ratio or a Failure; other keys go to the utterances' CSV
    score: Callable[[Tensor, Example, int, Protocol], dict[str, Any]]
    look: Callable[[Tensor, Example, int, Protocol], dict[str, Any]] | None = None    # score by metrics[0] alone, where the others take long
    unprocessed: Callable[[Example, Protocol], dict[str, Any]] | None = None  # the score of doing nothing, where that means something
    pooled: bool = False                           # the head only ever sees the mean of a state over its frames: keep that mean alone
    # Example.target of an item, where loss and score look at nothing else: heads then train and score from a trace and open no audio
    target: Callable[[Item], Any] | None = None
