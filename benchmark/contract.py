"""The words every room shares, and no logic.

Shapes: B utterances, N samples, T frames, D features, L blocks. Depth 0 is the front-end, depth k
>= 1 the output of block k, so an upstream of L blocks has the depths 0..L.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor, nn

from .errors import UsageError

if TYPE_CHECKING:
    from .training import Training

SAMPLE_RATE = 16_000  # Hz, all of SUPERB


@dataclass(frozen=True)
class UpstreamCard:
    """What an upstream says of itself; `check` holds it against reality.

    Attributes:
        name: as a row shows it: plug-in.tag, and in brackets every option not at its default.
        depth: L, the number of blocks.
        dim: D, features a frame.
        stride: samples between two frames.
        revision: which weights: a content hash, or "random-<seed>".
        source: paper or repository.
        evidence: what `Upstream.evidence` measures, with its unit; "" when there is none.
        tuned_on: the labelled data its weights have seen; "" for self-supervised weights.
        tasks: the only tasks it may be used for, as its tuning demands; () = any.
    """

    name: str
    depth: int
    dim: int
    stride: int
    revision: str
    source: str
    evidence: str = ""
    tuned_on: str = ""
    tasks: tuple[str, ...] = ()


class Upstream(nn.Module):
    """Maps waveforms to hidden states, one depth at a time; the driver may stop it at any depth.

    A plug-in writes `states` and `macs` (required), to be adaptive also `evidence` and `tau`, and
    to answer a task without a trained head also `answer` and `decode`. It never writes an exit
    loop: `benchmark.exiting.run_until_exit` is the only one.

    Attributes:
        card: what it says of itself.
        knob: the name of what a user turns to trade metric for compute (DAISY: "rho"); None when
            it does not exit by itself.
        knob_values: the knob's values when the user names none.
        spans: the spans of depths an exit may be tested in, one row each.
        answers: the tasks that it answers by itself; no head is trained for such rows.
        evidence_reads_answer: `evidence` is a function of the answer: both are then computed at
            every tested depth, the answer once, and handed to `evidence` as `answer=`.
        unit_count: how many units `units` tells apart; 0 when it names none.
        stand_in: constructor options that build it with random weights of the real shape, for what
            depends on no weight (`plan`, `speed`); empty when there are none.
        trained_by: how its weights are made, a value of `benchmark.training`; None when they come
            from elsewhere or there are none.
    """

    card: UpstreamCard
    knob: ClassVar[str | None] = None
    knob_values: ClassVar[tuple[float, ...]] = ()
    spans: ClassVar[tuple[str, ...]] = ("all",)
    answers: ClassVar[tuple[str, ...]] = ()
    evidence_reads_answer: ClassVar[bool] = False
    unit_count: int = 0
    stand_in: ClassVar[Mapping[str, str]] = {}
    trained_by: "ClassVar[Training | None]" = None

    @property
    def exits(self) -> tuple[int, ...]:
        """The depths >= 1 that have a branch, rising; at no other depth is evidence or an answer
        computed, recorded or charged. The last depth can always be left at, with or without one."""
        return tuple(range(1, self.card.depth + 1))

    @property
    def backbone(self) -> "Upstream":
        """The same states without exits, which full-depth and fixed-depth rows belong to."""
        return self

    def frames(self, lengths: Tensor) -> Tensor:
        """(B,) samples -> (B,) valid frames. By default one every `card.stride` samples."""
        return (lengths // self.card.stride).clamp(min=1)

    def states(self, wavs: Tensor, lengths: Tensor) -> Generator[Tensor, Tensor | None, None]:
        """Yields the hidden states depth by depth, each computed when it is asked for.

        A row's valid frames must not depend on the other rows or on padding. The driver may `send`
        a (B',) tensor of row numbers: only those rows go on, in that order (compaction).

        Args:
            wavs: (B, N) 16 kHz audio, zero-padded.
            lengths: (B,) valid samples, on the host.
        Yields: (B, T, D) float32, depth 0 (the front-end) to depth L.
        """
        raise NotImplementedError

    def evidence(
        self, depth: int, state: Tensor, previous: Tensor, frames: Tensor, **answer: Any
    ) -> Tensor:
        """How unsure a depth is, over each row's own valid frames; lower = surer.

        Args:
            depth: one of `exits`.
            state, previous: (B, T, D), the states at `depth` and at `depth - 1`.
            frames: (B,) valid frames, where the states are.
            answer: with `evidence_reads_answer` the key `answer`: what `answer` returned here.
        Returns: (B,), in the unit that the card names.
        """
        raise NotImplementedError(f"{type(self).__name__} has no exit evidence")

    def units(self, state: Tensor) -> Tensor | None:
        """The upstream's own discrete units of its last state; None when it has none.

        What an upstream learned to predict without labels (HuBERT: the argmax of its
        self-supervised head). Branches on top of it are trained to guess these units.

        Args:
            state: (B, T, D), at depth L.
        Returns: (B, T) int64 in 0..unit_count - 1.
        """
        return None

    def answer(self, depth: int, state: Tensor, frames: Tensor) -> Sequence[Tensor]:
        """What a depth answers: one tensor a row, of any shape and dtype, without padding.

        Args:
            depth: one of `exits`, or L.
            state: (B, T, D); frames: (B,) valid frames.
        """
        raise NotImplementedError(f"{type(self).__name__} does not answer by itself")

    def decode(self, answer: Tensor, task: str) -> Any:
        """One row's `answer` in the terms that the task's `judge` takes (ASR: a text)."""
        raise NotImplementedError(f"{type(self).__name__} does not answer by itself")

    def tau(self, evidence: np.ndarray, value: float) -> float:
        """The threshold for one value of the knob.

        Args:
            evidence: (n, len(exits)) of a task's training split, a column for each of `exits`.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be calibrated")

    def check_knob(self, value: float) -> str:
        """A warning about a knob's value, or ""; UsageError where it means nothing."""
        return ""

    def with_blocks(self, blocks: Sequence[int]) -> "Upstream":
        """The same weights with these blocks alone, in this order: depth k is the output of the
        k-th of them. Only a backbone that can step block by block offers it."""
        raise UsageError(
            f"{self.card.name} cannot skip, drop or reorder blocks; choose a backbone that steps "
            "block by block, such as hubert"
        )

    def reference_models(
        self, device: str
    ) -> tuple[Mapping[str, Callable[[Sequence[Tensor]], Any]], Sequence[str]]:
        """The same network as other libraries run it, which `speed` times beside this one.

        Returns: by the library's name a function of one batch, (N,) waveforms on `device`, whose
            result nobody reads; and for each library that cannot be had here a sentence.
        """
        return {}, ()

    def macs(self, samples: int, depth: int) -> int:
        """Multiply-accumulates of the front-end and the blocks 1..depth for `samples` of audio."""
        raise NotImplementedError

    def evidence_macs(self, samples: int, depth: int) -> int:
        """Multiply-accumulates of testing `depth` once, whether or not it fires, without the
        answer (which `answer_macs` counts, at every depth where it is computed)."""
        return 0

    def answer_macs(self, samples: int, depth: int) -> int:
        """Multiply-accumulates of one answer at `depth`."""
        return 0


# what readers can deliver of an utterance: see Task.needs
FIELDS = ("text", "speaker", "clean", "sources")


@dataclass(frozen=True)
class Metric:
    """A number that a task measures.

    Attributes:
        name: says what it is: si_sdr_improvement, not si_sdr.
        best: what the truth itself scores, to within 1 %; None where that has no bound.
    """

    name: str
    higher_is_better: bool
    unit: str = ""
    best: float | None = None


@dataclass(frozen=True)
class Item:
    """One utterance of a split: where its audio is, how long it is, and whatever else its task
    needs (paths, text, label).
    """

    id: str
    path: Path
    samples: int  # at 16 kHz
    start: int = 0  # first sample at 16 kHz, where an item is a piece of its file
    speaker: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """The splits of one corpus, checked before anything is spent."""

    name: str  # "mini", or the folder's name
    hash: str  # of what was listed: the same hash means the same corpus
    splits: Mapping[str, Sequence[Item]]  # "train", "dev", "test"
    # what a reader of the row should know (resampled, dev split chosen here)
    notices: Sequence[str] = ()
    # the closed set a classifier chooses from, in the order of its outputs
    labels: Sequence[str] = ()
    # what makes it unusable, a sentence each: no run starts on a corpus with any
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class Builtin:
    """A corpus that the project makes by itself on first use.

    Attributes:
        folder: its name below the cache; a changed recipe gets another.
        about: a line for `ls corpora`.
        make: writes the whole corpus to a folder, or nothing.
        pcm: SHA-256 of all its samples, as they come out on x86-64 with espeak-ng 1.52.
        stamp: the file that says that it is whole, with the SHA-256 of what was made in a line
            "pcm: ...".
    """

    folder: str
    about: str
    make: Callable[[Path], None]
    pcm: str
    stamp: str = "README.txt"


@dataclass(frozen=True)
class Example:
    """One utterance, read."""

    id: str
    wav: Tensor  # (N,), float32, 16 kHz: what the upstream hears
    target: Any  # what the task compares with


@dataclass(frozen=True)
class Protocol:
    """A published training recipe. Tasks subclass it with their own fields; a changed field
    makes the row `custom`.
    """

    name: str
    source: str  # where each number was read
    lr: float
    steps: int  # optimiser updates, not micro-batches
    batch: int  # utterances of a micro-batch, drawn at random
    eval_every: int  # updates between two looks at the dev split
    accumulate: int = 1
    # adam (eps 1e-8) | adamw (eps 1e-7, no decay), as s3prl/optimizers.py sets them
    optimiser: str = "adam"
    clip: float = 1.0  # global gradient norm
    train_limit: int | None = None  # utterances drawn from the split with `limit_seed`; None = all
    dev_limit: int | None = None
    test_limit: int | None = None
    limit_seed: int = 8830  # MiniSUPERB's sampler
    # instead: cut the utterances, longest first, into buckets of so many, and halve each
    bucket: int = 0
    # fields that only the scoring of the test split looks at: no reason to train again
    at_test: ClassVar[tuple[str, ...]] = ()
    # what --lr sweep tries: the dev split chooses (SUPERB: 1e-1 ... 1e-7)
    lr_grid: tuple[float, ...] = ()


@dataclass(frozen=True)
class Setup:
    """What a head is built for, and all that its loss and its scores may ask: one value handed
    through the machine.

    Fields: protocol: the recipe; heads are trained with its test-time fields (`Protocol.at_test`)
        at their defaults. corpus: for its labels. dim: D, the width of every state. stride: samples
        between two feature frames.
    """

    protocol: Protocol
    corpus: Corpus
    dim: int
    stride: int


@dataclass(frozen=True)
class Task:
    """A task is one frozen value made of functions. Bump `version` whenever a number can move.

    A *prediction* is what a head gives for a batch, one row an utterance. An *answer* is what the
    task is about, in terms that any system could give: a transcript, a speaker's name, waveforms.
    `score` turns a prediction row into an answer and judges it; an upstream that answers by
    itself is judged directly.

    Fields: name: the plug-in's name, as --task and every row say it. version: of its numbers.
        metrics: the first one ranks the board and picks the checkpoint on dev. protocols: by name,
        the published recipes and the project's own. builtin, default: the protocol for the built-in
        corpus, and for anybody else's. corpus: (folder or list, protocol) -> Corpus; None asks for
        the built-in mini corpus. What is wrong with
            single utterances goes into its `problems`; UsageError where nothing can be read at all.
        load: an item's audio and target.
        head: setup -> a module of (B, T, D) features, (B,) frames and (B,) samples -> predictions.
        loss: (prediction, examples, (B,) frames, setup) -> (), differentiable, mean over
            utterances.
        score: (one prediction row, its example, its frames, setup) -> for every metric a float, a
            Ratio or a Failure; other keys go to the utterances' CSV.
        judge: (answer, example, protocol) -> the same of an answer.
        truth: example -> its true answer; None = its target.
        select: score by metrics[0] alone, where the others take long; None = score.
        unprocessed: (example, protocol) -> the score of doing nothing, where that means something.
        pooled: the head only ever sees the mean of a state over its frames: keep that mean alone.
        target: Example.target of an item, where loss and score look at nothing else: heads then
            train and score from recorded states and open no audio.
        needs: the fields that every utterance must have: "text" (a transcript), "speaker",
            "clean" (the same without noise), "sources" (the talkers of a mixture). Readers of
            corpora deliver them.
        check: (corpus, protocol, frames) -> what keeps the corpus from being used, a
            sentence each; frames are those of the upstream, (B,) samples -> (B,). Asked
            once, before anything is spent.
        notices: setup -> what a reader of the row should know of how the features are
            read, a sentence each.
        mini: the built-in corpus.
    """

    name: str
    version: int
    metrics: tuple[Metric, ...]
    protocols: Mapping[str, Protocol]
    builtin: str
    default: str
    corpus: Callable[[Path | None, Protocol], Corpus]
    load: Callable[[Item], Example]
    head: Callable[[Setup], nn.Module]
    loss: Callable[[Tensor, Sequence[Example], Tensor, Setup], Tensor]
    score: Callable[[Tensor, Example, int, Setup], dict[str, Any]]
    judge: Callable[[Any, Example, Protocol], dict[str, Any]]
    truth: Callable[[Example], Any] | None = None
    select: Callable[[Tensor, Example, int, Setup], dict[str, Any]] | None = None
    unprocessed: Callable[[Example, Protocol], dict[str, Any]] | None = None
    pooled: bool = False
    target: Callable[[Item], Any] | None = None
    needs: tuple[str, ...] = ()
    check: Callable[[Corpus, Protocol, Callable[[Tensor], Tensor]], Sequence[str]] | None = None
    notices: Callable[[Setup], Sequence[str]] | None = None
    mini: Builtin | None = None
