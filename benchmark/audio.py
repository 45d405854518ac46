"""Audio files in and out: whatever libsndfile reads (wav, flac, opus, ogg, mp3) becomes
16 kHz mono float32.

Positions and lengths are always samples at 16 kHz, whatever the file's own rate. Another rate is
resampled by a polyphase filter (scipy's default Kaiser window) and channels are averaged, each with
one notice, since both change numbers. A file that cannot be trusted (missing, empty, cut short, not
finite) stops everything with its name.
"""

import logging
import re
from collections.abc import Iterator
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from torch import from_numpy

from .audio_headers import mended, placeholder
from .audio_tree import is_there
from .contract import SAMPLE_RATE, Example, Item
from .errors import UsageError
from .storage import atomic

RESAMPLER = "scipy.signal.resample_poly"
_REMEDY = "copy it again from its source, or take it out of the corpus"
_BLOCK = 1 << 22  # frames decoded at once, so that a header that promises too much costs no memory
RATES = (1_000, 768_000)  # Hz that a recording can have
STEP = 2**-15  # of 16 bits
UNTOLD = 2**63 - 1  # frames of a file whose header leaves its length open, as libsndfile says it
LONGEST = 48 * 3600  # seconds of one file; a header that says more is taken for damaged
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
    and the peak in 0..1 of what `read` makes of it.
    """
    path, peak = Path(path), 0.0
    with _open(path) as file:
        for block in _blocks(file, path, file.frames):
            peak = max(peak, float(np.abs(_mono(block)).max()))
        # channels that cancel leave the rounding of their files
        return _header(file), peak if file.channels == 1 or peak > STEP else 0.0


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
    mono = _mono(wav)
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


def _header(file: soundfile.SoundFile) -> Header:
    samples = -(-file.frames * SAMPLE_RATE // file.samplerate)  # rounded up, as resample_poly does
    return Header(file.samplerate, file.channels, samples)


def _open(path: Path) -> soundfile.SoundFile:
    if not is_there(path):
        raise UsageError(f"there is no audio file {path}{_beside(path)}")
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is an empty file; {_REMEDY}")
    try:
        file = soundfile.SoundFile(mended(path) or path)
    except (OSError, soundfile.LibsndfileError) as error:
        raise UsageError(_unreadable(path, _reason(error))) from error
    # libsndfile mends the size of a cut wav silently
    said = re.search(r"data : (\d+) \(should be (\d+)\)", file.extra_info)
    if said and int(said[1]) > int(said[2]) and not placeholder(int(said[1])):
        raise UsageError(f"{path} is cut short ({said[2]} of {said[1]} bytes of audio); {_REMEDY}")
    _plausible(file, path)
    return file


def _plausible(file: soundfile.SoundFile, path: Path) -> None:
    if file.frames == 0:
        raise UsageError(f"{path} holds no samples; {_REMEDY}")
    if not RATES[0] <= file.samplerate <= RATES[1]:
        raise UsageError(
            f"{path} says that it has {file.samplerate} samples a second, which no recording has "
            f"({RATES[0]} to {RATES[1]}); {_REMEDY}"
        )
    if file.frames == UNTOLD:
        raise UsageError(
            f"{path} does not say how long it is, as an encoder leaves it that wrote into a pipe; "
            f"write it again: ffmpeg -i {path.name} new{path.suffix}"
        )
    if file.frames > LONGEST * file.samplerate:
        hours = file.frames / file.samplerate / 3600
        raise UsageError(
            f"{path} says that it lasts {hours:.0f} hours, more than {LONGEST // 3600}; {_REMEDY}"
        )


def _beside(path: Path) -> str:
    """The rest of the sentence about a file that is missing."""
    remedy = f"; check the path: ls {path.parent}"
    try:
        names = sorted(p.name for p in path.parent.iterdir() if p.stem == path.stem)
    except (OSError, ValueError):
        return remedy
    return f", but {names[0]} beside it; correct the list, or convert it" if names else remedy


def _unreadable(path: Path, reason: str) -> str:
    with open(path, "rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        return f"{path} is a pointer of git-lfs, not the audio; fetch the audio: git lfs pull"
    return f"{path} cannot be read as audio ({reason}); {_REMEDY}"


def _mono(wav: np.ndarray) -> np.ndarray:
    """(N, channels) -> (N,)"""
    return wav.mean(axis=1) if wav.shape[1] > 1 else wav[:, 0]


def _decode(file: soundfile.SoundFile, path: Path, frames: int) -> np.ndarray:
    """(frames, channels) float32."""
    blocks = list(_blocks(file, path, frames))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _blocks(file: soundfile.SoundFile, path: Path, frames: int) -> Iterator[np.ndarray]:
    """(n, channels) float32 each, `frames` in all."""
    for done in range(0, frames, _BLOCK):
        wanted = min(_BLOCK, frames - done)
        try:
            wav = file.read(wanted, dtype="float32", always_2d=True)
        except (OSError, soundfile.LibsndfileError) as error:
            raise UsageError(
                f"{path} breaks off or is damaged ({_reason(error)}); {_REMEDY}"
            ) from error
        if len(wav) < wanted:
            raise UsageError(
                f"{path} is cut short ({done + len(wav)} of {frames} samples); {_REMEDY}"
            )
        if not np.isfinite(wav).all():
            raise UsageError(
                f"{path} has samples that are not finite numbers (NaN or inf); {_REMEDY}"
            )
        yield wav


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(". ")


def _notice(text: str, kind: str) -> None:
    """Say it once a process for each kind."""
    if kind not in _noticed:
        _noticed.add(kind)
        logging.getLogger("earlyexit_superb").warning(text)
