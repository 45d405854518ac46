"""Helpers: more processes of the same run, for work that keeps one core busy however many there are (small heads, metrics).

A helper builds the job anew from what was asked of the run, finds the traces in the cache, and does its share of the heads and
of the test utterances. A head does not depend on those trained beside it, so who trains it changes no number. The share of a
helper that dies is done by whoever asked for it; a helper whose run was killed leaves, too.
"""
import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch

from . import heads

PATIENCE = 5.0      # seconds
WORTH = 1000        # head updates in all, below which a process is not worth starting


def size(run: Any, missing: int) -> int:
    """How many helpers are worth starting for so many heads that are to be trained."""
    protocol = run.protocol
    if run.request.device != "cpu" or missing * protocol.steps * protocol.accumulate < WORTH:
        return 0
    return min(torch.get_num_threads(), missing) - 1 if heads.small(run.task, run.setup, run.upstream.card.depth) else 0


@contextlib.contextmanager
def team(helpers: int, again: Callable[..., Any], *arguments: Any) -> Iterator[list["Helper"]]:
    """`helpers` processes, each with the job that `again(*arguments)` makes; one thread each meanwhile, here too."""
    threads = torch.get_num_threads()
    hired = [Helper(again, *arguments) for _ in range(helpers)]
    torch.set_num_threads(1 if hired else threads)
    try:
        yield hired
    finally:
        torch.set_num_threads(threads)
        for helper in hired:
            helper.leave()


class Helper:
    def __init__(self, again: Callable[..., Any], *arguments: Any):
        context = multiprocessing.get_context("spawn")      # a fork would share torch's threads, which are not there
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, again, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, what: str, *arguments: Any) -> None:
        """Start a method of its job."""
        with contextlib.suppress(OSError):                  # it is gone: the answer will tell
            self.line.send((what, arguments))

    def answer(self) -> Any:
        """What it found; None where it ended without an answer, which is said."""
        try:
            return self.line.recv()
        except (EOFError, OSError):
            print("a helper process ended early; its share is done here", file=sys.stderr)
            return None


    def leave(self) -> None:
        """One that waits ends by itself and tidies up when nobody can ask it any more; one at work is stopped."""
        self.line.close()
        self.process.join(PATIENCE)
        self.process.terminate()
        self.process.join()


def _serve(line: Any, again: Callable[..., Any], *arguments: Any) -> None:
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())       # one bar and one set of notices are enough
    torch.set_num_threads(1)
    job = again(*arguments)
    with contextlib.suppress(EOFError):
        while True:
            what, given = line.recv()
            line.send(getattr(job, what)(*given))


def _leave_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
