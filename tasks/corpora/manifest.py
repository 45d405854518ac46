"""The manifest of a corpus: one line an utterance, in CSV (or tab-separated, or JSON lines),
written by `data prepare` and read as `--data`.

    id, split, path, start, seconds, speaker, text, references, sha, rate, channels, resampler

Only `path` is required; `start` and `seconds` pick a piece of the file (default: all of it),
`references` are further files that belong to it (clean speech, separated sources), joined by `|`.
Paths are relative to the manifest's folder. `sha` is the SHA-256 of the audio and its references,
`rate` and `channels` those of the recording before anything was resampled or averaged, `resampler`
what does it. Lists of noisy speech have three columns more, which go into `Entry.more`:

    snr         dB, or `clean` where nothing was added
    noise       what was added: noise, music, babble, ...
    noise_file  which recording of it

`manifest_row.py` says which names that other tools give to these columns are understood.
"""

import csv
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ...benchmark.audio import RESAMPLER
from ...benchmark.audio_tree import listed as names_in
from ...benchmark.contract import SAMPLE_RATE
from ...benchmark.errors import UsageError, listed
from ...benchmark.storage import atomic
from .entry import Entry, repeated
from .manifest_row import ALIASES, MORE, Files, entry_of
from .tables import columns, rows

NAME = "manifest.csv"
COLUMNS = (
    *("id", "split", "path", "start", "seconds", "speaker", "text"),
    *("references", "sha", "rate", "channels", "resampler"),
)


def manifest_of(data: Path) -> Path | None:
    """The list itself, or the one in a folder; None where there is none."""
    # not by is_file: some file systems would take a MANIFEST.csv for it
    if data.is_file():
        return data
    return data / NAME if data.is_dir() and NAME in names_in(data) else None


def read(path: Path) -> list[Entry]:
    """The entries of a manifest. UsageError that names every wrong line.

    Rows without an id are called after their files; where that is not enough to tell them apart,
    after their paths, and pieces of one file after their start, too.
    """
    from tqdm import tqdm

    path, numbers = Path(path), array("q")
    entries: list[Entry] = []
    bad: list[str] = []
    found = Files(path.parent)
    _check_columns(path)
    for line, row in tqdm(rows(path), f"reading {path.name}", mininterval=0.5, delay=3):
        try:
            entries.append(entry_of(row, found))
            numbers.append(line)
        except ValueError as error:
            bad.append(f"line {line} {error}")
    _name(entries, path.parent)
    bad += _repeats(entries, numbers)
    if bad:
        raise UsageError(
            f"{path}: {listed(bad)}; mend the list, or make it again: run_benchmark.py data "
            "prepare --help"
        )
    if not entries:
        raise UsageError(
            f"{path} lists no audio; write a line an utterance with at least a path, or make it "
            "again: run_benchmark.py data prepare --help"
        )
    return entries


def _repeats(entries: Sequence[Entry], numbers: Sequence[int]) -> Iterator[str]:
    twice = {id(e) for e in repeated(entries, lambda e: (e.id, e.split))}
    seen = set()
    for line, entry in zip(numbers, entries, strict=True) if twice else ():
        if id(entry) in twice:
            if (entry.id, entry.split) in seen:
                yield f"line {line} repeats the id {entry.id}"
            seen.add((entry.id, entry.split))


def first(path: Path) -> Entry:
    """The first entry, without reading the others."""
    _check_columns(path)
    for line, row in rows(path):
        try:
            return entry_of(row, Files(path.parent))
        except ValueError as error:
            raise UsageError(f"{path}: line {line} {error}; mend the list") from error
    return read(path)[0]  # which says that there is none


def _check_columns(path: Path) -> None:
    if path.suffix in (".jsonl", ".json"):
        return
    names = columns(path)
    if not set(ALIASES["path"]) & set(names):
        raise UsageError(
            f"{path} has no column named path (it has {', '.join(names)[:200] or 'none'}); add one"
        )


def _name(entries: list[Entry], folder: Path) -> None:
    """Give those without an id one, in place."""
    unnamed = [i for i, e in enumerate(entries) if not e.id]
    for name in (_stem, _path_name, _piece_name):
        names = {i: name(entries[i], folder) for i in unnamed}
        same_name = Counter((names[i], entries[i].split) for i in unnamed)
        if name is _piece_name or len(same_name) == len(unnamed):
            break
    if len(same_name) < len(unnamed):  # one line twice: say so by its short name
        names = {i: _stem(entries[i], folder) for i in unnamed}
    for i in unnamed:
        entries[i] = replace(entries[i], id=names[i])


def _stem(e: Entry, folder: Path) -> str:
    return e.path.stem


def _path_name(e: Entry, folder: Path) -> str:
    path = e.path.relative_to(folder) if e.path.is_relative_to(folder) else e.path
    return "-".join(part for part in path.with_suffix("").parts if part not in ("/", ".."))


def _piece_name(e: Entry, folder: Path) -> str:
    return f"{_path_name(e, folder)}-{e.start}"


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write a manifest: to a temporary file, then renamed. Files below its folder get a relative
    path.
    """
    path = Path(path)
    root = path.parent.resolve()

    def formatted(file: Path) -> str:
        file = Path(file).resolve()
        return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)

    entries = list(entries)
    further = [name for name in MORE if any(name in e.more for e in entries)]
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([*COLUMNS, *further])
        for e in entries:
            start, seconds = _seconds(e.start), _seconds(e.samples)
            references = "|".join(formatted(reference) for reference in e.references)
            resampler = RESAMPLER if e.rate != SAMPLE_RATE else ""
            out.writerow(
                [
                    *(e.id, e.split, formatted(e.path), start, seconds, e.speaker, e.text),
                    *(references, e.sha, e.rate, e.channels, resampler),
                    *(_said(e.more.get(name, "")) for name in further),
                ]
            )


def _said(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _seconds(samples: int) -> str:
    """Exact: a sample is 0.0000625 s."""
    return f"{samples / SAMPLE_RATE:.7f}".rstrip("0").rstrip(".")
