"""What a run of exits costs: multiply-accumulates, counted; seconds and memory, measured. They are
reported side by side and never mixed. (Parameters: parameters.py.)"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..contract import SAMPLE_RATE, Example, Item, Upstream
from ..exiting import Exit, run_until_exit
from . import timing

PASSES = 3  # over the timed utterances
TIMED = 32  # utterances of the test split, at most: every exit is run live on each of them


def audio_seconds(items: Iterable[Item]) -> float:
    return sum(i.samples for i in items) / SAMPLE_RATE


def timed_rows(items: Sequence[Item]) -> list[int]:
    """Which of the items are timed: at most TIMED, at even steps of their lengths, in order."""
    order = sorted(range(len(items)), key=lambda i: (items[i].samples, i))
    count = min(TIMED, len(order))
    return sorted(order[int((n + 0.5) * len(order) / count)] for n in range(count))


def timed(items: Sequence[Item]) -> list[Item]:
    return [items[i] for i in timed_rows(items)]


# ---- counted -------------------------------------------------------------------------------------


def macs(
    upstream: Upstream,
    items: Sequence[Item],
    depth: np.ndarray,
    exit: Exit,
    answers: bool = False,
) -> int:
    """Multiply-accumulates of the upstream over `items`, every branch tested included.

    Args:
        depth: (n,) where each item left.
        answers: the upstream answers the task by itself, at the depth where an item left.
    """
    pairs = zip(items, depth.tolist(), strict=True)
    return sum(_macs(upstream, item.samples, left, exit, answers) for item, left in pairs)


def macs_by_depth(
    upstream: Upstream, items: Sequence[Item], exit: Exit, answers: bool = False
) -> dict[int, np.ndarray]:
    """Depth -> (n,) multiply-accumulates of each item if it left there, for each depth of `exit`;
    see `macs`."""
    of = cache(partial(_macs, upstream, exit=exit, answers=answers))
    return {
        k: np.array([of(item.samples, k) for item in items], dtype=np.float64) for k in exit.depths
    }


def _macs(upstream: Upstream, samples: int, left: int, exit: Exit, answers: bool) -> int:
    tested = [k for k in exit.tested if k <= left]
    answered = set(tested) if upstream.evidence_reads_answer else set()
    answered |= {left} if answers else set()
    total = upstream.macs(samples, left)
    total += sum(upstream.evidence_macs(samples, k) for k in tested)
    total += upstream.decode_macs(samples, left) if answers else 0
    return total + sum(upstream.answer_macs(samples, k) for k in answered)


def expected_macs(
    upstream: Upstream, items: Sequence[Item], shares: Mapping[int, float], answers: bool = False
) -> float:
    """The same of items that leave at depth k with probability shares[k], whoever they are, and
    without a test of any branch.
    """
    return sum(
        share * macs(upstream, items, np.full(len(items), k), Exit((k,)), answers)
        for k, share in shares.items()
    )


# ---- measured ------------------------------------------------------------------------------------


def seconds(
    upstream: Upstream,
    items: Sequence[Item],
    load: Callable[[Item], Example],
    exits: Mapping[str, Exit],
    device: str = "cpu",
    passes: int = PASSES,
    answers: str = "",
) -> dict[str, np.ndarray]:
    """Seconds of live early-stopped runs at batch 1, all exits by turns on each utterance.

    Args:
        answers: the task, where the upstream answers it by itself. A search for the words of an
            answer (`decode_macs`) is timed, too.
    Returns: (passes, utterances) for each exit; the upstream alone, no reading of audio.
    """
    wavs = [load(item).wav[None].to(device) for item in items]
    runners = {name: partial(_live, upstream, exit, answers) for name, exit in exits.items()}
    longest = max(wavs, key=lambda w: w.shape[1])
    return timing.paired(runners, wavs, passes, device, "timing, batch 1", longest)


def peak_memory(
    upstream: Upstream,
    items: Sequence[Item],
    load: Callable[[Item], Example],
    exit: Exit,
    device: str = "cpu",
    answers: str = "",
) -> float | None:
    """MiB beyond the weights that a live run takes at batch 1 on the longest of `items`.

    Returns: None where the system does not tell.
    """
    wav = load(max(items, key=lambda i: i.samples)).wav[None].to(device)
    return timing.peak_memory(partial(_live, upstream, exit, answers), wav, device)


def _live(upstream: Upstream, exit: Exit, task: str, wav: Tensor) -> None:
    samples = wav.shape[1]
    left = run_until_exit(upstream, wav, torch.tensor([samples]), exit, answer=bool(task))
    if task and upstream.decode_macs(samples, int(left.depth[0])):
        upstream.decode(left.answers[0], task)


class Saved(NamedTuple):
    """Percent of the time, over the passes: the median and the quartiles."""

    median: float
    low: float
    high: float


def saved(full: np.ndarray, taken: np.ndarray) -> Saved:
    """What an exit saves against a full run, from the ratio of the two within each pass.

    Args:
        full, taken: (passes, utterances) seconds, of the same call of `seconds`.
    """
    percent = 100 * (1 - taken.sum(1) / full.sum(1))
    low, median, high = np.percentile(percent, (25, 50, 75)).tolist()
    return Saved(median, low, high)


def rtfx(items: Sequence[Item], taken: np.ndarray) -> float:
    """Seconds of audio for each second of the upstream, the median over passes: higher is faster.

    Args:
        items: the utterances timed; taken: (passes, utterances) seconds.
    """
    return float(audio_seconds(items) / np.median(taken.sum(1)))
