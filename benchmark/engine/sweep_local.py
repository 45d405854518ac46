"""Running the cells of a sweep in processes of this machine.

A cell whose process dies (kill -9, out of memory) is started again and resumes from its last
checkpoint; one that says why it cannot be done is not.
"""

import os
import queue
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from ..orphan import CELL
from .sweep_grid import Cell

# exit statuses that a second try cannot change: done, wrong request, wrong machine, interrupted
FINAL = (0, 2, 3, 130)
OURS = "EARLYEXIT_SUPERB_"  # environment variables that every worker must see


@dataclass(frozen=True)
class Pool:
    """What cells run on.

    Attributes:
        workers: cells that run at a time.
        threads: threads of each.
        retries: how often a cell that died is started again.
    """

    device: str
    workers: int
    threads: int
    retries: int

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a cell that this process decides on."""
        threads = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        return threads | {k: v for k, v in os.environ.items() if k.startswith(OURS)}


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        status: exit status of its last process; below 0 the signal that killed it.
        printed: its stdout, a JSON line for each row.
        tries: how many processes it took.
    """

    cell: Cell
    status: int
    printed: str
    tries: int


def threads_each(workers: int) -> int:
    """The cores of this machine divided by the workers."""
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    return max(1, cores // workers)


def over_processes(cells: Sequence[Cell], pool: Pool) -> Iterator[Outcome]:
    """Run the cells, `pool.workers` at a time; yields each as it ends."""
    gpus = _gpus(pool.device)
    slots: queue.SimpleQueue[int] = queue.SimpleQueue()
    for worker in range(pool.workers):
        slots.put(worker)

    def run(cell: Cell) -> Outcome:
        worker = slots.get()
        try:
            gpu = {"CUDA_VISIBLE_DEVICES": gpus[worker % len(gpus)]} if gpus else {}
            env = pool.environment | gpu
            return Outcome(
                cell, *attempt(words(cell), str(cell.log), env, os.getcwd(), pool.retries)
            )
        finally:
            slots.put(worker)

    with ThreadPoolExecutor(pool.workers) as executor:
        futures = [executor.submit(run, cell) for cell in cells]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            executor.shutdown(cancel_futures=True)


def words(cell: Cell) -> list[str]:
    """The arguments with which Python runs a cell: the checkout's script, or the installed one."""
    checkout = Path(__file__).resolve().parents[2] / "run_benchmark.py"
    program = [str(checkout)] if checkout.exists() else ["-m", "earlyexit_superb.benchmark.cli"]
    return [*program, *cell.argv]


def attempt(
    words: Sequence[str], log: str, env: Mapping[str, str], cwd: str, retries: int
) -> tuple[int, str, int]:
    """Run one cell in a fresh process, again where it died: (exit status, its stdout, tries). The
    same function here and on Ray.
    """
    tries = 0
    while True:
        status, printed = _run(words, log, env, cwd)
        tries += 1
        if status in FINAL or tries > retries:
            return status, printed, tries


def _run(words: Sequence[str], log: str, env: Mapping[str, str], cwd: str) -> tuple[int, str]:
    """One process, which ends when this one does (`orphan.py`): its exit status and stdout."""
    theirs, ours = os.pipe()
    try:
        with open(log, "a", encoding="utf-8") as stderr:
            done = subprocess.run(
                [sys.executable, *words],
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **env, CELL: "1"},
                cwd=cwd,
                text=True,
                errors="replace",
            )
    finally:
        os.close(theirs)
        os.close(ours)
    return done.returncode, done.stdout


def _gpus(device: str) -> list[str]:
    """The GPUs that workers take in turn."""
    if device != "cuda":
        return []
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]
