"""What a corpus holds: items of splits, and the examples that are made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

SAMPLE_RATE = 16_000  # Hz, all of SUPERB


@dataclass(frozen=True, slots=True)
class Item:
    """One utterance of a split; slots, because a corpus has millions.

    Attributes:
        id: within its split.
        path: its audio.
        samples: how long it is, at 16 kHz.
        start: the first sample at 16 kHz, where an item is a piece of its file.
        speaker: who speaks, where the corpus says.
        more: what else its task needs (paths, text, label).
    """

    id: str
    path: Path
    samples: int
    start: int = 0
    speaker: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """The splits of one corpus.

    Attributes:
        name: "mini", or the folder's name.
        hash: of what was listed: the same hash means the same corpus.
        splits: "train", "dev" and "test".
        notices: what a reader of the row should know (resampled, dev split chosen here).
        labels: the closed set a classifier chooses from, in the order of its outputs.
        problems: what makes it unusable, a sentence each: no run starts on a corpus with any.
    """

    name: str
    hash: str
    splits: Mapping[str, Sequence[Item]]
    notices: Sequence[str] = ()
    labels: Sequence[str] = ()
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
    """One utterance, read.

    Attributes:
        wav: (N,) float32, 16 kHz: what the upstream hears.
        target: what the task compares with.
    """

    id: str
    wav: Tensor
    target: Any
