"""The one timing loop: several ways to do the same work, timed by turns on the same inputs.

A ratio of two measurements means something only where both met the same load: on every input all
runners follow each other, and none is always the first. What a timing depends on beside the work
(the machine, other programs on it) and what a run takes in memory are read here, too.
"""

import contextlib
import ctypes
import os
import platform
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

Unit = TypeVar("Unit")
Name = TypeVar("Name", bound=Hashable)


def paired(
    runners: Mapping[Name, Callable[[Unit], object]],
    units: Sequence[Unit],
    rounds: int,
    device: str,
    what: str = "",
    warm_up: Unit | None = None,
) -> dict[Name, np.ndarray]:
    """Seconds of every runner on every unit, by turns.

    Args:
        runners: what is timed, each called with one unit at a time.
        units: the inputs, already where the runners want them; loading is not timed.
        rounds: how often all units are gone through.
        device: is waited for before each reading of the clock.
        what: the title of a progress bar on stderr; "" for none.
        warm_up: a unit that each runner sees once before anything counts; default: the first.
            The largest serves best, since memory is then there.

    Returns: (rounds, units) seconds for each runner.
    """
    from tqdm import tqdm

    names = list(runners)
    seconds = {name: np.zeros((rounds, len(units))) for name in names}
    for runner in runners.values():
        runner(units[0] if warm_up is None else warm_up)
    with tqdm(
        total=rounds * len(units) * len(names),
        desc=what,
        file=sys.stderr,
        unit="run",
        dynamic_ncols=True,
        mininterval=1,
        disable=not what,
    ) as bar:
        for turn in range(rounds):
            for n, unit in enumerate(units):
                first = (turn + n * (1 + len(names) // 2)) % len(names)
                for name in names[first:] + names[:first]:
                    seconds[name][turn, n] = _seconds(runners[name], unit, device)
                    bar.update()
    return seconds


def _seconds(runner: Callable[[Unit], object], unit: Unit, device: str) -> float:
    synchronise(device)
    start = time.perf_counter()
    runner(unit)
    synchronise(device)
    return time.perf_counter() - start


def summed_median(seconds: np.ndarray) -> np.ndarray:
    """(rounds, units, ...) -> (...): each unit's median over the rounds, summed over units.

    A moment of load from another program spoils one unit of one round, not a whole round.
    """
    return np.median(seconds, 0).sum(0)


class EventTimer:
    """Times between marks that do not hold up the device: events on a GPU, else the clock."""

    def __init__(self, device: str):
        self.device, self.marks = device, []

    def mark(self) -> None:
        if _cuda(self.device):
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def seconds(self) -> np.ndarray:
        """(marks - 1,) seconds from each mark to the next; waits for the device."""
        synchronise(self.device)
        pairs = zip(self.marks[:-1], self.marks[1:], strict=True)
        if _cuda(self.device):
            return np.array([a.elapsed_time(b) / 1000 for a, b in pairs])
        return np.array([b - a for a, b in pairs])


def peak_memory(runner: Callable[[Unit], object], unit: Unit, device: str) -> float | None:
    """MiB that one run takes at its peak beyond what is there before it.

    Returns: None where the system does not tell (on a CPU only Linux does).
    """
    if _cuda(device):
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        runner(unit)
        synchronise(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    try:
        # What earlier runs freed would hide what this one takes.
        with contextlib.suppress(AttributeError, OSError, TypeError):
            ctypes.CDLL(None).malloc_trim(0)
        # 5: the peak starts anew at what is resident now (man 5 proc)
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
        runner(unit)
        return (_resident("VmHWM") - before) / 1024
    except (OSError, KeyError):
        return None


def _resident(field: str) -> int:
    """KiB, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[field].split()[0])


# ---- the machine ---------------------------------------------------------------------------------


def synchronise(device: str) -> None:
    """Wait until `device` has done all that was asked of it."""
    if _cuda(device):
        torch.cuda.synchronize(device)


def machine(device: str = "cpu") -> str:
    """The device as a row names it; seconds mean something only beside it."""
    if _cuda(device):
        return hardware(device)
    return f"cpu, {torch.get_num_threads()} threads of {os.cpu_count()}, {hardware(device)}"


def hardware(device: str) -> str:
    """The model of the device, whatever the threads."""
    return torch.cuda.get_device_name(device) if _cuda(device) else _cpu_name()


def hardware_of(named: str) -> str:
    """The model in a name that `machine` gave."""
    return named.split(", ", 2)[-1] if named.startswith("cpu, ") else named


class BackgroundLoad:
    """How busy other programs keep the machine while this object lives: a timing beside a busy
    neighbour is none."""

    def __init__(self):
        self.start = self._now()

    def share(self) -> float | None:
        """0 to 1, of all processors, since this object was made; None where the system does not
        tell."""
        if self.start is None:
            return None
        (busy, own, clock), (busy0, own0, clock0) = self._now(), self.start
        spent = (clock - clock0) * (os.cpu_count() or 1)
        return max(0.0, (busy - busy0 - (own - own0)) / spent)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds that all processors were busy, seconds of this process, the clock."""
        try:
            line = Path("/proc/stat").read_text().split("\n")[0]
            # user nice system idle iowait irq softirq steal (man 5 proc)
            fields = list(map(int, line.split()[1:9]))
        except (OSError, ValueError):
            return None
        busy = (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
        return busy, time.process_time(), time.perf_counter()


def _cuda(device: str) -> bool:
    return torch.device(device).type == "cuda"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            names = (line.split(":", 1)[1] for line in info if line.startswith("model name"))
            return next(names).strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
