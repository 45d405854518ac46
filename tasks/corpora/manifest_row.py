"""One line of a list of utterances: its fields by the names that tools give them (NeMo's
audio_filepath, duration, offset; Common Voice's client_id, sentence), its files and its numbers.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from sys import intern

from ...benchmark.audio_tree import alike, is_there
from ...benchmark.contract import SAMPLE_RATE
from .entry import NOTHING, Entry, of_file, plain
from .speakers import PATHS, SPEAKERS

MORE = ("snr", "noise", "noise_file")
CLEAN = "clean"  # as a ratio: a word, because pandas drops a group without a value
MOST = 10**6  # seconds of a piece, or Hz
ROUNDED = SAMPLE_RATE // 100  # samples by which lists with seconds to two places may be off
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


class Files:
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


def entry_of(line: dict[str, str], files: Files) -> Entry:
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


def _field(row: dict, names: Sequence[str]) -> str:
    return next((row[name].strip() for name in names if row.get(name)), "")
