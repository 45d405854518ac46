"""Workers: more processes of the same run, for work that keeps one core busy however many there are
(small heads, metrics).

A worker builds the job anew from what was asked of the run, finds the recorded states in the cache,
and does its share of the heads and of the test utterances. A head does not depend on those trained
beside it, so who trains it changes no number. The share of a worker that dies is done by whoever
asked for it; a worker whose run was killed ends, too.
"""

import contextlib
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

import torch

from . import heads
from .feature_cache import FeatureCache

MOST = 8  # processes side by side: each holds a model and what torch needs, a GiB and more
BEAT = 60.0  # seconds after which those at work are named again
PATIENCE = 5.0  # seconds that workers have to end by themselves
WORTH = 1000  # head updates, or slow scores, in all, below which a process is not worth starting


def worker_count(run: Any, missing: int, scores: int) -> int:
    """How many workers are worth starting for so many heads that are to be trained, and so many
    scores of each test utterance."""
    updates = missing * run.protocol.steps * run.protocol.accumulate
    # a task selects by another score than its own where that is slow
    slow = scores * len(run.splits["test"]) if run.task.select else 0
    small = heads.small(run.task, run.setup, run.upstream.card.depth)
    if run.config.device != "cpu" or not small or max(updates, slow) < WORTH:
        return 0
    shares = len(run.splits["test"]) if slow >= WORTH else missing
    return min(torch.get_num_threads(), shares) - 1


@contextlib.contextmanager
def workers(
    count: int, again: Callable[..., Any] | None = None, *arguments: Any
) -> Iterator[list["Worker"]]:
    """`count` processes, each with the job that `again(*arguments)` makes, or without one.

    Each has one thread, and so has this process meanwhile.
    """
    threads = torch.get_num_threads()
    started = [Worker(again, *arguments) for _ in range(count)]
    torch.set_num_threads(1 if started else threads)
    try:
        yield started
    finally:
        torch.set_num_threads(threads)
        for worker in started:
            worker.line.close()
        until = time.monotonic() + PATIENCE
        for worker in started:
            worker.end(until)


def at_once(jobs: int) -> int:
    """How many processes are worth starting for so many jobs that keep a core busy each."""
    return min(torch.get_num_threads(), MOST, jobs)


@dataclass(frozen=True)
class Ask:
    """A module's function with what it is given after the worker's own job; its name is for people.
    None is for a worker that died: the function returns something else."""

    name: str
    what: Callable[..., Any]
    given: tuple[Any, ...]


def dealt(asked: Iterable[Ask], pool: Sequence["Worker"]) -> Iterator[tuple[list[str], bool]]:
    """Have jobs done by whoever is free; while they are, the names of those at work, and whether
    one was finished just now. A worker that died has left its job undone.

    Args:
        asked: taken one by one, while those before are at work.
    """
    free, busy = list(pool), dict[Any, tuple[Worker, str]]()

    def waited() -> Iterator[tuple[list[str], bool]]:
        yield [name for _, name in busy.values()], False
        for line in wait(list(busy), BEAT):
            worker, _ = busy.pop(line)
            if worker.answer() is not None:
                free.append(worker)
            yield [name for _, name in busy.values()], True

    for ask in asked:
        while not free and busy:
            yield from waited()
        if not free:
            return
        worker = free.pop()
        worker.ask(ask.what, *ask.given)
        busy[worker.line] = worker, ask.name
    while busy:
        yield from waited()


class Worker:
    """One process and the line to it."""

    def __init__(self, again: Callable[..., Any] | None = None, *arguments: Any):
        # A fork would share torch's threads, which are not there.
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        given = (theirs, again, *arguments)
        self.process = context.Process(target=_serve, args=given, daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, what: Callable[..., Any], *arguments: Any) -> None:
        """Start a module's function of its job and of `arguments`."""
        with contextlib.suppress(OSError):  # it is gone: `answer` will tell
            self.line.send((what, arguments))

    def answer(self) -> Any:
        """What the function returned; None where the process ended before, which is said."""
        try:
            return self.line.recv()
        except (EOFError, OSError):
            print("a worker process ended early; its share is done here", file=sys.stderr)
            return None

    def end(self, until: float) -> None:
        """One that waits ends by itself, since its line is closed; one that is at work at the
        monotonic time `until` is stopped."""
        self.process.join(max(0.0, until - time.monotonic()))
        self.process.terminate()
        self.process.join()


def _serve(line: Any, again: Callable[..., Any] | None, *arguments: Any) -> None:
    """A worker's life: make the job, do what is asked until the line closes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # One bar and one set of notices are enough.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    torch.set_num_threads(1)
    FeatureCache.mends = False
    job = again and again(*arguments)
    with contextlib.suppress(EOFError):
        while True:
            what, given = line.recv()
            line.send(what(job, *given))


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
