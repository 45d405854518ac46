"""The files that a training may hear, and what tells them from others."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from .audio_tree import audio_files
from .contract import TrainingData
from .errors import UsageError


def files(folder: Path) -> list[Path]:
    """The audio below `folder` that a training may hear, sorted.

    Where an identification split lies in the folder (iden_split.txt, lines of "part path", as
    VoxCeleb1 and speechocean762 have it), only its part 1, the training part.
    """
    split = folder / "iden_split.txt"
    if not split.exists():
        return audio_files(folder)
    try:
        text = split.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{split} cannot be read ({error}); save it as UTF-8") from error
    lines = [line.split(maxsplit=1) for line in text.split("\n") if line.strip()]
    training = [line[1].strip() for line in lines if line[0] == "1" and len(line) == 2]
    if not training:
        raise UsageError(f"{split} names no training file; its lines are: 1 path/of/a/file.wav")
    bases = (folder, folder / "WAVE", folder / "wav")
    base = next((b for b in bases if (b / training[0]).exists()), folder)
    return sorted(base / name for name in training)


def fingerprint(data: TrainingData) -> dict[str, str]:
    """What tells this data from other data, wherever it lies: a hash for each kind there is."""
    found = {"speech": _hash_of_files(data.speech), "noise": _hash_of_files(data.noise)}
    if data.task and data.corpus:
        found["corpus"] = f"{data.task.name}-{data.task.version} {data.corpus.hash}"
    return {kind: value for kind, value in found.items() if value}


def _hash_of_files(folders: Sequence[Path]) -> str:
    """Of the names below their folders, and the sizes; the order of folders matters to a seed."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in files(folder):
            digest.update(f"{os.path.relpath(path, folder)}\0{path.stat().st_size}\n".encode())
    return digest.hexdigest()[:12] if folders else ""
