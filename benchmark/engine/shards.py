"""The files of a feature cache: one shard is written, and in the end all are named in a manifest.

A shard of rows is a plain .npy file, written from its beginning to its end (a mapped file would
fill the memory with its pages); a shard of answers is an .npz. Either is renamed when it is whole,
and followed by a small .done.npz with its evidence and digests: a pass that was killed resumes
behind the last of these. The manifest, which has a digest of every file and of itself, is written
last of all.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from ..soundness import NOT_THERE, file_digest, is_whole_zip, reading, sealed
from ..storage import CACHE, atomic, write_text
from .cache_layout import Batches, Layout, flat

FIX = (
    f"free some space (run_benchmark.py cache ls) or point {CACHE} to another folder, and repeat "
    "the command: it resumes behind the last complete shard"
)


@dataclass(frozen=True)
class Extracted:
    """What one batch gave.

    Attributes:
        wavs: the (N,) waveforms that were read.
        rows: rows of each piece, as `Layout.row` shapes them; empty where none are stored.
        evidence: (B, E), NaN where there is none.
        rounding: the largest difference between a state and its fp16 copy; inf on overflow.
        answers: "<piece>.<depth>" -> an answer as the upstream gave it.
    """

    wavs: Sequence[Tensor]
    rows: Sequence[np.ndarray]
    evidence: np.ndarray
    rounding: float
    answers: dict[str, np.ndarray]


@dataclass(frozen=True)
class Shard:
    """One shard of a feature cache in `folder`: its number, and the pieces it holds."""

    folder: Path
    layout: Layout
    number: int
    batches: Batches

    @property
    def pieces(self) -> list[int]:
        return flat(self.batches)

    @property
    def path(self) -> Path:
        """The file of its rows or answers."""
        kind = "npz" if self.layout.keep == "answers" else "npy"
        return self.folder / f"{self.number:04d}.{kind}"

    @property
    def done(self) -> Path:
        """The file that says that it is complete; evidence and digests are in it."""
        return self.folder / f"{self.number:04d}.done.npz"

    @property
    def name(self) -> str:
        """Its number and the key of its feature cache, so that none is taken for another."""
        return f"{self.folder.name} {self.number}"

    def summary(self) -> dict[str, np.ndarray] | None:
        """What `done` says; None where it is missing, damaged or of another shard."""
        if not is_whole_zip(self.done):
            return None
        try:
            with reading(self.done), np.load(self.done) as done:
                found = dict(done)
        except (*NOT_THERE, ValueError):
            return None
        shape = (len(self.pieces), len(self.layout.upstream.exits))
        known = {"of", "evidence", "error", "at", "digest", "audio"} == found.keys()
        return (
            found
            if known and str(found["of"]) == self.name and found["evidence"].shape == shape
            else None
        )

    def complete(self, stored: bool) -> bool:
        """Whether it is done, and undamaged.

        Args:
            stored: its rows or answers must be there, too.
        """
        summary = self.summary()
        if summary is None or not (stored and self.layout.keep != "evidence"):
            return summary is not None
        return file_digest(self.path) == str(summary["digest"])

    def summarise(self, evidence: np.ndarray, more: dict[str, Any]) -> None:
        """Write `done`: (pieces, E) evidence in the order of `pieces`, and what an entry of the
        manifest is made of.
        """
        summary = {"of": self.name, "evidence": evidence, **more}
        _save(self.done, lambda file: np.savez(file, **summary))

    def write(self, extracted: Iterable[Extracted], stored: bool) -> bool:
        """Write the shard from its batches.

        Args:
            extracted: what each of `batches` gave, computed while the file is written.
            stored: whether rows or answers are stored; else the evidence alone.
        Returns: False where a state does not fit in fp16; then no rows are stored.
        Raises: MachineError: the disk is full or cannot be written.
        """
        rows_hash, audio_hash = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
        evidence: list[np.ndarray] = []
        answers: dict[str, np.ndarray] = {}
        rounding = 0.0
        with atomic(self.path, FIX, durable=True) as part, open(part, "wb") as file:
            header = self._header()
            file.write(header)
            rows_hash.update(header)
            for batch in extracted:
                for wav in batch.wavs:
                    audio_hash.update(wav.numpy())
                for rows in batch.rows:
                    file.write(rows.data)
                    rows_hash.update(rows.data)
                evidence.append(batch.evidence)
                answers |= batch.answers
                rounding = max(rounding, batch.rounding)
            if self.layout.keep == "answers":
                np.savez(file, **answers)
        fits = bool(np.isfinite(rounding))
        if not (stored and fits):
            self.path.unlink()
        of_answers = self.layout.keep == "answers"
        more = {
            "error": rounding,
            "at": len(header),
            "digest": file_digest(self.path) if of_answers else rows_hash.hexdigest(),
            "audio": audio_hash.hexdigest(),
        }
        self.summarise(np.concatenate(evidence), more)
        return fits

    def _header(self) -> bytes:
        """The beginning of a plain .npy of all rows to come; none where answers are stored."""
        layout = self.layout
        if not layout.has_rows:
            return b""
        header = {
            "descr": np.lib.format.dtype_to_descr(layout.dtype),
            "fortran_order": False,
            "shape": (int(layout.rows[self.pieces].sum()), *layout.row),
        }
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, header)
        return file.getvalue()


def begin_manifest(folder: Path, about: dict[str, Any], what: str) -> None:
    """Say what an unfinished feature cache will be of."""
    _write_json(folder / "manifest.json", {"about": about, "what": what, "shards": None})


def finish(
    folder: Path, about: dict[str, Any], what: str, shards: Sequence[Shard], stored: bool
) -> None:
    """Put together the evidence and the index of all shards, and name them in the manifest.

    Args:
        about: all that the numbers depend on; see cache_key.about.
        stored: whether rows or answers are kept; their files are removed where they are not.
    """
    layout = shards[0].layout
    index = np.zeros((len(layout.pieces), 3), np.int64)  # shard, first row in it, rows
    evidence = np.full((len(layout.pieces), len(layout.upstream.exits)), np.nan, np.float32)
    entries = []
    for shard in shards:
        order = shard.pieces
        rows = layout.rows[order]
        first = np.concatenate([[0], np.cumsum(rows)[:-1]])
        index[order] = np.stack([np.full(len(order), shard.number), first, rows], 1)
        done = shard.summary()
        if done is None:
            raise OSError(f"{shard.done.name} was removed or damaged meanwhile")
        evidence[order] = done["evidence"]
        entries.append(_entry(shard, done, stored))
        if not stored:
            shard.path.unlink(missing_ok=True)
    _save(folder / "index.npy", lambda file: np.save(file, index))
    _save(folder / "evidence.npy", lambda file: np.save(file, evidence))
    manifest = {
        "about": about,
        "what": what,
        "kept": stored,
        "row": layout.row,
        "seconds": layout.seconds_of(range(len(layout.pieces))),
        "pieces": len(layout.pieces),
        "largest_rounding_error": max(e["rounding"] for e in entries) if stored else None,
        "fits": all(entry["fits"] for entry in entries),
        "digests": {name: file_digest(folder / name) for name in ("index.npy", "evidence.npy")},
        "shards": entries,
    }
    _write_json(folder / "manifest.json", manifest)
    for left in folder.glob("*.done.npz"):
        left.unlink()


def _entry(shard: Shard, done: dict[str, Any], stored: bool) -> dict[str, Any]:
    rounding = float(done["error"])
    return {
        "file": shard.path.name,
        "at": int(done["at"]),
        "digest": str(done["digest"]),
        "audio": str(done["audio"]),
        "rounding": rounding if np.isfinite(rounding) else None,
        "fits": bool(np.isfinite(rounding)),
        "bytes": shard.path.stat().st_size if stored else 0,
    }


def _save(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    with atomic(path, FIX, durable=True) as part, open(part, "wb") as file:
        write(file)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, sealed(content), FIX)
