"""The pass that fills a feature cache: an upstream over every piece of audio, once, longest first,
written shard by shard.

A pass that was killed resumes behind the last complete shard.
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..asking import Before
from ..contract import Example, Item, Upstream
from ..errors import MachineError, UsageError
from ..exiting import leaving
from ..heartbeat import Heartbeat
from ..masking import valid_mask
from ..storage import CACHE, clear_abandoned
from .cache_layout import Layout, means, padded, pieces
from .cache_repair import prepare
from .promises import Promises
from .shards import Extracted, Shard, begin_manifest, finish
from .threads import one_thread, small

SPARE = 2 * 2**30  # bytes of disk that states must leave free
LEAST = 2**26  # bytes of disk without which not even the evidence is written


@dataclass(frozen=True)
class Extraction:
    """What stays the same from shard to shard."""

    layout: Layout
    load: Callable[[Item], Example]
    device: str
    folder: Path
    what: str  # for people, as in "se train"


def extract(
    folder: Path,
    about: dict[str, Any],
    upstream: Upstream,
    items: Sequence[Item],
    load: Callable[[Item], Example],
    what: str,
    device: str,
) -> None:
    """Make `folder` a feature cache of `items`, resuming from what is there undamaged.

    The caller holds the lock of `folder`.

    Args:
        about: all that the numbers depend on; see cache_key.about.
        what: for people, as in "se train".

    Raises:
        MachineError: the disk is full or cannot be written.
        UsageError: an audio file has another length than its header said.
    """
    samples = torch.tensor([piece.samples for piece in pieces(items)[0]])
    Promises(upstream, thorough=True).frames(samples)  # the layout is made of them
    layout = Layout(upstream, pieces(items)[0], about["deepest"], about["keep"])
    job = Extraction(layout, load, device, folder, what)
    shards = [Shard(folder, layout, n, batches) for n, batches in enumerate(layout.shards())]
    try:
        there = prepare(folder, about, what, shards)
        clear_abandoned(folder, folder.with_suffix(".lock"))
        stored = _announce(job, [shard for shard in shards if shard.number not in there])
        begin_manifest(folder, about, what)
        with one_thread(device, small(upstream)):
            stored = _write_all(job, shards, there, stored)
        finish(folder, about, what, shards, stored)
    except OSError as failure:
        raise MachineError(
            f"the feature cache of {what} cannot be written to {folder} "
            f"({failure.strerror or failure}); free some space (run_benchmark.py cache ls) or "
            f"point {CACHE} to another folder, and repeat the command"
        ) from failure


def _announce(job: Extraction, missing: Sequence[Shard]) -> bool:
    """Say what will be written; returns whether there is room for more than the evidence."""
    layout, root = job.layout, job.folder.parent
    free = shutil.disk_usage(job.folder).free
    if free < LEAST:
        raise MachineError(
            f"{job.folder} has {free / 2**20:.0f} MiB left, too few for any feature cache; free "
            f"some space (run_benchmark.py cache ls) or point {CACHE} to another folder"
        )
    need = sum(layout.bytes_of(shard.pieces) for shard in missing)
    fits = free - need > SPARE
    if not layout.has_rows:
        plan = f"its {layout.keep} stored in {root}"
    elif fits:
        plan = f"{need / 2**20:.0f} MiB of states stored in {root}"
    else:
        plan = f"{need / 2**30:.1f} GiB of states do not fit in {root}: recomputed for every batch"
    minutes = layout.seconds_of(range(len(layout.pieces))) / 60
    name = layout.upstream.card.name
    print(f"{job.what}: {name} over {minutes:.1f} min of audio, {plan}", file=sys.stderr)
    return layout.keep == "answers" or (layout.has_rows and fits)


def _write_all(job: Extraction, shards: Sequence[Shard], there: set[int], stored: bool) -> bool:
    """Write what is missing of the shards; returns whether their rows or answers are stored.

    Args:
        there: those that are complete with their rows or answers.
    """
    from tqdm import tqdm

    layout = job.layout
    total = layout.seconds_of(range(len(layout.pieces)))
    style: dict[str, Any] = {"unit": "s", "dynamic_ncols": True, "mininterval": 1}
    alive = Heartbeat(f"{job.what}: {layout.upstream.card.name}")
    with tqdm(total=total, desc=job.what, file=sys.stderr, **style) as bar, alive:

        def progress(batch: Sequence[int]) -> None:
            bar.update(layout.seconds_of(batch))

        for shard in shards:
            if shard.number in there or (not stored and shard.complete(stored)):
                progress(shard.pieces)
            elif not shard.write(_batches(job, shard, stored, alive, progress), stored) and stored:
                stored = False
                print(
                    f"{job.what}: states overflow fp16; recomputed for every batch", file=sys.stderr
                )
    return stored


def _batches(
    job: Extraction,
    shard: Shard,
    stored: bool,
    alive: Heartbeat,
    progress: Callable[[Sequence[int]], None],
) -> Iterator[Extracted]:
    for number, batch in enumerate(shard.batches):
        alive.step(f"{len(batch)} utterances of {job.layout.seconds_of(batch)} s in all")
        promises = Promises(job.layout.upstream, thorough=number == 0)
        yield _forward(job, batch, _read(job, batch), stored, promises)
        progress(batch)


def _read(job: Extraction, batch: Sequence[int]) -> list[Tensor]:
    """The (N,) waveforms of some pieces."""
    wavs = []
    for i in batch:
        piece = job.layout.pieces[i]
        wav = job.load(piece).wav
        if len(wav) != piece.samples:
            raise UsageError(
                f"{piece.path}: {len(wav)} samples were read where its header promised "
                f"{piece.samples}; the file changed or is truncated, replace it"
            )
        wavs.append(wav)
    return wavs


@torch.no_grad()
def _forward(
    job: Extraction,
    batch: Sequence[int],
    wavs: Sequence[Tensor],
    stored: bool,
    promises: Promises,
) -> Extracted:
    """One batch through all depths; no utterance exits."""
    up, keep = job.layout.upstream, job.layout.keep
    audio, lengths = padded(wavs, job.device)
    frames = promises.frames(lengths).to(audio.device)
    tested = set(up.exits) if up.knob else set()
    answered = set(leaving(up)) if keep == "answers" else set()
    evidence = np.full((len(wavs), len(up.exits)), np.nan, np.float32)
    answers: dict[str, np.ndarray] = {}
    saved: list[Tensor] = []
    rounding, before = 0.0, Before(up)
    for depth, state in promises.states(audio, lengths, frames, job.layout.deepest):
        answer = None
        if depth in answered or (depth in tested and up.evidence_reads_answer):
            answer = promises.answer(depth, state, frames)
        if depth in tested:
            measured = promises.evidence(depth, state, before.state, frames, answer)
            evidence[:, up.exits.index(depth)] = measured.float().cpu().numpy()
        if depth in answered:
            for i, one in zip(batch, answer, strict=True):
                answers[f"{i}.{depth}"] = one.cpu().numpy()
        if stored and keep == "means":
            saved.append(means(state, frames).cpu())  # (2, B, D)
        elif keep == "states":
            half = state.half()
            rounding = max(rounding, _rounding(state, half, frames))
            if stored:
                saved.append(half.cpu())  # (B, T, D)
        before.passed(depth, state)
    promises.settle()
    return Extracted(wavs, _rows(keep, saved, frames), evidence, rounding, answers)


def _rounding(state: Tensor, half: Tensor, frames: Tensor) -> float:
    """The largest difference that fp16 makes on valid frames."""
    valid = valid_mask(frames, state.shape[1])[..., None]
    return float(torch.where(valid, half.float() - state, 0).abs().max())


def _rows(keep: str, saved: Sequence[Tensor], frames: Tensor) -> list[np.ndarray]:
    """Each piece's rows: (1, 2, depths, D) of means, (T, depths, D) of states."""
    if not saved:
        return []
    if keep == "means":
        by_piece = torch.stack(list(saved), 2).permute(1, 0, 2, 3)  # (B, 2, depths, D)
        return list(by_piece.contiguous().numpy()[:, None])
    return [
        torch.stack([state[b, :count] for state in saved], 1).numpy()
        for b, count in enumerate(frames.tolist())
    ]
