"""The pass that makes a trace: an upstream over every piece of audio, once, longest first,
written shard by shard.

A shard is a plain .npy file, written from its beginning to its end (a mapped file would fill the
memory with its pages), renamed when it is whole, and followed by a small file with its evidence and
hash. A killed pass goes on behind the last whole shard; the manifest names the shards last of all.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..contract import SAMPLE_RATE, Example, Item, Upstream
from ..errors import MachineError, UsageError
from ..exiting import evidence_at, layer_normed, leaving
from ..masking import masked_mean, valid_mask
from ..storage import CACHE, atomic, clear_abandoned, write_text

BATCH_SECONDS = 60.0  # of audio, padding included, in one batch of the pass
SHARD_BYTES = 2**30  # of states in a shard, about; what a killed pass has to repeat
SHARD_SECONDS = 3600  # of audio in a shard without states
SPARE = 2 * 2**30  # bytes of disk that states must leave free
LEAST = 2**26  # bytes of disk without which not even the evidence is written
FIX = (
    f"free some space (run_benchmark.py cache ls) or point {CACHE} to another folder, and repeat "
    "the command: it goes on behind the last whole shard"
)


@dataclass(frozen=True)
class Recording:
    """What stays the same from shard to shard.

    Attributes:
        keep: beside the evidence of every exit: the "states" of every depth, their "means" over
            time alone, the "answers" at every depth that can be left at, or nothing ("evidence").
    """

    upstream: Upstream
    pieces: Sequence[Item]
    load: Callable[[Item], Example]
    device: str
    deepest: int
    keep: str

    @property
    def stacked(self) -> bool:
        """Whether rows of one shape are kept, in one plain array a shard."""
        return self.keep in ("states", "means")

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of one row of a shard: of a frame, or of a whole piece where means are kept."""
        return (2,) * (self.keep == "means") + (self.deepest + 1, self.upstream.card.dim)

    @cached_property
    def rows(self) -> np.ndarray:
        """(pieces,) how many rows each has."""
        frames = self.upstream.frames(torch.tensor([i.samples for i in self.pieces])).numpy()
        return np.ones_like(frames) if self.keep == "means" else frames

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32 if self.keep == "means" else np.float16)

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.row)) * self.dtype.itemsize if self.stacked else 0


def extract(
    folder: Path,
    about: dict,
    upstream: Upstream,
    items: Sequence[Item],
    load: Callable[[Item], Example],
    what: str,
    device: str,
) -> None:
    """Make `folder` a trace of `items`, going on from what is there. The caller holds its lock."""
    from tqdm import tqdm

    job = Recording(upstream, pieces(items)[0], load, device, about["deepest"], about["keep"])
    plan = list(_shards(job))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear_abandoned(folder, folder.with_suffix(".lock"))
        missing = [n for n, rows in enumerate(plan) if not _whole(folder, n, job, True)]
        keep = _announce(
            folder,
            job,
            what,
            sum(int(job.rows[list(chain(*plan[n]))].sum()) for n in missing) * job.row_bytes,
        )
        _write_json(folder / "manifest.json", {"about": about, "what": what, "shards": None})
        with tqdm(
            total=_seconds(job.pieces),
            desc=what,
            file=sys.stderr,
            unit="s",
            dynamic_ncols=True,
            mininterval=1,
        ) as bar:
            for number, batches in enumerate(plan):
                if _whole(folder, number, job, keep):
                    bar.update(_seconds(job.pieces[i] for i in chain(*batches)))
                elif not _shard(folder, number, job, batches, keep, bar.update):
                    keep = False
                    print(
                        (
                            f"{what}: states overflow fp16, so none are kept; they are recomputed "
                            "for every batch"
                        ),
                        file=sys.stderr,
                    )
        _finish(folder, about, job, plan, what, keep)
    except OSError as failure:
        raise MachineError(
            f"the trace of {what} cannot be written to {folder} ({failure.strerror or failure}); "
            f"free some space (run_benchmark.py cache ls) or point {CACHE} to another folder, and "
            "repeat the command"
        ) from failure


def pieces(items: Sequence[Item]) -> tuple[list[Item], list[int]]:
    """The different stretches of audio among `items`, and which of them each item is:
    nothing is heard twice.
    """
    places = [(i.path, i.start, i.samples) for i in items]
    number = {place: n for n, place in enumerate(dict.fromkeys(places))}
    first = dict(zip(reversed(places), reversed(items), strict=True))
    return [first[place] for place in number], [number[place] for place in places]


def size(upstream: Upstream, items: Sequence[Item], keep: str = "states") -> int:
    """Bytes that what is kept of `items` takes, known before anything runs; 0 for answers."""
    job = Recording(upstream, pieces(items)[0], None, "cpu", upstream.card.depth, keep)
    return int(job.rows.sum()) * job.row_bytes


def padded(wavs: Sequence[Tensor], device: str) -> tuple[Tensor, Tensor]:
    """Waveforms of unequal length -> (B, N) with zeros behind, and (B,) samples, which stay on the
    host.
    """
    return torch.nn.utils.rnn.pad_sequence(list(wavs), batch_first=True).to(device), torch.tensor(
        [len(w) for w in wavs]
    )


def means(state: Tensor, frames: Tensor) -> Tensor:
    """(B, T, D) and (B,) -> (2, B, D): the masked mean of the state as it is, and layer-normed."""
    return torch.stack([masked_mean(s, frames) for s in (state, layer_normed(state))])


def by_length(items: Sequence[Item]) -> Iterator[list[int]]:
    """Row numbers in batches of similar length and at most BATCH_SECONDS, longest first: the first
    batch is the largest.
    """
    rows: list[int] = []
    for i in sorted(range(len(items)), key=lambda i: -items[i].samples):
        if rows and (len(rows) + 1) * items[rows[0]].samples > BATCH_SECONDS * SAMPLE_RATE:
            yield rows
            rows = []
        rows.append(i)
    if rows:
        yield rows


def _shards(job: Recording) -> Iterator[list[list[int]]]:
    """The batches of the pass, a shard full at a time."""
    shard, full, rows = [], 0.0, job.rows
    for batch in by_length(job.pieces):
        shard.append(batch)
        full += int(rows[batch].sum()) * job.row_bytes / SHARD_BYTES
        full += _seconds(job.pieces[i] for i in batch) / SHARD_SECONDS * (not job.stacked)
        if full >= 1:
            yield shard
            shard, full = [], 0.0
    if shard:
        yield shard


def _announce(folder: Path, job: Recording, what: str, need: int) -> bool:
    """Say what will be written; whether there is room for more than the evidence."""
    free = shutil.disk_usage(folder).free
    if free < LEAST:
        raise MachineError(
            f"{folder} has {free / 2**20:.0f} MiB left, too few for any trace; free some space "
            f"(run_benchmark.py cache ls) or point {CACHE} to another folder"
        )
    keep = job.keep == "answers" or (job.stacked and free - need > SPARE)
    minutes = _seconds(job.pieces) / 60
    told = (
        f"its {job.keep} to be kept in {folder.parent}"
        if not job.stacked
        else f"{need / 2**20:.0f} MiB of states to be kept in {folder.parent}"
        if keep
        else (
            f"{need / 2**30:.1f} GiB of states would not fit in {folder.parent}: they are "
            "recomputed for every batch"
        )
    )
    print(
        f"{what}: {job.upstream.card.name} over {minutes:.1f} min of audio, {told}", file=sys.stderr
    )
    return keep


@dataclass
class Passed:
    """What one batch left: rows piece by piece, evidence, the largest rounding error, and
    answers.
    """

    rows: list[np.ndarray]
    evidence: np.ndarray  # (B, E)
    error: float
    answers: dict[str, np.ndarray]  # "<piece>.<depth>" -> an answer as it was given


def _shard(
    folder: Path,
    number: int,
    job: Recording,
    batches: Sequence[Sequence[int]],
    keep: bool,
    tell: Callable[[int], None],
) -> bool:
    """Write one shard and what belongs to it; False where a state does not fit in fp16, and
    then none are written.
    """
    order = list(chain(*batches))
    digest, heard, error, evidence, answers = hashlib.sha256(), hashlib.sha256(), 0.0, [], {}
    file_of = _file(folder, number, job)
    with atomic(file_of, FIX, durable=True) as part, open(part, "wb") as file:
        at = _header(file, job, order)
        for batch in batches:
            wavs = _heard(job, batch)
            passed = _passed(job, batch, wavs, keep)
            for wav in wavs:
                heard.update(wav.numpy())
            for rows in passed.rows:
                file.write(rows.data)
                digest.update(rows.data)
            evidence.append(passed.evidence)
            answers |= passed.answers
            error = max(error, passed.error)
            tell(_seconds(job.pieces[i] for i in batch))
        if job.keep == "answers":
            np.savez(file, **answers)
    if job.keep == "answers":
        digest.update(file_of.read_bytes())
    if not (keep and np.isfinite(error)):
        file_of.unlink()
    with (
        atomic(folder / f"{number:04d}.done.npz", FIX, durable=True) as part,
        open(part, "wb") as file,
    ):
        np.savez(
            file,
            evidence=np.concatenate(evidence),
            error=error,
            at=at,
            sha256=digest.hexdigest(),
            audio=heard.hexdigest(),
        )
    return bool(np.isfinite(error))


def _file(folder: Path, number: int, job: Recording) -> Path:
    return folder / f"{number:04d}.{'npz' if job.keep == 'answers' else 'npy'}"


def _header(file: Any, job: Recording, order: Sequence[int]) -> int:
    """Begin a plain .npy of all rows to come; where they begin."""
    if not job.stacked:
        return 0
    shape = (int(job.rows[list(order)].sum()), *job.row)
    descr = np.lib.format.dtype_to_descr(job.dtype)
    np.lib.format.write_array_header_1_0(
        file, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return file.tell()


def _heard(job: Recording, batch: Sequence[int]) -> list[Tensor]:
    wavs = [job.load(job.pieces[i]).wav for i in batch]
    for i, wav in zip(batch, wavs, strict=True):
        if len(wav) != job.pieces[i].samples:
            raise UsageError(
                f"{job.pieces[i].path}: {len(wav)} samples were read where its header promised "
                f"{job.pieces[i].samples}; the file changed or is truncated, replace it"
            )
    return wavs


@torch.no_grad()
def _passed(job: Recording, batch: Sequence[int], given: Sequence[Tensor], keep: bool) -> Passed:
    """One batch through all depths, nobody leaving."""
    up, (wavs, lengths) = job.upstream, padded(given, job.device)
    frames, previous, kept, error, answers = up.frames(lengths).to(wavs.device), None, [], 0.0, {}
    evidence = np.full((len(given), len(up.exits)), np.nan, np.float32)
    answered = set(leaving(up)) if job.keep == "answers" else set()
    tested = set(up.exits) if up.knob else set()
    for depth, state in enumerate(islice(up.states(wavs, lengths), job.deepest + 1)):
        answer = None
        if depth in answered or (depth in tested and up.evidence_reads_answer):
            answer = up.answer(depth, state, frames)
        if depth in tested:
            found = evidence_at(up, depth, state, previous, frames, answer)
            evidence[:, up.exits.index(depth)] = found.cpu().numpy()
        if depth in answered:
            answers |= {f"{i}.{depth}": a.cpu().numpy() for i, a in zip(batch, answer, strict=True)}
        if keep and job.keep == "means":
            kept.append(means(state, frames).cpu())  # (2, B, D)
        elif keep and job.keep == "states":
            half = state.half()
            own = valid_mask(frames, state.shape[1])[..., None]
            error = max(error, float(torch.where(own, half.float() - state, 0).abs().max()))
            kept.append(half.cpu())  # (B, T, D)
        previous = state
    return Passed(_rows(job, kept, frames), evidence, error, answers)


def _rows(job: Recording, kept: Sequence[Tensor], frames: Tensor) -> list[np.ndarray]:
    """A piece's rows together: (1, 2, depths, D) of means, (T, depths, D) of states."""
    if not kept:
        return []
    if job.keep == "means":
        return list(torch.stack(list(kept), 2).permute(1, 0, 2, 3).contiguous().numpy()[:, None])
    return [torch.stack([k[b, :n] for k in kept], 1).numpy() for b, n in enumerate(frames.tolist())]


def _whole(folder: Path, number: int, job: Recording, keep: bool) -> bool:
    """Whether a shard is done, and its rows or answers are there where they are to be kept."""
    return (folder / f"{number:04d}.done.npz").exists() and (
        _file(folder, number, job).exists() or not keep or job.keep == "evidence"
    )


def _finish(
    folder: Path,
    about: dict,
    job: Recording,
    plan: Sequence[Sequence[Sequence[int]]],
    what: str,
    keep: bool,
) -> None:
    """Put together what the shards left, and last of all name them in the manifest."""
    index, shards, rows = np.zeros((len(job.pieces), 3), np.int64), [], job.rows
    evidence = np.full((len(job.pieces), len(job.upstream.exits)), np.nan, np.float32)
    for number, batches in enumerate(plan):
        order, path = list(chain(*batches)), _file(folder, number, job)
        first = np.concatenate([[0], np.cumsum(rows[order])[:-1]])
        index[order] = np.stack([np.full(len(order), number), first, rows[order]], 1)
        with np.load(folder / f"{number:04d}.done.npz") as done:
            evidence[order] = done["evidence"]
            shards.append(
                {
                    "file": path.name,
                    "at": int(done["at"]),
                    "sha256": str(done["sha256"]),
                    "audio": str(done["audio"]),
                    "rounding": float(done["error"]) if keep else None,
                    "bytes": path.stat().st_size if keep else 0,
                }
            )
        if not keep:
            path.unlink(missing_ok=True)
    for name, array in (("index.npy", index), ("evidence.npy", evidence)):
        with atomic(folder / name, FIX, durable=True) as part, open(part, "wb") as file:
            np.save(file, array)
    _write_json(
        folder / "manifest.json",
        {
            "about": about,
            "what": what,
            "kept": keep,
            "row": job.row,
            "seconds": _seconds(job.pieces),
            "pieces": len(job.pieces),
            "largest_rounding_error": max(s["rounding"] for s in shards) if keep else None,
            "shards": shards,
        },
    )
    for done in folder.glob("*.done.npz"):
        done.unlink()


def _seconds(items: Iterable[Item]) -> int:
    return round(sum(i.samples for i in items) / SAMPLE_RATE)


def _write_json(path: Path, content: dict) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n", FIX)
