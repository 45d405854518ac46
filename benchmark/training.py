"""The words of an upstream's own training: recipe, data, run.

An upstream that can be trained carries a `Training` as its class attribute `trained_by`. The
`train` verb lists its presets, resolves what a command line asks for, and calls it:

    path = Daisy.trained_by.train(recipe, data, run)

Everything about a training that changes a number is in the recipe, the data, the seed, the options
and the teacher; only with all of them equal does a training go on in a folder where it was begun.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from .audio import audio_files
from .contract import Corpus, Task, Upstream
from .errors import UsageError

Use = Literal["unused", "optional", "needed"]
T = TypeVar("T")


def setting(default: T, about: str) -> T:
    """A field of a recipe: its default, and what it is, in which unit, as `train --list` says."""
    made: Any = field(default=default, metadata={"about": about})
    return made


@dataclass(frozen=True)
class Recipe:
    """Every number of one way to train, apart from the seed.

    An upstream subclasses it, gives every field a default with `setting`, and names the published
    and its own choices as presets.
    """

    source: str = setting("", "where the numbers were read")


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

    def fingerprint(self) -> dict[str, str]:
        """What tells this data from other data, wherever it lies: a hash for each kind there is."""
        found = {"speech": _hash_of_files(self.speech), "noise": _hash_of_files(self.noise)}
        if self.task and self.corpus:
            found["corpus"] = f"{self.task.name}-{self.task.version} {self.corpus.hash}"
        return {kind: value for kind, value in found.items() if value}


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
    """

    name: str
    tag: str
    options: Mapping[str, Any]
    out: Path
    work: Path
    seed: int = 0
    device: str = "cpu"
    teacher: Upstream | None = None

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


def files(folder: Path) -> list[Path]:
    """The audio below `folder` that a training may hear, sorted.

    Where an identification split lies in the folder (iden_split.txt, lines of "part path", as
    VoxCeleb1 and speechocean762 have it), only its part 1, the training part.
    """
    split = folder / "iden_split.txt"
    if not split.exists():
        return audio_files(folder)
    lines = [line.split(maxsplit=1) for line in split.read_text().splitlines() if line.strip()]
    training = [line[1].strip() for line in lines if line[0] == "1" and len(line) == 2]
    if not training:
        raise UsageError(f"{split} names no training file; its lines are: 1 path/of/a/file.wav")
    bases = (folder, folder / "WAVE", folder / "wav")
    base = next((b for b in bases if (b / training[0]).exists()), folder)
    return sorted(base / name for name in training)


def _hash_of_files(folders: Sequence[Path]) -> str:
    """Of the names below their folders, and the sizes; the order of folders matters to a seed."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in files(folder):
            digest.update(f"{os.path.relpath(path, folder)}\0{path.stat().st_size}\n".encode())
    return digest.hexdigest()[:12] if folders else ""
