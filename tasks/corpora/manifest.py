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
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ...benchmark.audio import RESAMPLER
from ...benchmark.contract import SAMPLE_RATE
from ...benchmark.errors import UsageError, listed
from ...benchmark.storage import atomic
from .entry import Entry, of_file, plain, progress

NAME = "manifest.csv"
COLUMNS = (
    *("id", "split", "path", "start", "seconds", "speaker", "text"),
    *("references", "sha", "rate", "channels", "resampler"),
)
MORE = ("snr", "noise", "noise_file")
CLEAN = "clean"  # as a ratio: a word, because pandas drops a group without a value
ALIASES = {
    "path": ("path", "audio_filepath", "wav", "file", "filename", "file_path"),
    "id": ("id", "utt_id", "ID"),
    "split": ("split", "subset"),
    "start": ("start", "offset"),
    "seconds": ("seconds", "duration"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk_id"),
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
    """The entries of a manifest. UsageError that names every wrong line."""
    path = Path(path)
    entries, bad, seen = [], [], set()
    for line, row in progress(list(_rows(path)), f"reading {path.name}"):
        try:
            entry = _entry({key: _field(row, names) for key, names in ALIASES.items()}, path.parent)
            entry = replace(entry, more=_more(row))
        except ValueError as error:
            bad.append(f"line {line} {error}")
            continue
        if (entry.id, entry.split) in seen:
            bad.append(f"line {line} repeats the id {entry.id}")
        seen.add((entry.id, entry.split))
        entries.append(entry)
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


def _rows(path: Path) -> Iterator[tuple[int, dict]]:
    """(line number, its fields) of CSV, tab-separated values or JSON lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read as a list ({error}); give a CSV with a column named path"
        ) from error
    if path.suffix in (".jsonl", ".json"):
        yield from _json_rows(path, text)
        return
    table = csv.DictReader(
        io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ","
    )
    if not set(ALIASES["path"]) & set(table.fieldnames or ()):
        raise UsageError(
            f"{path} has no column named path (it has "
            f"{', '.join(table.fieldnames or ()) or 'none'}); add one"
        )
    for row in table:
        yield table.line_num, row


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise UsageError(f"{path} line {number} is not a JSON object; write one object a line")
        yield number, {k: "" if v is None else str(v) for k, v in row.items()}


def _field(row: dict, names: Sequence[str]) -> str:
    return next((row[name].strip() for name in names if row.get(name)), "")


def _entry(row: dict[str, str], folder: Path) -> Entry:
    """The entry of a row. ValueError with what is wrong, to follow the words "line N"."""
    if not row["path"]:
        raise ValueError("has no path")
    split = SPLIT_NAMES.get(row["split"].lower()) if row["split"] else ""
    if split is None:
        raise ValueError(f"has the split {row['split']!r}; it is train, dev or test")
    path = _found(row["path"], folder)
    references = tuple(_found(r, folder) for r in row["references"].split("|") if r)
    try:
        start, samples = (round(float(row[key] or 0) * SAMPLE_RATE) for key in ("start", "seconds"))
        rate, channels = int(row["rate"] or SAMPLE_RATE), int(row["channels"] or 1)
    except (ValueError, OverflowError):
        raise ValueError("has a start, seconds, rate or channels that is no number") from None
    if start < 0 or samples < 0:
        raise ValueError("has a negative start or length")
    if not row["seconds"] or not row["rate"]:
        whole = of_file("", "", path)
        rate, channels = (rate, channels) if row["rate"] else (whole.rate, whole.channels)
        samples = samples or max(0, whole.samples - start)
    return Entry(
        id=row["id"] or path.stem,
        split=split,
        path=path,
        start=start,
        samples=samples,
        speaker=row["speaker"],
        text=plain(row["text"]),
        references=references,
        sha=row["sha"],
        rate=rate,
        channels=channels,
    )


def _more(row: dict[str, str]) -> dict[str, float | str]:
    """What a list of noisy speech says of a row. ValueError where a ratio is none."""
    more: dict[str, float | str] = {name: _field(row, (name,)) for name in MORE}
    snr = str(more["snr"])
    if snr and snr != CLEAN:
        try:
            more["snr"] = float(snr)
        except ValueError:
            raise ValueError(f"has the snr {snr!r}; it is a number of dB, or {CLEAN}") from None
    return {name: value for name, value in more.items() if value != ""}


def _said(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _found(name: str, folder: Path) -> Path:
    """A path of the list: absolute, or relative to the list's folder or (in lists that name that
    folder) its parent.
    """
    path = Path(name)
    return next((p for p in (folder / path, folder.parent / path) if p.exists()), folder / path)


def _seconds(samples: int) -> str:
    """Exact: a sample is 0.0000625 s."""
    return f"{samples / SAMPLE_RATE:.7f}".rstrip("0").rstrip(".")
