"""The door to corpora: a folder or a list goes in, a Corpus comes out. Nothing else opens one.

    open_corpus   what a task asks: the utterances that have the fields it needs, and every problem
    scan          the same as listed entries, for `data verify` and `data prepare`
    plain         a folder of audio in no layout
    damage        what only decoding tells
    left_out      what a reader did not take
    offers        the fields that a folder is there for
    prepare       a folder into a manifest, from one of LAYOUTS
    place         where a built-in corpus is, and whether it is there

Nothing is decoded here: headers and labels are read, and `data verify` decodes.

Where a corpus is read: one file per reader, librispeech.py, voxceleb.py, voicebank.py, librimix.py,
fsdd.py, and manifest.py for anybody's list. `layouts.py` recognises which one a folder needs.

To add a reader, say for Common Voice:

1. Write commonvoice.py here with a `Layout` (fields.py): its name, the fields that it delivers
   ("text", "speaker", "clean", "sources"), `is_it`: whether a folder is laid out like this, and
   `read`: append an `Entry` (entry.py; `of_file` makes one from a path) for each utterance, and
   state where the splits come from. fsdd.py does all this in 30 lines.
2. Add it to LAYOUTS in layouts.py, and to the table in its docstring.
3. Check it: run_benchmark.py data verify DIR --task asr.

A corpus that has its splits in a list needs no reader: `data prepare` and a CSV serve it.
"""

from collections.abc import Sequence
from pathlib import Path

from ...benchmark.audio_tree import audio_files, name_of
from ...benchmark.contract import Builtin, Corpus, Item
from ...benchmark.errors import UsageError
from .builtin import made, place
from .entry import SPLITS, Entry, notices, of_file
from .fields import Need, usable
from .layouts import left_out, offers, scan, wrong
from .prepare import LAYOUTS, prepare
from .validate import damage

__all__ = [
    "LAYOUTS",
    "Need",
    "damage",
    "left_out",
    "offers",
    "open_corpus",
    "place",
    "plain",
    "prepare",
    "scan",
]


def open_corpus(data: Path | None, need: Need, builtin: Builtin | None = None) -> Corpus:
    """The utterances of `data` that have all that is needed; `problems` names the others.

    Args:
        data: a folder in a known layout, or a list; None = the built-in corpus, made now if this
            machine has none.
    Returns: Item.more has the needed fields: "text", "clean" (a path), "sources" (paths).
    Raises: UsageError when no layout fits.
    """
    if data is None and builtin is None:
        raise UsageError(f"{need.task} has no built-in corpus; give one: --data DIR")
    found = scan(made(builtin) if data is None else data, need)
    problems = wrong(found, need)
    hash = "" if problems else found.hash()
    items: dict[str, list[Item]] = {split: [] for split in SPLITS}
    found.entries.reverse()
    while found.entries:  # each goes as its item comes: lists may have millions
        e = found.entries.pop()
        if usable(e, need.fields):
            items[e.split].append(_item(e, need.fields))
    return Corpus(
        "mini" if data is None else _name(data),
        hash,
        items,
        tuple(found.notices),
        problems=tuple(problems),
    )


def _name(data: Path) -> str:
    return data.stem if data.is_file() else name_of(data)


def _item(e: Entry, fields: Sequence[str]) -> Item:
    values = {"text": e.text, "clean": e.references[:1], "sources": e.references}
    more = {name: values[name] for name in fields if name in values}
    if "clean" in more:
        [more["clean"]] = more["clean"]
    return Item(e.id, e.path, e.samples, e.start, e.speaker, {**more, **e.more} if e.more else more)


def plain(folder: Path) -> tuple[list[Entry], list[str]]:
    """Every audio file below a folder in no layout, its first folder as its split; and notices."""
    entries = [
        of_file(
            path.stem, path.relative_to(folder).parts[0] if path.parent != folder else ".", path
        )
        for path in audio_files(folder)
    ]
    return entries, notices(entries)
