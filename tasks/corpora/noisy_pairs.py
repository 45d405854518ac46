"""Pairs of clean and noisy speech, mixed and written in the layout of VoiceBank-DEMAND."""

import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...benchmark.audio import to_pcm, write
from ...benchmark.errors import UsageError
from ...benchmark.storage import whole
from .noise import mix, snr
from .voicebank import FOLDERS

# dB, as in VoiceBank-DEMAND
SNRS = {
    "train": (15.0, 10.0, 5.0, 0.0),
    "dev": (15.0, 10.0, 5.0, 0.0),
    "test": (17.5, 12.5, 7.5, 2.5),
}
# dB between the ratio asked for and the one on disk; how many cuts of the noise are tried for it
TOLERANCE, TRIES = 0.1, 8
COLUMNS = ("file", "split", "speaker", "noise", "snr", "source")


class Part(NamedTuple):
    """One pair to be made."""

    split: str
    file: str  # p226_001.wav
    speaker: str
    noise_name: str
    snr: float  # dB
    source: str  # where the speech comes from: a path, or the words spoken
    speech: np.ndarray  # (N,) at 16 kHz
    noise: np.ndarray  # (M,)


def write_voicebank(out: Path, parts: Iterable[Part], total: int, readme: str, seed: int) -> dict:
    """Mix the parts and save them as a corpus that appears whole at `out` or not at all.

    Returns:
        {"pcm": sha256 of all samples, "samples": how many a side, "snr_error": the largest, in dB}
    """
    with whole(out, "README.txt") as folder:
        made = _write_all(folder, parts, total, seed)
        (folder / "README.txt").write_text(f"{readme}pcm: {made['pcm']}\n", encoding="utf-8")
    return made


def mixed(part: Part, seed: int, number: int) -> tuple[np.ndarray, np.ndarray, float]:
    """(N,) int16 clean speech and noise, and by how many dB their ratio is off.

    The two are rounded one by one, to be added then: noisy - clean on disk is exactly the noise
    that was measured, and its silences stay silent. Rounding can push a frame that lies on the
    gate across it and so move the ratio of a noise that is little else than such frames; then the
    noise is cut elsewhere.
    """
    for attempt in range(TRIES):
        try:
            mixture = mix(
                part.speech, part.noise, part.snr, np.random.default_rng([seed, number, attempt])
            )
            clean, noise = to_pcm(mixture.clean), to_pcm(mixture.noise)
            error = abs(snr(clean, noise) - part.snr)
        except UsageError as silence:
            raise UsageError(
                f"{part.source} cannot be mixed with {part.noise_name}: {silence}"
            ) from silence
        if error <= TOLERANCE:
            return clean, noise, error
    raise UsageError(
        f"{part.source} with {part.noise_name} at {part.snr} dB comes out {error:.2f} dB off in 16 "
        "bits, because one of them is too soft; make it louder or take it out"
    )


def _write_all(folder: Path, parts: Iterable[Part], total: int, seed: int) -> dict:
    from tqdm import tqdm

    digest, samples, worst, seen = hashlib.sha256(), 0, 0.0, set()
    for side in ("clean", "noisy"):
        for name in set(FOLDERS.values()):
            (folder / f"{side}_{name}_16k").mkdir()
    with open(folder / "splits.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for number, part in enumerate(
            tqdm(parts, "mixing", total, unit="pair", mininterval=0.5, disable=total < 50)
        ):
            if part.file in seen:
                raise UsageError(
                    f"two speakers would share the file name {part.file}; rename the folder of "
                    f"{part.speaker}"
                )
            seen.add(part.file)
            clean, noise, error = mixed(part, seed, number)
            worst, samples = max(worst, error), samples + len(clean)
            for side, pcm in (("clean", clean), ("noisy", clean + noise)):
                write(folder / f"{side}_{FOLDERS[part.split]}_16k" / part.file, pcm)
                digest.update(pcm.astype("<i2").tobytes())
            table.writerow(
                [part.file, part.split, part.speaker, part.noise_name, part.snr, part.source]
            )
    return {"pcm": digest.hexdigest(), "samples": samples, "snr_error": worst}
