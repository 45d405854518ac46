"""The manifest of a corpus: one line an utterance, in CSV (or tab-separated, or JSON lines),
written by `data prepare` and read as `--data`.

    id, split, path, start, seconds, speaker, text, references, sha, rate, channels, resampler

Only `path` is required; `start` and `seconds` pick a piece of the file (default: all of it),
`references` are further files that belong to it (clean speech, separated sources), joined by `|`.
Paths are relative to the manifest's folder. `sha` is the SHA-256 of the audio and its references,
`rate` and `channels` those of the recording before anything was resampled or averaged, `resampler`
what does it. The names that other tools give to these columns are understood (NeMo's
audio_filepath, duration, offset; Common Voice's client_id, sentence).
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...benchmark.audio import RESAMPLER, SUFFIXES, header
from ...benchmark.contract import SAMPLE_RATE
from ...benchmark.errors import UsageError, listed
from ...benchmark.storage import atomic

NAME = "manifest.csv"
SPLITS = ("train", "dev", "test")
COLUMNS = (
    "id",
    "split",
    "path",
    "start",
    "seconds",
    "speaker",
    "text",
    "references",
    "sha",
    "rate",
    "channels",
    "resampler",
)
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
HEAD = 1 << 12  # bytes of each file that enter a corpus hash, beside its size
MANY = 2000  # files, above which a pass over them shows its progress


@dataclass(frozen=True)
class Entry:
    """One utterance of a corpus. Positions and lengths are samples at 16 kHz, whatever
    the file's own rate.
    """

    id: str
    split: str  # train, dev or test; "" when nothing says
    path: Path
    start: int = 0
    samples: int = 0  # 0: the file could not be opened (`_check.problems` says why)
    speaker: str = ""
    text: str = ""  # upper case, single spaces
    references: tuple[Path, ...] = ()
    sha: str = ""
    rate: int = SAMPLE_RATE  # Hz, as it was recorded
    channels: int = 1
    # what else its corpus says of it (noise, snr); in no list and no hash
    more: Mapping[str, Any] = field(default_factory=dict)


def manifest_of(data: Path) -> Path | None:
    """The list itself, or the one in a folder; not by is_file, because some file systems would take
    a MANIFEST.csv for it.
    """
    if data.is_file():
        return data
    return data / NAME if data.is_dir() and NAME in {p.name for p in data.iterdir()} else None


def of_file(
    id: str,
    split: str,
    path: Path,
    speaker: str = "",
    text: str = "",
    references: tuple[Path, ...] = (),
) -> Entry:
    """The entry of a whole file, its length from the header."""
    try:
        rate, channels, samples = header(path)
    except UsageError:
        rate, channels, samples = SAMPLE_RATE, 1, 0
    return Entry(id, split, path, 0, samples, speaker, plain(text), references, "", rate, channels)


def audio_in(folder: Path) -> list[Path]:
    """The audio files of a folder, not of those below it, by name; none where there is no
    folder.
    """
    return (
        sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != ".")
        if folder.is_dir()
        else []
    )


def plain(text: str) -> str:
    """A transcript as it is compared: upper case, single spaces."""
    return " ".join(text.upper().split())


def read(path: Path) -> list[Entry]:
    """The entries of a manifest; everything that is wrong with its lines is said at once."""
    path = Path(path)
    entries, bad, seen = [], [], set()
    for line, row in progress(list(_rows(path)), f"reading {path.name}"):
        try:
            entry = _entry({key: _field(row, names) for key, names in ALIASES.items()}, path.parent)
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
    """Beside its place, then renamed. What lies below the manifest's folder
    gets a relative path.
    """
    path = Path(path)
    root = path.parent.resolve()

    def told(file: Path) -> str:
        file = Path(file).resolve()
        return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)

    with atomic(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(COLUMNS)
        for e in entries:
            out.writerow(
                [
                    e.id,
                    e.split,
                    told(e.path),
                    _seconds(e.start),
                    _seconds(e.samples),
                    e.speaker,
                    e.text,
                    "|".join(told(r) for r in e.references),
                    e.sha,
                    e.rate,
                    e.channels,
                    RESAMPLER if e.rate != SAMPLE_RATE else "",
                ]
            )


def sha(entry: Entry) -> str:
    """SHA-256 of the bytes of its audio and of its references, in this order."""
    digest = hashlib.sha256()
    for path in (entry.path, *entry.references):
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def fingerprint(entries: Sequence[Entry]) -> str:
    """12 digits that change with the list, the labels, or the audio (sizes and first bytes), but
    not with the folder's place.
    """
    digest = hashlib.sha256()
    for e in sorted(entries, key=lambda e: (e.split, e.id)):
        digest.update(json.dumps([e.id, e.split, e.start, e.samples, e.speaker, e.text]).encode())
        for path in (e.path, *e.references):
            with open(path, "rb") as file:
                digest.update(b"%d" % path.stat().st_size + file.read(HEAD))
    return digest.hexdigest()[:12]


def notices(entries: Iterable[Entry]) -> list[str]:
    """What was done to the recordings: a sentence for every rate and every number of
    channels that is not ours.
    """
    formats = {(e.rate, e.channels) for e in entries}
    return [
        f"audio at {rate} Hz, resampled to {SAMPLE_RATE} Hz by {RESAMPLER}"
        for rate in sorted({r for r, _ in formats} - {SAMPLE_RATE})
    ] + [f"audio with {n} channels, averaged to one" for n in sorted({c for _, c in formats} - {1})]


def progress(things: Sequence, what: str) -> Iterable:
    """With a bar on stderr where there are many."""
    if len(things) <= MANY:
        return things
    from tqdm import tqdm

    return tqdm(things, what, mininterval=0.5)


def _rows(path: Path) -> Iterator[tuple[int, dict]]:
    """(line number, its fields)"""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read as a list ({error}); give a CSV with a column named path"
        ) from error
    if path.suffix in (".jsonl", ".json"):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    row = json.loads(line)
                    assert isinstance(row, dict)
                except (ValueError, AssertionError):
                    raise UsageError(
                        f"{path} line {number} is not a JSON object; write one object a line"
                    ) from None
                yield number, {k: "" if v is None else str(v) for k, v in row.items()}
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


def _field(row: dict, names: Sequence[str]) -> str:
    return next((row[name].strip() for name in names if row.get(name)), "")


def _entry(row: dict[str, str], folder: Path) -> Entry:
    """ValueError with the rest of a sentence that begins with the line."""
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
        row["id"] or path.stem,
        split,
        path,
        start,
        samples,
        row["speaker"],
        plain(row["text"]),
        references,
        row["sha"],
        rate,
        channels,
    )


def _found(name: str, folder: Path) -> Path:
    """A path of the list: absolute, or relative to the list's folder or (as in lists that name
    their own folder) its parent.
    """
    path = Path(name)
    return next((p for p in (folder / path, folder.parent / path) if p.exists()), folder / path)


def _seconds(samples: int) -> str:
    """Exact: a sample is 0.0000625 s."""
    return f"{samples / SAMPLE_RATE:.7f}".rstrip("0").rstrip(".")
