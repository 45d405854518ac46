"""The words of an upstream's own training: recipe, data, run.

An upstream that can be trained carries a `Training` as its class attribute `trained_by`. The
`train` verb lists its presets, resolves what a command line asks for, and calls it:

    path = Daisy.trained_by.train(recipe, data, run)

Everything about a training that changes a number is in the recipe, the data, the seed, the options
and the teacher; only with all of them equal does a training go on in a folder where it was begun.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from .corpus import Corpus
from .task import Task
from .upstream import Upstream

Use = Literal["unused", "optional", "needed"]


T = TypeVar("T")


def setting(default: T, about: str, zero: bool = False) -> T:
    """A field of a recipe: its default, and what it is, in which unit, as `train --list` says.

    Args:
        zero: a count may be 0, though its default is not.
    """
    made: Any = field(default=default, metadata={"about": about, "zero": zero or not default})
    return made


@dataclass(frozen=True)
class Recipe:
    """Every number of one way to train, apart from the seed.

    An upstream subclasses it, gives every field a default with `setting`, and names the published
    and its own choices as presets.
    """

    source: str = setting("", "where the numbers were read")

    @property
    def updates(self) -> int:
        """Of the optimiser, in the whole training, by which its progress is told; 0: not known."""
        return getattr(self, "steps", 0)


@dataclass(frozen=True)
class TrainingData:
    """What a training hears.

    Attributes:
        speech: folders of speech without labels; see `files`.
        noise: folders of noise to mix in.
        task, corpus: a labelled corpus and the task whose reader opened it; `task.load(item)` gives
            the audio and the target of an item of `corpus.splits`.
    """

    speech: tuple[Path, ...] = ()
    noise: tuple[Path, ...] = ()
    task: Task | None = None
    corpus: Corpus | None = None


@dataclass(frozen=True)
class TrainingRun:
    """How one training is carried out.

    Attributes:
        name: of the upstream, with its tag: daisy.tiny.
        tag: "" for an upstream without tags.
        options: of the upstream's constructor, as far as its `Training` takes them.
        out: the finished weights go to `weights`, with a JSON card beside them.
        work: for checkpoints and logs, a folder that no other training writes to.
        seed: of everything drawn at random.
        device: as torch names it.
        teacher: an upstream in evaluation mode on that device, whose parameters take no gradient.
        recipe: for the card of what is trained (`UpstreamCard.recipe`); kept beside the weights.
    """

    name: str
    tag: str
    options: Mapping[str, Any]
    out: Path
    work: Path
    seed: int = 0
    device: str = "cpu"
    teacher: Upstream | None = None
    recipe: str = ""

    @property
    def weights(self) -> Path:
        return self.out / f"{self.name}.safetensors"


@dataclass(frozen=True)
class Training:
    """How an upstream's weights are made; the value of `Upstream.trained_by`.

    Attributes:
        about: what is trained, on what, in one sentence.
        presets: by name; a tag's own preset has the tag's name, a publication's is called `paper`.
        train: (recipe, data, run) -> the path of the finished weights, `run.weights`. It goes on
            from what is in `run.work` (`loop.train` does) and shares its batches between the
            processes of a torchrun (`ranks`).
        options: those of the upstream's constructor that a training takes: the backbone, say.
        labels: whether it learns from a labelled corpus; without one it hears `data.speech`.
        teacher: whether it learns from another upstream.
    """

    about: str
    presets: Mapping[str, Recipe]
    train: Callable[[Any, TrainingData, TrainingRun], Path]
    options: Sequence[str] = ()
    labels: Use = "unused"
    teacher: Use = "unused"
