"""One utterance of a corpus as a reader lists it, and what is computed from a list of them."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ...benchmark.audio import RESAMPLER, header
from ...benchmark.contract import SAMPLE_RATE
from ...benchmark.errors import UsageError

SPLITS = ("train", "dev", "test")
HEAD = 1 << 12  # bytes of each file that enter a corpus hash, beside its size
MANY = 2000  # files, above which a pass over them shows its progress


NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Entry:
    """One utterance of a corpus.

    Attributes:
        id: unique within its split.
        split: train, dev or test; "" when the corpus does not state it.
        path: the audio file.
        start, samples: the utterance in it, at 16 kHz whatever the rate of the file; 0 samples
            where the file cannot be opened (`validate.problems` gives the reason).
        speaker: a name; text: the transcript, upper case, single spaces; "" where there is none.
        references: further files of the same length: clean speech, or separated sources.
        sha: SHA-256 of the audio and its references, where a list states it.
        rate, channels: of the recording, before resampling (Hz) and averaging.
        more: what else the corpus states (noise, snr); in no hash.
    """

    id: str
    split: str
    path: Path
    start: int = 0
    samples: int = 0
    speaker: str = ""
    text: str = ""
    references: tuple[Path, ...] = ()
    sha: str = ""
    rate: int = SAMPLE_RATE
    channels: int = 1
    more: Mapping[str, Any] = field(default_factory=lambda: NOTHING)


def of_file(
    id: str,
    split: str,
    path: Path,
    speaker: str = "",
    text: str = "",
    references: tuple[Path, ...] = (),
) -> Entry:
    """The entry of a whole file, its length from the header; 0 samples where that is unreadable."""
    try:
        rate, channels, samples = header(path)
    except UsageError:
        rate, channels, samples = SAMPLE_RATE, 1, 0
    return Entry(id, split, path, 0, samples, speaker, plain(text), references, "", rate, channels)


def plain(text: str) -> str:
    """A transcript as it is compared: upper case, single spaces."""
    return " ".join(text.upper().split())


def sha(entry: Entry) -> str:
    """SHA-256 of the bytes of its audio and of its references, in this order."""
    digest = hashlib.sha256()
    for path in (entry.path, *entry.references):
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def fingerprint(entries: Sequence[Entry]) -> str:
    """12 hexadecimal digits that change with the list, the labels, or the audio (sizes and first
    bytes), but not with the location of the folder.
    """
    digest = hashlib.sha256()
    for e in sorted(entries, key=lambda e: (e.split, e.id)):
        digest.update(json.dumps([e.id, e.split, e.start, e.samples, e.speaker, e.text]).encode())
        for path in (e.path, *e.references):
            with open(path, "rb") as file:
                digest.update(b"%d" % path.stat().st_size + file.read(HEAD))
    return digest.hexdigest()[:12]


def repeated(entries: Sequence[Entry], key: Callable[[Entry], Hashable]) -> list[Entry]:
    """Those that share their key with others, in their order; of a million lines, too, at a few
    bytes each.
    """
    hashes = np.fromiter((hash(key(e)) for e in entries), np.int64, len(entries))
    _, of, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    alike = [entries[i] for i in np.flatnonzero(counts[of] > 1)]
    exact = Counter(map(key, alike))  # two keys may share a hash
    return [e for e in alike if exact[key(e)] > 1]


def notices(entries: Iterable[Entry]) -> list[str]:
    """What was done to the recordings: a sentence for every rate and number of channels that is not
    16 kHz and one.
    """
    formats = {(e.rate, e.channels) for e in entries}
    rates = sorted({rate for rate, _ in formats} - {SAMPLE_RATE})
    channels = sorted({n for _, n in formats} - {1})
    resampled = [f"audio at {r} Hz, resampled to {SAMPLE_RATE} Hz by {RESAMPLER}" for r in rates]
    return resampled + [f"audio with {n} channels, averaged to one" for n in channels]


def progress(things: Sequence, what: str) -> Iterable:
    """`things`, with a progress bar on stderr where there are MANY."""
    if len(things) <= MANY:
        return things
    from tqdm import tqdm

    return tqdm(things, what, mininterval=0.5)
