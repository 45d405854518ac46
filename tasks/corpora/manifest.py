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

The names that other tools give to these columns are understood (NeMo's
audio_filepath, duration, offset; Common Voice's client_id, sentence).
"""

import csv
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from sys import intern

from ...benchmark.audio import RESAMPLER
from ...benchmark.audio_tree import alike, is_there
from ...benchmark.contract import SAMPLE_RATE
from ...benchmark.errors import UsageError, listed
from ...benchmark.storage import atomic
from .entry import NOTHING, Entry, of_file, plain, repeated
from .speakers import PATHS, SPEAKERS
from .tables import columns, rows

NAME = "manifest.csv"
COLUMNS = (
    *("id", "split", "path", "start", "seconds", "speaker", "text"),
    *("references", "sha", "rate", "channels", "resampler"),
)
MORE = ("snr", "noise", "noise_file")
MOST = 10**6  # seconds of a piece, or Hz
ROUNDED = SAMPLE_RATE // 100  # samples by which lists with seconds to two places may be off
CLEAN = "clean"  # as a ratio: a word, because pandas drops a group without a value
ALIASES = {
    "path": PATHS,
    "id": ("id", "utt_id", "ID"),
    "split": ("split", "subset"),
    "start": ("start", "offset"),
    "seconds": ("seconds", "duration"),
    "speaker": SPEAKERS,
    "text": ("text", "transcript", "transcription", "sentence", "wrd"),
    "references": ("references",),
    "sha": ("sha",),
    "rate": ("rate",),
    "channels": ("channels",),
}
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}


def manifest_of(data: Path) -> Path | None:
    """The list itself, or the one in a folder; None where there is none."""
    # not by is_file: some file systems would take a MANIFEST.csv for it
    if data.is_file():
        return data
    return data / NAME if data.is_dir() and NAME in {p.name for p in data.iterdir()} else None


def read(path: Path) -> list[Entry]:
    """The entries of a manifest. UsageError that names every wrong line.

    Rows without an id are called after their files; where that is not enough to tell them apart,
    after their paths, and pieces of one file after their start, too.
    """
    from tqdm import tqdm

    path, numbers = Path(path), array("q")
    entries: list[Entry] = []
    bad: list[str] = []
    found = _Files(path.parent)
    _check_columns(path)
    for line, row in tqdm(rows(path), f"reading {path.name}", mininterval=0.5, delay=3):
        try:
            entries.append(_entry(row, found))
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
            return _entry(row, _Files(path.parent))
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


def _field(row: dict, names: Sequence[str]) -> str:
    return next((row[name].strip() for name in names if row.get(name)), "")


class _Files:
    """The files of a list, each looked for and opened once however many pieces of it follow."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = lru_cache(4096)(self._path)
        self.whole = lru_cache(4096)(partial(of_file, "", ""))

    def _path(self, name: str) -> Path:
        """Absolute, or relative to the list's folder or (in lists that name that folder) its
        parent.
        """
        places = alike(self.folder / name), alike(self.folder.parent / name)
        return next((p for p in places if is_there(p)), places[0])


def _entry(line: dict[str, str], files: _Files) -> Entry:
    """The entry of a row, its id "" where that has none. ValueError with what is wrong, to follow
    the words "line N".
    """
    row = {key: _field(line, names) for key, names in ALIASES.items()}
    if not row["path"]:
        raise ValueError("has no path")
    split = SPLIT_NAMES.get(row["split"].lower()) if row["split"] else ""
    if split is None:
        raise ValueError(f"has the split {row['split']!r}; it is train, dev or test")
    path = files.path(row["path"])
    start, samples, rate, channels = _numbers(row)
    # what `data prepare` wrote is exact, and changed files are found by its hash
    if not (row["seconds"] and row["rate"] and row["sha"]):
        whole = files.whole(path)
        rate, channels = (rate, channels) if row["rate"] else (whole.rate, whole.channels)
        samples = _within(start, samples, whole)
    return Entry(
        id=row["id"],
        split=split,
        path=path,
        start=start,
        samples=samples,
        speaker=intern(row["speaker"]),
        text=plain(row["text"]),
        references=tuple(files.path(r) for r in row["references"].split("|") if r),
        sha=row["sha"],
        rate=rate,
        channels=channels,
        more=_more(line),
    )


def _numbers(row: dict[str, str]) -> tuple[int, int, int, int]:
    """Start and length (samples at 16 kHz, 0 = all), rate and channels."""
    try:
        start, seconds = (float(row[key] or 0) for key in ("start", "seconds"))
        rate, channels = int(row["rate"] or SAMPLE_RATE), int(row["channels"] or 1)
    except (ValueError, OverflowError):
        raise ValueError("has a start, seconds, rate or channels that is no number") from None
    if not (math.isfinite(start) and math.isfinite(seconds)):
        raise ValueError("has a start, seconds, rate or channels that is no number")
    if start < 0 or seconds < 0 or rate < 1 or channels < 1:
        raise ValueError("has a negative start or length, or no rate or channels")
    if row["seconds"] and not round(seconds * SAMPLE_RATE):
        raise ValueError(f"has {row['seconds']} seconds")
    if max(start, seconds) > MOST or rate > MOST or channels > MOST:
        raise ValueError(f"has a start, seconds, rate or channels beyond {MOST}")
    return round(start * SAMPLE_RATE), round(seconds * SAMPLE_RATE), rate, channels


def _within(start: int, samples: int, whole: Entry) -> int:
    """Samples of a piece, put right where the list has rounded seconds. ValueError for a piece
    that the file does not have.
    """
    left = whole.samples - start
    if not whole.samples:  # it cannot be read; `validate.problems` gives the reason
        return samples
    if left <= 0 or samples > left + ROUNDED:
        raise ValueError(
            f"asks for samples {start} to {start + samples} of {whole.path}, which has "
            f"{whole.samples} at {SAMPLE_RATE} Hz"
        )
    rounded = start == 0 and abs(left - samples) <= ROUNDED
    return left if rounded or not samples else min(samples, left)


def _more(row: dict[str, str]) -> Mapping[str, float | str]:
    """What a list of noisy speech says of a row. ValueError where a ratio is none."""
    more: dict[str, float | str] = {n: v for n in MORE if (v := _field(row, (n,)))}
    snr = str(more.get("snr", CLEAN))
    if snr != CLEAN:
        try:
            more["snr"] = float(snr)
        except ValueError:
            raise ValueError(f"has the snr {snr!r}; it is a number of dB, or {CLEAN}") from None
        if not math.isfinite(more["snr"]):
            raise ValueError(f"has the snr {snr!r}; it is a number of dB, or {CLEAN}")
    return more or NOTHING


def _said(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _seconds(samples: int) -> str:
    """Exact: a sample is 0.0000625 s."""
    return f"{samples / SAMPLE_RATE:.7f}".rstrip("0").rstrip(".")
