"""What is wanted of a corpus, and what was found: the words that the door, the readers
and the checks share.

Readers declare the fields they can deliver and tasks those they need; neither knows the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .entry import Entry, fingerprint

# fields that are further files, and how many belong to an utterance
REFERENCES = {"clean": 1, "sources": 2}


@dataclass(frozen=True)
class Need:
    """What somebody wants of a corpus.

    Attributes:
        fields: of every utterance, as `Task.needs` names them.
        task: who asks: a split list may have a column for it, `<task>_split`.
        train: which training set, where a layout has several; "" = its usual one.
    """

    fields: tuple[str, ...]
    task: str = ""
    train: str = ""


@dataclass
class Found:
    """A recognised corpus, filled by its reader.

    Attributes:
        layout, root: as what it was recognised, and where.
        entries: its utterances.
        notices: what a reader of its rows should know.
        problems: what makes it unusable, as far as its reader can tell.
        hints: split -> where its utterances would come from, when there are none.
        digest: computes its hash, where the layout defines one; None = that of the listed entries.
    """

    layout: str
    root: Path
    entries: list[Entry] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hints: dict[str, str] = field(default_factory=dict)
    digest: Callable[[], str] | None = None

    def hash(self) -> str:
        """12 digits that change with what is listed, and not with the folder's place."""
        return self.digest() if self.digest else fingerprint(self.entries)


@dataclass(frozen=True)
class Layout:
    """A way in which corpora lie on disk.

    Attributes:
        name: for people.
        fields: what its reader can deliver of every utterance.
        is_it: whether a folder is laid out like this.
        read: fills a Found with what a Need asks for.
        offers: (root, who asks) -> the fields that such a folder is there for, the best first, when
            nobody says; None = all of `fields`.
        made_by: the command that makes such a corpus of anybody's recordings.
    """

    name: str
    fields: tuple[str, ...]
    is_it: Callable[[Path], bool]
    read: Callable[[Found, Need], None]
    offers: Callable[[Path, str], tuple[str, ...]] | None = None
    made_by: str = ""


def usable(entry: Entry, fields: Sequence[str]) -> bool:
    """Whether an utterance has a split, audio that can be opened, and all of `fields`."""
    has = {"text": bool(entry.text), "speaker": bool(entry.speaker)}
    has |= {name: len(entry.references) == count for name, count in REFERENCES.items()}
    return bool(entry.split and entry.samples) and all(has[name] for name in fields)
