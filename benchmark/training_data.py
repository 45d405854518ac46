"""The files that a training may hear, and what tells them from others."""

import csv
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from .audio_tree import audio_files
from .contract import TrainingData
from .errors import UsageError

# published sets of LibriSpeech that nobody trains on; to hear one, name its folder
HELD_OUT = ("dev-clean", "dev-other", "test-clean", "test-other")
MANIFEST = "manifest.csv"  # as `data prepare` writes it


def files(folder: Path) -> list[Path]:
    """The audio below `folder` that a training may hear, sorted: no dev and no test split.

    Where a list of splits lies in the folder, only what it calls training: part 1 of an
    identification split (iden_split.txt, lines of "part path", as VoxCeleb1 and speechocean762
    have it), the rows of a manifest.csv whose split is neither dev nor test. Otherwise all but the
    folders of HELD_OUT.
    """
    folder = Path(folder)
    if (heard := _listed(folder)) is not None:
        return heard
    found = audio_files(folder)
    heard = [path for path in found if not held_out(path, folder)]
    if not heard:
        raise UsageError(
            f"{folder} holds nothing but dev and test sets ({', '.join(HELD_OUT)}), which no "
            f"training should hear; to hear one name its own folder, such as {folder}/dev-clean"
        )
    return heard


def held_out(path: Path, folder: Path) -> str:
    """The folder of HELD_OUT below `folder` that a file is in; "" where it is in none."""
    return next((part for part in path.relative_to(folder).parts if part in HELD_OUT), "")


def left_out(folder: Path) -> list[str]:
    """The folders of HELD_OUT below a folder whose files are not heard."""
    folder = Path(folder)
    if _listed(folder) is not None:
        return []
    return sorted({held_out(path, folder) for path in audio_files(folder)} - {""})


def _listed(folder: Path) -> list[Path] | None:
    """The training files of a list in the folder; None where there is no list of splits."""
    if (folder / "iden_split.txt").exists():
        return _of_part_one(folder)
    # not by is_file: some file systems would take a MANIFEST.csv for it
    there = folder.is_dir() and MANIFEST in os.listdir(folder)
    return _of_manifest(folder / MANIFEST) if there else None


def _of_part_one(folder: Path) -> list[Path]:
    split = folder / "iden_split.txt"
    try:
        text = split.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{split} cannot be read ({error}); save it as UTF-8") from error
    lines = [line.split(maxsplit=1) for line in text.split("\n") if line.strip()]
    training = [line[1].strip() for line in lines if line[0] == "1" and len(line) == 2]
    if not training:
        raise UsageError(f"{split} names no training file; its lines are: 1 path/of/a/file.wav")
    bases = (folder, folder / "WAVE", folder / "wav")
    return _there(max(([b / name for name in training] for b in bases), key=_count), split)


def _of_manifest(file: Path) -> list[Path] | None:
    """None where it is no list that `data prepare` wrote, but somebody else's."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            if not {"path", "split"} <= set(reader.fieldnames or ()):
                return None
            rows = list(reader)
    except UnicodeDecodeError:
        return None
    except (OSError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read ({error}); mend or remove it") from error
    held = {row["path"] for row in rows if row["split"] in ("dev", "test")}
    heard = dict.fromkeys(row["path"] for row in rows if row["path"] and row["path"] not in held)
    if not heard:
        raise UsageError(
            f"{file} has no row of a training split; prepare the corpus with one "
            "(run_benchmark.py data prepare --help), or give another folder"
        )
    return _there([file.parent / path for path in heard], file)


def _count(paths: Sequence[Path]) -> int:
    return sum(path.is_file() for path in paths)


def _there(paths: Sequence[Path], named_in: Path) -> list[Path]:
    """UsageError where some of them are not there."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UsageError(
            f"{named_in}: {len(missing)} of the {len(paths)} training files that it names are not "
            f"there, such as {missing[0]}; copy them, or take their lines out"
        )
    return sorted(paths)


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
