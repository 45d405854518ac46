"""LibriSpeech: {train,dev,test}-*/<speaker>/<chapter>/*.flac and .trans.txt (its README), with
the splits of SUPERB.

By the published sets, train-clean-100, dev-clean and test-clean, which share no speaker; or by a
table splits.csv (columns path, speaker, and <task>_split... for each task, or split), which can
also give the closed set that identification needs. Instead of train-clean-100, Libri-Light's 10
hours (librispeech_finetuning, README of facebookresearch/libri-light).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from ...benchmark.audio_tree import SUFFIXES, audio_in, walk
from .entry import SPLITS, of_file, progress
from .fields import Found, Layout, Need
from .tables import columns, lines, rows

FINETUNING = "librispeech_finetuning"  # Libri-Light's 10 h: what MiniSUPERB trains ASR on


def _read(found: Found, need: Need) -> None:
    column = _column(found.root, need.task)
    if "speaker" in need.fields and not column:
        found.problems.append(
            f"{found.root} has no splits.csv with a column {need.task or 'speaker'}_split, and "
            "LibriSpeech's own sets share no speaker"
        )
        return
    sets = {p.name: p for p in found.root.iterdir() if _is_set(p)}
    if column:
        _by_table(found, column, [u for folder in sets.values() for u in _chapters(found, folder)])
        return
    light = next(
        (p for p in (found.root / FINETUNING, found.root.parent / FINETUNING) if p.is_dir()), None
    )
    for split, wanted in zip(
        SPLITS, (need.train or "train-clean-100", "dev-clean", "test-clean"), strict=True
    ):
        folder = light if wanted == FINETUNING else sets.get(wanted)
        if folder is None:
            found.hints[split] = (
                f"unpack Libri-Light's librispeech_finetuning.tgz in or beside {found.root}"
                if wanted == FINETUNING
                else (
                    f"unpack {wanted} in {found.root}, or write a splits.csv there with the "
                    f"columns path and {need.task or 'text'}_split"
                )
            )
            continue
        for path, text in progress(list(_chapters(found, folder)), f"reading headers of {wanted}"):
            found.entries.append(of_file(path.stem, split, path, path.stem.split("-")[0], text))


def _is_set(folder: Path) -> bool:
    return (
        bool(re.match(r"(train|dev|test)-", folder.name))
        and folder.is_dir()
        and next(folder.glob("*/*/*.trans.txt"), None) is not None
    )


def _chapters(found: Found, folder: Path) -> Iterator[tuple[Path, str]]:
    """(audio, transcript or "") of every utterance below `folder`; a transcript without audio is a
    problem.
    """
    for chapter in sorted(
        {
            p.parent
            for p in walk(folder)
            if p.suffix.lower() in SUFFIXES or p.name.endswith(".trans.txt")
        }
    ):
        audio = {p.stem: p for p in audio_in(chapter)}
        texts = {}
        for labels in chapter.glob("*.trans.txt"):
            for _, line in lines(labels):
                name, text = (*line.split(maxsplit=1), "", "")[:2]
                texts[name] = text
                if name and name not in audio:
                    found.problems.append(f"{labels} points to {name}, whose audio is missing")
        yield from ((audio[name], texts.get(name, "")) for name in sorted(audio))


def _column(root: Path, task: str) -> str:
    """The column of splits.csv that is for `task`: asr_split..., or just split; "" when there is
    none.
    """
    path = root / "splits.csv"
    names = columns(path) if path.is_file() else []
    return next(
        (n for n in names if n.startswith(f"{task}_split")), "split" if "split" in names else ""
    )


def _by_table(found: Found, column: str, utterances: list[tuple[Path, str]]) -> None:
    here = {path.stem: (path, text) for path, text in utterances}
    table: dict[str, tuple[int, dict]] = {}
    for line, row in rows(found.root / "splits.csv"):
        name = Path(row.get("path", "")).stem
        if name in table:
            found.problems.append(f"splits.csv line {line} lists {name} again")
        elif name:
            table[name] = line, row
    for name, (line, row) in progress(sorted(table.items()), "reading headers"):
        if name not in here:
            found.problems.append(
                f"splits.csv line {line} points to {row['path']}, which is missing"
            )
        elif row[column] not in SPLITS:
            found.problems.append(
                f"splits.csv line {line} has {row[column]!r} as {column}; it is train, dev or test"
            )
        else:
            path, text = here[name]
            found.entries.append(
                of_file(name, row[column], path, row.get("speaker") or name.split("-")[0], text)
            )
    if left := len(here.keys() - table.keys()):
        found.notices.append(f"{left} utterances are not in splits.csv and are not used")


def _offers(root: Path, task: str) -> tuple[str, ...]:
    return ("text", "speaker") if _column(root, task) else ("text",)


LIBRISPEECH = Layout(
    "LibriSpeech",
    ("text", "speaker"),
    lambda p: any(_is_set(c) for c in p.iterdir()),
    _read,
    _offers,
)
