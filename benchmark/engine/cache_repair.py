"""What of a feature cache is damaged, and what a pass can go on from."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MachineError
from ..soundness import file_digest, reading, remove, set_aside, unsealed
from ..storage import TEMPORARY
from .shards import Shard

SMALL = ("index.npy", "evidence.npy")
LARGE = 2**30  # bytes of shards from which on holding them against their digests shows a bar


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What a feature cache says of itself; None where it says nothing that can be trusted."""
    return unsealed(folder / "manifest.json")


def finished(folder: Path) -> bool:
    """Whether a complete feature cache is there, its index and evidence undamaged. Its shards are
    held against their digests when they are first read.
    """
    manifest = read_manifest(folder)
    if manifest is None or manifest["shards"] is None:
        return False
    return not _changed(folder, manifest)


def damaged(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """The files of a finished feature cache that are not what was written; all are read."""
    shards = manifest["shards"] if manifest["kept"] else ()
    changed = [s["file"] for s in shards if not is_sound(folder, s)]
    return [*_changed(folder, manifest), *changed]


def is_sound(folder: Path, shard: Mapping[str, Any]) -> bool:
    """Whether the file of a shard, as the manifest has it, is what was written."""
    return file_digest(folder / shard["file"]) == shard["digest"]


def prepare(folder: Path, about: Mapping[str, Any], what: str, shards: Sequence[Shard]) -> set[int]:
    """Make `folder`, and leave in it only what a pass can go on from. What is damaged is removed
    and named in a notice.

    Args:
        about: what it should be of.
        shards: all that the pass will write.
    Returns: the numbers of the shards that are there with their rows or answers.
    """
    from tqdm import tqdm

    _make(folder)
    manifest, wrong = read_manifest(folder), []
    if manifest is None:
        if any((folder / name).exists() for name in ("manifest.json", *SMALL)):
            wrong.append("manifest.json")
    elif other := [name for name, value in about.items() if manifest["about"].get(name) != value]:
        wrong.append(f"manifest.json is of something else ({', '.join(other)} differ)")
    elif manifest["shards"] is not None:
        wrong += _changed(folder, manifest)
        _reopen(folder, manifest, shards)
    began = [shard for shard in shards if shard.done.exists()]
    known = {shard.number for shard in began if shard.summary()}
    there = _complete(shards, what)
    wrong += [s.done.name for s in began if s.number not in known]
    wrong += [s.path.name for s in shards if s.number in known - there and _expected(s, manifest)]
    if wrong:
        tqdm.write(  # the bar of a training may be on this line
            f"notice: the feature cache {folder} ({what}) is damaged: {', '.join(wrong)}; what is "
            "damaged is recorded anew",
            file=sys.stderr,
        )
    kept = {s.done for s in shards if s.number in known}
    kept |= {s.path for s in shards if s.number in there}
    for path in folder.iterdir():
        unknown = wrong and path not in kept and not TEMPORARY.fullmatch(path.name)
        if unknown or not path.is_file():
            remove(path)
    return there


def _make(folder: Path) -> None:
    """Make the folder of a feature cache. A link to a folder is one: it may lie on a larger disk.

    Raises: MachineError: the folder that it is a link to is not there, as on a disk that is not
        mounted.
    """
    with reading(folder):
        there = folder.is_dir()
    if there:
        return
    if folder.is_symlink() and not folder.exists():
        raise MachineError(
            f"{folder} is a link to {os.readlink(folder)}, which is not there; mount its disk, or "
            f"have it recorded anew: run_benchmark.py cache rm {folder.name}"
        )
    if os.path.lexists(folder):
        set_aside(folder, "is no folder")
    folder.mkdir(parents=True, exist_ok=True)


def _complete(shards: Sequence[Shard], what: str) -> set[int]:
    """The numbers of the shards that are whole; all that is there of them is read, with a bar where
    that takes its time.
    """
    from tqdm import tqdm

    sizes = [shard.path.stat().st_size if shard.path.is_file() else 0 for shard in shards]
    style: dict[str, Any] = {"unit": "B", "unit_scale": True, "dynamic_ncols": True}
    style |= {"total": sum(sizes), "disable": sum(sizes) < LARGE, "mininterval": 1}
    there = set()
    with tqdm(desc=f"{what}: checking what is there", file=sys.stderr, **style) as bar:
        for shard, size in zip(shards, sizes, strict=True):
            if shard.complete(stored=True):
                there.add(shard.number)
            bar.update(size)
    return there


def _expected(shard: Shard, manifest: Mapping[str, Any] | None) -> bool:
    """Whether its file should be there: it is, or a finished pass has kept it."""
    return shard.path.exists() or bool(manifest and manifest.get("kept"))


def _changed(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Index and evidence, where they are not what was written."""
    return [name for name in SMALL if file_digest(folder / name) != manifest["digests"][name]]


def _reopen(folder: Path, manifest: Mapping[str, Any], shards: Sequence[Shard]) -> None:
    """Make a finished feature cache one whose pass was cut short after its last shard, so that
    only what is damaged is recorded anew; where the evidence is sound.
    """
    entries = manifest["shards"]
    if "evidence.npy" in _changed(folder, manifest) or len(entries) != len(shards):
        return
    evidence = np.load(folder / "evidence.npy")
    for shard, entry in zip(shards, entries, strict=True):
        error = np.inf if entry["rounding"] is None else entry["rounding"]
        more = {name: entry[name] for name in ("at", "digest", "audio")}
        shard.summarise(evidence[shard.pieces], {"error": error, **more})
