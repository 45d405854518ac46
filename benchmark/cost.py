"""What a run of exits costs: multiply-accumulates, counted, and seconds, measured. They are never mixed."""
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .contract import SAMPLE_RATE, Example, Item, Upstream
from .exiting import Exit, run_until_exit

PASSES = 3      # over what is timed; the median counts
TIMED = 32      # utterances of the test split, at most: every exit is run live on each of them


def macs(upstream: Upstream, items: Sequence[Item], depth: np.ndarray, exit: Exit) -> int:
    """Multiply-accumulates of the upstream over `items` that left at `depth`, every branch tested on the way included."""
    total = 0
    for item, left in zip(items, depth.tolist(), strict=True):
        total += upstream.macs(item.samples, left)
        total += sum(upstream.evidence_macs(item.samples, k) for k in exit.tested if k <= left)
    return total


def timed(items: Sequence[Item]) -> list[Item]:
    """At most TIMED of the items, at even steps of their lengths, in their old order."""
    order = sorted(range(len(items)), key=lambda i: (items[i].samples, i))
    count = min(TIMED, len(order))
    return [items[i] for i in sorted(order[int((n + 0.5) * len(order) / count)] for n in range(count))]


@dataclass(frozen=True)
class Timing:
    """Seconds of the upstream alone over what was timed, batch 1, a pass each."""
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def seconds(upstream: Upstream, items: Sequence[Item], load: Callable[[Item], Example], exits: Mapping[str, Exit],
            device: str = "cpu", passes: int = PASSES) -> dict[str, Timing]:
    """Time live early-stopped runs, all `exits` by turns on each utterance, so that they share the machine's moods."""
    from tqdm import tqdm
    spent: dict[str, list[float]] = {name: [0.0] * passes for name in exits}
    warm = load(max(items, key=lambda i: i.samples)).wav[None].to(device)
    for exit in exits.values():
        run_until_exit(upstream, warm, torch.tensor([warm.shape[1]]), exit)
    with tqdm(total=passes * len(items), desc="timing, batch 1", file=sys.stderr, unit="utt", dynamic_ncols=True, mininterval=1) as bar:
        for turn in range(passes):
            for n, item in enumerate(items):
                wav = load(item).wav[None].to(device)
                length = torch.tensor([wav.shape[1]])
                order = list(exits.items())
                for name, exit in order[n % len(order):] + order[: n % len(order)]:    # nobody is always the first
                    wait(device)
                    start = time.perf_counter()
                    run_until_exit(upstream, wav, length, exit)
                    wait(device)
                    spent[name][turn] += time.perf_counter() - start
                bar.update()
    return {name: Timing(tuple(s)) for name, s in spent.items()}


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def machine(device: str = "cpu") -> str:
    """The device as a row names it; seconds mean something only beside it."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"cpu, {torch.get_num_threads()} threads of {os.cpu_count()}, {_cpu_name()}"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def audio_seconds(items: Sequence[Item]) -> float:
    return sum(i.samples for i in items) / SAMPLE_RATE
