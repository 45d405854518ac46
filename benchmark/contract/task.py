"""What a task is made of: metrics, published recipes, and the functions that train and judge."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from .corpus import Builtin, Corpus, Example, Item

# what readers can deliver of an utterance: see Task.needs
FIELDS = ("text", "speaker", "clean", "sources")


@dataclass(frozen=True)
class Metric:
    """A number that a task measures.

    Attributes:
        name: says what it is: si_sdr_improvement, not si_sdr.
        best: what the truth itself scores, to within 1 %; None where that has no bound.
        least, most: no score, of an utterance or of all, is below or above; None where that has no
            bound. A row beyond them is damaged and in no table.
        largest_loss: what one utterance loses at most in the eyes of --max-loss: a larger drop
            counts as this one. None = 100 for a percentage, else the user names it.
    """

    name: str
    higher_is_better: bool
    unit: str = ""
    best: float | None = None
    largest_loss: float | None = None
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Protocol:
    """A published training recipe. Tasks subclass it with their own fields; a changed field makes
    the row `custom`.

    Attributes:
        source: where each number was read.
        lr: the learning rate; lr_grid: what --lr sweep tries, from which the dev split chooses.
        steps: optimiser updates, not micro-batches.
        batch: utterances of a micro-batch, drawn at random; accumulate: micro-batches an update.
        eval_every: updates between two looks at the dev split.
        optimiser: adam (eps 1e-8) or adamw (eps 1e-7, no decay), as s3prl/optimizers.py sets them.
        clip: global gradient norm.
        decay: whether all learning rates fall linearly to 0 at the last update.
        sum_lr: the learning rate of the weighted sum of depths, as a factor of lr; other than 1,
            its scores are clipped by themselves, too.
        standardise_states: bring each dimension of each depth to zero mean and unit variance over
            the training split, after the layer-norm where there is one, before the weighted sum.
            A head keeps the statistics. Of a pooled task: over the means of its utterances.
        sum_rows: scores of the weighted sum of their own for every exit depth, instead of one score
            a depth that all exits share.
        exits_together: the utterances of a training micro-batch leave together, on their
            frame-weighted mean evidence, as in DAISY's released code; dev and test do not.
        train_limit, dev_limit, test_limit: utterances drawn from a split with `limit_seed`
            (MiniSUPERB's sampler); None = all.
        bucket: instead of random batches: cut the utterances, longest first, into buckets of so
            many, and halve each.
        above_zero: fields that mean nothing at 0 or below; no other whole number is below 0.
        at_test: fields that only the scoring of the test split looks at: no reason to train again.
    """

    name: str
    source: str
    lr: float
    steps: int
    batch: int
    eval_every: int
    accumulate: int = 1
    optimiser: str = "adam"
    clip: float = 1.0
    decay: bool = False
    sum_lr: float = 1.0
    standardise_states: bool = False
    sum_rows: bool = False
    exits_together: bool = False
    train_limit: int | None = None
    dev_limit: int | None = None
    test_limit: int | None = None
    limit_seed: int = 8830
    bucket: int = 0
    at_test: ClassVar[tuple[str, ...]] = ()
    above_zero: ClassVar[tuple[str, ...]] = (
        *("lr_grid", "steps", "batch", "eval_every", "accumulate", "clip"),
        *("train_limit", "dev_limit", "test_limit"),
    )
    lr_grid: tuple[float, ...] = ()


@dataclass(frozen=True)
class Setup:
    """What a head is built for, and all that its loss and its scores may ask: one value handed
    through the machine.

    Attributes:
        protocol: the recipe; heads are trained with its test-time fields (`Protocol.at_test`) at
            their defaults.
        corpus: for its labels.
        dim: D, the width of every state.
        stride: samples between two feature frames.
    """

    protocol: Protocol
    corpus: Corpus
    dim: int
    stride: int


@dataclass(frozen=True)
class Task:
    """A task is one frozen value made of functions.

    A *prediction* is what a head gives for a batch, one row an utterance. An *answer* is what the
    task is about, in terms that any system could give: a transcript, a speaker's name, waveforms.
    `score` turns a prediction row into an answer and judges it; an upstream that answers by
    itself is judged directly.

    Attributes:
        name: the plug-in's name, as --task and every row say it.
        metrics: the first one ranks the board and picks the checkpoint on dev.
        protocols: by name, the published recipes and the project's own.
        corpus: (folder or list, protocol) -> Corpus; None asks for the built-in mini corpus. What
            is wrong with single utterances goes into its `problems`; UsageError where nothing can
            be read at all.
        load: an item's audio, as its file has it, and its target.
        head: setup -> a module of (B, T, D) features, (B,) frames and (B,) samples -> predictions.
        loss: (prediction, examples, (B,) frames, setup) -> (), differentiable, mean over
            utterances.
        score: (one prediction row, its example, its frames, setup) -> for every metric a float, a
            Ratio or a Failure; other keys go to the utterances' CSV.
        judge: (answer, example, protocol) -> the same of an answer.
        version: of its numbers; bump it whenever one can move.
        builtin, default: the protocol for the built-in corpus, and for anybody else's.
        truth: example -> its true answer; None = its target.
        select: score by metrics[0] alone, where the others take long; None = score.
        unprocessed: (example, protocol) -> the score of doing nothing, where that means something.
        pooled: the head only ever sees the mean of a state over its frames: keep that mean alone.
        target: Example.target of an item, where loss and score look at nothing else: heads then
            train and score from recorded states and open no audio.
        needs: the fields that every utterance must have: "text" (a transcript), "speaker",
            "clean" (the same without noise), "sources" (the talkers of a mixture). Readers of
            corpora deliver them.
        check: (corpus, protocol, frames) -> what keeps the corpus from being used, a sentence
            each; frames are those of the upstream, (B,) samples -> (B,). Asked once, before
            anything is spent.
        notices: setup -> what a reader of the row should know of how the features are read, a
            sentence each. UsageError where they cannot be read.
        mini: the built-in corpus.
    """

    name: str
    metrics: tuple[Metric, ...]
    protocols: Mapping[str, Protocol]
    corpus: Callable[[Path | None, Protocol], Corpus]
    load: Callable[[Item], Example]
    head: Callable[[Setup], nn.Module]
    loss: Callable[[Tensor, Sequence[Example], Tensor, Setup], Tensor]
    score: Callable[[Tensor, Example, int, Setup], dict[str, Any]]
    judge: Callable[[Any, Example, Protocol], dict[str, Any]]
    version: int = 1
    builtin: str = "mini"
    default: str = "mini"
    truth: Callable[[Example], Any] | None = None
    select: Callable[[Tensor, Example, int, Setup], dict[str, Any]] | None = None
    unprocessed: Callable[[Example, Protocol], dict[str, Any]] | None = None
    pooled: bool = False
    target: Callable[[Item], Any] | None = None
    needs: tuple[str, ...] = ()
    check: Callable[[Corpus, Protocol, Callable[[Tensor], Tensor]], Sequence[str]] | None = None
    notices: Callable[[Setup], Sequence[str]] | None = None
    mini: Builtin | None = None
