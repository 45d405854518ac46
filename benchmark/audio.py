"""Audio files in and out: whatever libsndfile reads (wav, flac, opus, ogg, mp3) becomes
16 kHz mono float32.

Positions and lengths are always samples at 16 kHz, whatever the file's own rate. Another rate is
resampled by a polyphase filter (scipy's default Kaiser window) and channels are averaged, each with
one notice, since both change numbers. A file that cannot be trusted (missing, empty, cut short, not
finite) stops everything with its name.
"""

import logging
import re
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from torch import from_numpy

from .contract import SAMPLE_RATE, Example, Item
from .errors import UsageError
from .storage import atomic

RESAMPLER = "scipy.signal.resample_poly"
SUFFIXES = (".wav", ".flac", ".opus", ".ogg", ".mp3")
_REMEDY = "copy it again from its source, or take it out of the corpus"
# what programs that write wav into a pipe put where its size belongs
_UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)
_noticed: set[str] = set()


class Header(NamedTuple):
    rate: int  # Hz, of the file
    channels: int
    samples: int  # a channel, at 16 kHz


def header(path: Path) -> Header:
    """What the file says of itself, without decoding it."""
    with _open(Path(path)) as file:
        return _header(file)


def length(path: Path) -> int:
    """Samples at 16 kHz, from the header alone."""
    return header(path).samples


def inspect(path: Path) -> tuple[Header, float]:
    """Decode all of a file, so that whatever is wrong with it is found now; its header
    and its peak in 0..1.
    """
    path = Path(path)
    with _open(path) as file:
        return _header(file), float(np.abs(_decode(file, path, file.frames)).max())


def read(path: Path, start: int = 0, frames: int | None = None) -> np.ndarray:
    """(N,) float32, 16 kHz mono: `frames` samples from `start` on, or everything after it."""
    path = Path(path)
    with _open(path) as file:
        rate, _, total = _header(file)
        stop = total if frames is None else start + frames
        if not 0 <= start < stop <= total:
            raise UsageError(
                f"{path} has {total} samples at 16 kHz, so {start}..{stop} is not in it; "
                "correct the list that asks for it"
            )
        if rate == SAMPLE_RATE:  # only here can a part be read without the rest
            file.seek(start)
            wav = _decode(file, path, stop - start)
        else:
            wav = _decode(file, path, file.frames)
    if wav.shape[1] > 1:
        _notice(
            f"audio with {wav.shape[1]} channels is averaged to one (first met in {path})",
            f"{wav.shape[1]} channels",
        )
    mono = wav.mean(axis=1) if wav.shape[1] > 1 else wav[:, 0]
    if rate == SAMPLE_RATE:
        return mono
    _notice(
        f"audio at {rate} Hz is resampled to {SAMPLE_RATE} Hz by {RESAMPLER} (first met in {path})",
        f"{rate} Hz",
    )
    return resample(mono, rate)[start:stop]


def example_of(item: Item, target: Any) -> Example:
    """One utterance read from its file, and what the task compares with."""
    return Example(item.id, from_numpy(read(item.path, item.start, item.samples)), target)


def resample(wav: np.ndarray, rate: int) -> np.ndarray:
    """(N,) at `rate` Hz -> (ceil(N * 16000 / rate),) float32 at 16 kHz, by a filter computed
    in double precision.
    """
    from scipy.signal import resample_poly

    common = gcd(rate, SAMPLE_RATE)
    return resample_poly(wav.astype(np.float64), SAMPLE_RATE // common, rate // common).astype(
        np.float32
    )


def write(path: Path, wav: np.ndarray) -> None:
    """Save (N,) floats in [-1, 1) or int16 at 16 kHz as 16-bit PCM (.wav or .flac). The file
    appears whole or not at all.
    """
    path = Path(path)
    kind = path.suffix[1:].upper()
    if not np.isfinite(wav).all():
        raise UsageError(
            f"the audio for {path} has samples that are not finite numbers and is not written; "
            "look where it is made"
        )
    pcm = wav if wav.dtype == np.int16 else to_pcm(wav)
    fix = f"check the folder's permissions and free space: df -h {path.parent}"
    with atomic(path, fix, failures=(OSError, soundfile.LibsndfileError)) as beside:
        soundfile.write(beside, pcm, SAMPLE_RATE, subtype="PCM_16", format=kind)


def to_pcm(wav: np.ndarray) -> np.ndarray:
    """(N,) floats -> int16 with 32768 steps to 1.0, the inverse of what `read` does, so that a
    round trip is exact.
    """
    return np.clip(np.round(np.asarray(wav, np.float64) * 32768), -32768, 32767).astype(np.int16)


def audio_files(folder: Path) -> list[Path]:
    """Every audio file below a folder, in the order of its path."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; check the path: ls {folder.parent}")
    found = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
    )
    if not found:
        raise UsageError(
            f"the folder {folder} holds no audio ({', '.join(SUFFIXES)}); give the folder that does"
        )
    return found


def _header(file: soundfile.SoundFile) -> Header:
    samples = -(-file.frames * SAMPLE_RATE // file.samplerate)  # rounded up, as resample_poly does
    return Header(file.samplerate, file.channels, samples)


def _open(path: Path) -> soundfile.SoundFile:
    if not path.is_file():
        raise UsageError(f"there is no audio file {path}; check the path: ls {path.parent}")
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is an empty file; {_REMEDY}")
    try:
        file = soundfile.SoundFile(path)
    except (OSError, soundfile.LibsndfileError) as error:
        raise UsageError(f"{path} cannot be read as audio ({_reason(error)}); {_REMEDY}") from error
    # libsndfile mends the size of a cut wav silently
    said = re.search(r"data : (\d+) \(should be (\d+)\)", file.extra_info)
    if said and int(said[1]) > int(said[2]) and int(said[1]) not in _UNKNOWN_SIZES:
        raise UsageError(f"{path} is cut short ({said[2]} of {said[1]} bytes of audio); {_REMEDY}")
    if file.frames == 0:
        raise UsageError(f"{path} holds no samples; {_REMEDY}")
    return file


def _decode(file: soundfile.SoundFile, path: Path, frames: int) -> np.ndarray:
    """(frames, channels) float32."""
    try:
        wav = file.read(frames, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise UsageError(
            f"{path} breaks off or is damaged ({_reason(error)}); {_REMEDY}"
        ) from error
    if len(wav) < frames:
        raise UsageError(f"{path} is cut short ({len(wav)} of {frames} samples); {_REMEDY}")
    if not np.isfinite(wav).all():
        raise UsageError(f"{path} has samples that are not finite numbers (NaN or inf); {_REMEDY}")
    return wav


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(". ")


def _notice(text: str, kind: str) -> None:
    """Say it once a process for each kind."""
    if kind not in _noticed:
        _noticed.add(kind)
        logging.getLogger("earlyexit_superb").warning(text)
