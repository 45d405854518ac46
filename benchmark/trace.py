"""One full-depth pass over a split, kept: the states and the evidence of every depth, from which every exit is replayed.

Evidence is stored as computed (fp32), so a replayed exit is exactly the live one. States are stored in fp16 and widened
when read; the worst rounding error met is written in the manifest. Where the states would not fit, only the evidence is
kept and states are recomputed batch by batch, through the same `batch` call.
"""
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .contract import SAMPLE_RATE, Example, Item, Upstream
from .errors import MachineError, UsageError
from .paths import cache_dir

VERSION = 1             # of the files below; part of the key
BATCH_SECONDS = 60.0    # of audio, padding included, in one batch of the pass
SPARE = 2 * 2**30       # bytes of disk a trace must leave free


@dataclass(frozen=True)
class Batch:
    states: Tensor      # (L+1, B, T, D), zeros where padded
    frames: Tensor      # (B,)


class Trace:
    """What an upstream made of the items of one split, in their order."""

    def __init__(self, folder: Path, upstream: Upstream, items: Sequence[Item], load: Callable[[Item], Example], device: str):
        self.upstream, self.items, self.load, self.device = upstream, items, load, device
        self.frames: np.ndarray = np.load(folder / "frames.npy")                    # (n,)
        self.evidence: np.ndarray = np.load(folder / "evidence.npy")                # (n, L), nan where the upstream has none
        self.offsets = np.concatenate([[0], np.cumsum(self.frames)])
        states = folder / "states.npy"
        self.stored = np.load(states, mmap_mode="r") if states.exists() else None   # (sum of frames, L+1, D)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The states of some items, padded to the longest of them."""
        if self.stored is None:
            examples = [self.load(self.items[i]) for i in rows]
            with torch.no_grad():
                wavs, lengths = padded([e.wav for e in examples], self.device)
                return Batch(torch.stack(list(self.upstream.states(wavs, lengths))), self.upstream.frames(lengths).to(self.device))
        longest = int(max(self.frames[i] for i in rows))
        out = np.zeros((self.stored.shape[1], len(rows), longest, self.stored.shape[2]), np.float32)
        for b, i in enumerate(rows):
            own = self.stored[self.offsets[i]: self.offsets[i + 1]]                 # (T, L+1, D)
            out[:, b, : len(own)] = own.transpose(1, 0, 2)
        return Batch(torch.from_numpy(out).to(self.device), torch.from_numpy(self.frames[list(rows)]).to(self.device))


def padded(wavs: Sequence[Tensor], device: str) -> tuple[Tensor, Tensor]:
    """Waveforms of unequal length -> (B, N) with zeros behind, and (B,) samples, which stay on the host."""
    return torch.nn.utils.rnn.pad_sequence(list(wavs), batch_first=True).to(device), torch.tensor([len(w) for w in wavs])


def trace(upstream: Upstream, items: Sequence[Item], load: Callable[[Item], Example], what: str, device: str = "cpu") -> Trace:
    """The trace of `items`, from the cache or recorded now (progress and size on stderr)."""
    key = hashlib.sha256(json.dumps([VERSION, upstream.card.name, upstream.card.revision, upstream.card.evidence,
                                     [(i.id, i.samples, str(i.path), i.path.stat().st_size) for i in items]]).encode()).hexdigest()[:16]
    folder = cache_dir() / "traces" / key
    if not (folder / "manifest.json").exists():
        _record(folder, upstream, items, load, what, device)
    return Trace(folder, upstream, items, load, device)


def size(upstream: Upstream, items: Sequence[Item]) -> int:
    """Bytes the states of `items` take, known before anything runs."""
    frames = upstream.frames(torch.tensor([i.samples for i in items])).sum()
    return int(frames) * (upstream.card.depth + 1) * upstream.card.dim * 2


def _record(folder: Path, upstream: Upstream, items: Sequence[Item], load, what: str, device: str) -> None:
    """Write beside the final place and rename, so that a trace is whole or absent."""
    from tqdm import tqdm
    card, need = upstream.card, size(upstream, items)
    beside = folder.with_name(f"{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}.tmp")
    keep_states = shutil.disk_usage(cache_dir()).free - need > SPARE
    seconds = sum(i.samples for i in items) / SAMPLE_RATE
    print(f"{what}: {card.name} over {seconds / 60:.1f} min of audio, " + (
        f"{need / 2**20:.0f} MiB of states kept in {cache_dir()}" if keep_states else
        f"{need / 2**30:.1f} GiB of states would not fit in {cache_dir()}: they are recomputed for every batch"), file=sys.stderr)
    frames = upstream.frames(torch.tensor([i.samples for i in items])).numpy()
    offsets = np.concatenate([[0], np.cumsum(frames)])
    evidence = np.full((len(items), card.depth), np.nan, np.float32)
    error = 0.0
    try:
        beside.mkdir(parents=True)
        if keep_states:
            store = np.lib.format.open_memmap(beside / "states.npy", "w+", np.float16, (int(offsets[-1]), card.depth + 1, card.dim))
        with tqdm(total=round(seconds), desc=what, file=sys.stderr, unit="s", dynamic_ncols=True, mininterval=1) as bar:
            for rows in by_length(items):
                examples = [load(items[i]) for i in rows]
                for i, example in zip(rows, examples, strict=True):
                    if len(example.wav) != items[i].samples:
                        raise UsageError(f"{items[i].path}: {len(example.wav)} samples were read where its header promised "
                                         f"{items[i].samples}; the file changed or is truncated, replace it")
                wavs, lengths = padded([e.wav for e in examples], device)
                for depth, (state, own) in enumerate(_walk(upstream, wavs, lengths)):
                    if own is not None:
                        evidence[rows, depth - 1] = own.cpu().numpy()
                    if keep_states:
                        half = state.half()
                        error = max(error, float((half.float() - state).abs().max()))
                        for b, i in enumerate(rows):
                            store[offsets[i]: offsets[i + 1], depth] = half[b, : frames[i]].cpu().numpy()
                bar.update(round(sum(items[i].samples for i in rows) / SAMPLE_RATE))
        if keep_states:
            store.flush()
            if not np.isfinite(error):
                raise UsageError(f"{card.name}: its states do not fit in fp16, so no trace can be kept")
        np.save(beside / "frames.npy", frames)
        np.save(beside / "evidence.npy", evidence)
        (beside / "manifest.json").write_text(json.dumps({
            "version": VERSION, "upstream": card.name, "revision": card.revision, "evidence": card.evidence, "items": len(items),
            "seconds": seconds, "dtype": "float16" if keep_states else None, "largest_rounding_error": error}, indent=1) + "\n")
        if not folder.exists():
            beside.rename(folder)
    except OSError as failure:
        raise MachineError(f"the trace of {what} cannot be written to {beside.parent} ({failure.strerror or failure}); free some "
                           "space or point EARLYEXIT_SUPERB_CACHE to another folder, and repeat the command") from failure
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@torch.no_grad()
def _walk(upstream: Upstream, wavs: Tensor, lengths: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
    """(state, evidence or None) of every depth, nobody leaving."""
    frames, previous = upstream.frames(lengths).to(wavs.device), None
    for depth, state in enumerate(upstream.states(wavs, lengths)):
        yield state, upstream.evidence(depth, state, previous, frames) if depth and upstream.knob else None
        previous = state


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
