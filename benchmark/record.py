"""The pass that makes a trace: an upstream over every piece of audio, once, longest first, written shard by shard.

A shard is a plain .npy file, written from its beginning to its end (a mapped file would fill the memory with its pages),
renamed when it is whole, and followed by a small file with its evidence and hash. A killed pass goes on behind the last
whole shard; the manifest names the shards last of all.
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

import numpy as np
import torch
from torch import Tensor

from .contract import SAMPLE_RATE, Example, Item, Upstream
from .errors import MachineError, UsageError
from .exiting import layer_normed
from .paths import CACHE, atomic, clear_abandoned, write_text

BATCH_SECONDS = 60.0    # of audio, padding included, in one batch of the pass
SHARD_BYTES = 2**30     # of states in a shard, about; what a killed pass has to repeat
SPARE = 2 * 2**30       # bytes of disk that states must leave free
LEAST = 2**26           # bytes of disk without which not even the evidence is written
FIX = (f"free some space (run_benchmark.py cache ls) or point {CACHE} to another folder, and repeat "
       "the command: it goes on behind the last whole shard")


@dataclass(frozen=True)
class Recording:
    """What stays the same from shard to shard."""
    upstream: Upstream
    pieces: Sequence[Item]
    load: Callable[[Item], Example]
    device: str
    deepest: int
    pooled: bool

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of one row of a shard: of a frame, or of a whole piece where pooled."""
        return (2,) * self.pooled + (self.deepest + 1, self.upstream.card.dim)

    @cached_property
    def rows(self) -> np.ndarray:
        """(pieces,) how many rows each has."""
        frames = self.upstream.frames(torch.tensor([i.samples for i in self.pieces])).numpy()
        return np.ones_like(frames) if self.pooled else frames

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.row)) * (4 if self.pooled else 2)


def record(folder: Path, about: dict, upstream: Upstream, items: Sequence[Item], load: Callable[[Item], Example], what: str,
           device: str) -> None:
    """Make `folder` a trace of `items`, going on from what is there. The caller holds its lock."""
    from tqdm import tqdm
    job = Recording(upstream, pieces(items)[0], load, device, about["deepest"], about["pooled"])
    plan = list(_shards(job))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear_abandoned(folder, folder.with_suffix(".lock"))
        missing = [n for n, rows in enumerate(plan) if not _whole(folder, n, True)]
        keep = _announce(folder, job, what, sum(int(job.rows[list(chain(*plan[n]))].sum()) for n in missing) * job.row_bytes)
        _write_json(folder / "manifest.json", {"about": about, "what": what, "shards": None})
        with tqdm(total=_seconds(job.pieces), desc=what, file=sys.stderr, unit="s", dynamic_ncols=True, mininterval=1) as bar:
            for number, batches in enumerate(plan):
                if _whole(folder, number, keep):
                    bar.update(_seconds(job.pieces[i] for i in chain(*batches)))
                elif not _shard(folder, number, job, batches, keep, bar.update):
                    keep = False
                    print(f"{what}: some states are beyond fp16, so none are kept: they are recomputed for every batch", file=sys.stderr)
        _finish(folder, about, job, plan, what, keep)
    except OSError as failure:
        raise MachineError(f"the trace of {what} cannot be written to {folder} ({failure.strerror or failure}); free some space "
                           f"(run_benchmark.py cache ls) or point {CACHE} to another folder, and repeat the command") from failure


def pieces(items: Sequence[Item]) -> tuple[list[Item], list[int]]:
    """The different stretches of audio among `items`, and which of them each item is: nothing is heard twice."""
    places = [(i.path, i.start, i.samples) for i in items]
    number = {place: n for n, place in enumerate(dict.fromkeys(places))}
    first = dict(zip(reversed(places), reversed(items), strict=True))
    return [first[place] for place in number], [number[place] for place in places]


def size(upstream: Upstream, items: Sequence[Item], pooled: bool = False, deepest: int | None = None) -> int:
    """Bytes that the states of `items` take, known before anything runs."""
    job = Recording(upstream, pieces(items)[0], None, "cpu", upstream.card.depth if deepest is None else deepest, pooled)
    return int(job.rows.sum()) * job.row_bytes


def padded(wavs: Sequence[Tensor], device: str) -> tuple[Tensor, Tensor]:
    """Waveforms of unequal length -> (B, N) with zeros behind, and (B,) samples, which stay on the host."""
    return torch.nn.utils.rnn.pad_sequence(list(wavs), batch_first=True).to(device), torch.tensor([len(w) for w in wavs])


def means(state: Tensor, frames: Tensor) -> Tensor:
    """(B, T, D) and (B,) -> (2, B, D): the mean over each row's valid frames of the state as it is, and layer-normed."""
    outside = (torch.arange(state.shape[1], device=state.device) >= frames[:, None])[..., None]
    return torch.stack([s.masked_fill(outside, 0.0).sum(1) / frames[:, None] for s in (state, layer_normed(state))])


def by_length(items: Sequence[Item]) -> Iterator[list[int]]:
    """Row numbers in batches of similar length and at most BATCH_SECONDS, longest first: the first batch is the largest."""
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
    shard, held, rows = [], 0, job.rows
    for batch in by_length(job.pieces):
        shard.append(batch)
        held += int(rows[batch].sum()) * job.row_bytes
        if held >= SHARD_BYTES:
            yield shard
            shard, held = [], 0
    if shard:
        yield shard


def _announce(folder: Path, job: Recording, what: str, need: int) -> bool:
    """Say what will be written; whether states will be."""
    free = shutil.disk_usage(folder).free
    if free < LEAST:
        raise MachineError(f"{folder} has {free / 2**20:.0f} MiB left, too few for any trace; free some space (run_benchmark.py cache ls) "
                           f"or point {CACHE} to another folder")
    keep = free - need > SPARE
    print(f"{what}: {job.upstream.card.name} over {_seconds(job.pieces) / 60:.1f} min of audio, " + (
        f"{need / 2**20:.0f} MiB of states to be kept in {folder.parent}" if keep else
        f"{need / 2**30:.1f} GiB of states would not fit in {folder.parent}: they are recomputed for every batch"), file=sys.stderr)
    return keep


def _shard(folder: Path, number: int, job: Recording, batches: Sequence[Sequence[int]], keep: bool, tell: Callable[[int], None]) -> bool:
    """Write one shard and what belongs to it; False where a state does not fit in fp16, and then none are written."""
    order = list(chain(*batches))
    states = folder / f"{number:04d}.npy"
    digest, heard, error, evidence = hashlib.sha256(), hashlib.sha256(), 0.0, []
    dtype = np.float32 if job.pooled else np.float16
    with atomic(states, FIX, durable=True) as part, open(part, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False,
                                                    "shape": (int(job.rows[order].sum()), *job.row)})
        at = file.tell()
        for batch in batches:
            wavs = _heard(job, batch)
            block, unsure, worst = _passed(job, wavs, keep)
            for wav in wavs:
                heard.update(wav.numpy())
            for rows in block:
                file.write(rows.data)
                digest.update(rows.data)
            evidence.append(unsure)
            error = max(error, worst)
            tell(_seconds(job.pieces[i] for i in batch))
    if not (keep and np.isfinite(error)):
        states.unlink()
    with atomic(folder / f"{number:04d}.done.npz", FIX, durable=True) as part, open(part, "wb") as file:
        np.savez(file, evidence=np.concatenate(evidence), error=error, at=at, sha256=digest.hexdigest(), audio=heard.hexdigest())
    return bool(np.isfinite(error))


def _heard(job: Recording, batch: Sequence[int]) -> list[Tensor]:
    wavs = [job.load(job.pieces[i]).wav for i in batch]
    for i, wav in zip(batch, wavs, strict=True):
        if len(wav) != job.pieces[i].samples:
            raise UsageError(f"{job.pieces[i].path}: {len(wav)} samples were read where its header promised {job.pieces[i].samples}; "
                             "the file changed or is truncated, replace it")
    return wavs


@torch.no_grad()
def _passed(job: Recording, given: Sequence[Tensor], keep: bool) -> tuple[list[np.ndarray], np.ndarray, float]:
    """One batch through all depths, nobody leaving -> its rows piece by piece, (B, L) evidence, the largest rounding error."""
    up, (wavs, lengths) = job.upstream, padded(given, job.device)
    frames, previous, kept, error = up.frames(lengths).to(wavs.device), None, [], 0.0
    evidence = np.full((len(given), up.card.depth), np.nan, np.float32)
    for depth, state in enumerate(islice(up.states(wavs, lengths), job.deepest + 1)):
        if depth and up.knob:
            evidence[:, depth - 1] = up.evidence(depth, state, previous, frames).cpu().numpy()
        if keep and job.pooled:
            kept.append(means(state, frames).cpu())                                 # (2, B, D)
        elif keep:
            own = (torch.arange(state.shape[1], device=state.device) < frames[:, None])[..., None]
            half = state.half()
            error = max(error, float(torch.where(own, half.float() - state, 0).abs().max()))
            kept.append(half.cpu())                                                 # (B, T, D)
        previous = state
    if not keep:
        return [], evidence, error
    if job.pooled:
        return list(torch.stack(kept, 2).permute(1, 0, 2, 3).contiguous().numpy()[:, None]), evidence, error
    return [torch.stack([k[b, :n] for k in kept], 1).numpy() for b, n in enumerate(frames.tolist())], evidence, error


def _whole(folder: Path, number: int, keep: bool) -> bool:
    return (folder / f"{number:04d}.done.npz").exists() and ((folder / f"{number:04d}.npy").exists() or not keep)


def _finish(folder: Path, about: dict, job: Recording, plan: Sequence[Sequence[Sequence[int]]], what: str, keep: bool) -> None:
    """Put together what the shards left, and last of all name them in the manifest."""
    index, shards, rows = np.zeros((len(job.pieces), 3), np.int64), [], job.rows
    evidence = np.full((len(job.pieces), job.upstream.card.depth), np.nan, np.float32)
    for number, batches in enumerate(plan):
        order, path = list(chain(*batches)), folder / f"{number:04d}.npy"
        first = np.concatenate([[0], np.cumsum(rows[order])[:-1]])
        index[order] = np.stack([np.full(len(order), number), first, rows[order]], 1)
        with np.load(folder / f"{number:04d}.done.npz") as done:
            evidence[order] = done["evidence"]
            shards.append({"file": path.name, "at": int(done["at"]), "sha256": str(done["sha256"]), "audio": str(done["audio"]),
                           "rounding": float(done["error"]) if keep else None, "bytes": path.stat().st_size if keep else 0})
        if not keep:
            path.unlink(missing_ok=True)
    for name, array in (("index.npy", index), ("evidence.npy", evidence)):
        with atomic(folder / name, FIX, durable=True) as part, open(part, "wb") as file:
            np.save(file, array)
    _write_json(folder / "manifest.json", {
        "about": about, "what": what, "kept": keep, "row": job.row, "seconds": _seconds(job.pieces), "pieces": len(job.pieces),
        "largest_rounding_error": max(s["rounding"] for s in shards) if keep else None, "shards": shards})
    for done in folder.glob("*.done.npz"):
        done.unlink()


def _seconds(items: Iterable[Item]) -> int:
    return round(sum(i.samples for i in items) / SAMPLE_RATE)


def _write_json(path: Path, content: dict) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n", FIX)
