"""Timing several ways to do the same work so that they can be compared: by turns, on the same inputs, in one process."""
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .cost import wait

Runner = Callable[[Any], Any]


@torch.no_grad()
def race(runners: Mapping[Hashable, Runner], units: Sequence[Any], rounds: int, device: str, what: str) -> dict[Hashable, np.ndarray]:
    """(rounds, units) seconds of each runner.

    On every unit all runners follow each other, nobody always first: they share the machine's moods, and a ratio of the
    same rounds means something where a ratio of two separate measurements does not.
    """
    from tqdm import tqdm
    names, seconds = list(runners), {name: np.zeros((rounds, len(units))) for name in runners}
    with tqdm(total=rounds * len(units) * len(names), desc=what, file=sys.stderr, unit="run", dynamic_ncols=True, mininterval=1) as bar:
        for turn in range(rounds):
            for n, unit in enumerate(units):
                first = (turn + n * (1 + len(names) // 2)) % len(names)
                for name in names[first:] + names[:first]:
                    wait(device)
                    start = time.perf_counter()
                    runners[name](unit)
                    wait(device)
                    seconds[name][turn, n] = time.perf_counter() - start
                    bar.update()
    return seconds


def middle(seconds: np.ndarray) -> np.ndarray:
    """(rounds, units, ...) -> (...): the median of every unit over the rounds, summed. A busy neighbour's moment spoils one unit, not a round."""
    return np.median(seconds, 0).sum(0)


class Stamps:
    """Times between marks, without holding up the device: events on a GPU, the clock elsewhere."""

    def __init__(self, device: str):
        self.cuda, self.marks = device.startswith("cuda"), []

    def mark(self) -> None:
        if self.cuda:
            self.marks.append(torch.cuda.Event(enable_timing=True))
            self.marks[-1].record()
        else:
            self.marks.append(time.perf_counter())

    def seconds(self) -> np.ndarray:
        """One less than marks were made."""
        wait("cuda" if self.cuda else "cpu")
        pairs = zip(self.marks[:-1], self.marks[1:], strict=True)
        return np.array([a.elapsed_time(b) / 1000 if self.cuda else b - a for a, b in pairs])


@torch.no_grad()
def peak_memory(runner: Runner, unit: Any, device: str) -> float | None:
    """MiB that one run takes at its peak beyond what is there before it; None where the system does not tell."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        runner(unit)
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    try:
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)                # what earlier runs freed would hide what this one takes
        Path("/proc/self/clear_refs").write_text("5")       # Linux: the peak starts anew at what is resident now
        before = _resident("VmRSS")
        runner(unit)
        return (_resident("VmHWM") - before) / 1024
    except (OSError, KeyError):
        return None


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[field].split()[0])


class Others:
    """How much of the machine's processors other programs took meanwhile: a timing beside a busy neighbour is no timing."""

    def __init__(self):
        self.start = self._now()

    def share(self) -> float | None:
        """0 to 1 since this object was made; None where the system does not tell."""
        if self.start is None:
            return None
        (busy, own, clock), (busy0, own0, clock0) = self._now(), self.start
        return max(0.0, (busy - busy0 - (own - own0)) / ((clock - clock0) * (os.cpu_count() or 1)))

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        try:
            user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
        except (OSError, ValueError):
            return None
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"), time.process_time(), time.perf_counter()
