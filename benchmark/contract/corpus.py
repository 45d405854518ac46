"""What a corpus holds: items of splits, and the examples that are made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

SAMPLE_RATE = 16_000  # Hz, all of SUPERB


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
