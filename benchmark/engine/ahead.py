"""The runs of a table side by side, as far as no clock is read: passes recorded, heads trained.

A small model keeps one core busy however many there are, and so does a small head; the runs of a
table have both by the dozen. Rows are not made here: what is timed must have the machine to itself.
A run that fails here fails again, and says why, where its rows are made.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from ..contract import SAMPLE_RATE
from ..errors import BenchmarkError
from . import heads
from .experiment import Experiment, RunConfig
from .run import again
from .scoring import believe_older, train
from .threads import small
from .workers import Ask, at_once, dealt, workers

UPDATES, AUDIO = 1000, 300  # of heads; seconds to record: more than a process needs to begin


@dataclass(frozen=True)
class Job:
    """What is recorded and trained in one process.

    Attributes:
        name: for people: "se, seed 0".
        rows: their numbers in the experiment.
    """

    name: str
    config: RunConfig
    rows: Sequence[int]


def one_core(exp: Experiment) -> bool:
    """Whether its work keeps one core busy and no more."""
    return (
        exp.config.device == "cpu"
        and small(exp.upstream)
        and heads.small(exp.task, exp.setup, exp.upstream.card.depth)
    )


def worth(exp: Experiment, rows: int) -> bool:
    """Whether so many rows take longer than a process needs to begin."""
    updates = 0 if exp.answers else rows * exp.protocol.steps * exp.protocol.accumulate
    items = [item for split in exp.splits.values() for item in split]
    return updates >= UPDATES or sum(item.samples for item in items) >= AUDIO * SAMPLE_RATE


def prepared(jobs: Iterable[Job], parts: int, what: str) -> None:
    """Record and train what jobs need, as many at a time as there are cores; a single job is left
    to whoever makes its rows. How far it is goes to stderr.

    Args:
        jobs: taken one by one, while those before are at work.
        parts: how many there are at most.
        what: asks for them: "table1".
    """
    count = at_once(parts)
    if count < 2:
        return
    jobs = iter(jobs)
    first = list(islice(jobs, 2))
    if len(first) < 2:
        return
    with workers(count) as pool:
        for _ in _shown(dealt(asks(chain(first, jobs)), pool), parts, what):
            pass


def asks(jobs: Iterable[Job]) -> Iterator[Ask]:
    """Each for a worker."""
    return (Ask(job.name, _prepare, (job.config, job.rows)) for job in jobs)


def _shown(
    steps: Iterable[tuple[list[str], bool]], parts: int, what: str
) -> Iterator[tuple[list[str], bool]]:
    """The same, with a bar."""
    from tqdm import tqdm

    style: dict[str, Any] = {"unit": "run", "dynamic_ncols": True, "file": sys.stderr}
    style["smoothing"] = 0  # after short runs their rate would promise an end long past
    with tqdm(total=parts, desc=f"{what}: recording and training", **style) as bar:
        for step in steps:
            names, finished = step
            bar.set_postfix_str("; ".join(names))
            bar.update(finished)
            yield step


def _prepare(_: None, config: RunConfig, rows: Sequence[int]) -> bool:
    """In a worker: all that rows need and that no clock measures."""
    with contextlib.suppress(BenchmarkError):
        ev = again(config, rows)
        believe_older(ev)
        train(ev, ())
    return True
