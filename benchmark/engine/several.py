"""Several runs, as tables and figures of several tasks and seeds need them: what they record and
train side by side first, then their rows one run after the other."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..report.result import Cell, Result
from . import ahead
from .experiment import Experiment, Row, RunConfig
from .resolve import resolve
from .rows import Timings
from .run import results


@dataclass(frozen=True)
class Part:
    """One run, and which of its rows are wanted.

    Attributes:
        name: for people: "se, seed 0".
        wanted: of a row; default: all.
    """

    name: str
    config: RunConfig
    wanted: Callable[[Row], bool] = lambda row: True


def made(parts: Sequence[Part], what: str) -> tuple[list[Result], list[str]]:
    """The rows of all parts, made where they are missing, each once; and a sentence for every row
    that could not be made. How far it is, and how long it may take, goes to stderr.

    Args:
        what: asks for them: "table1".
    """
    found: dict[Cell, Result] = {}
    refused: dict[str, None] = {}
    taken: list[float] = []
    timings: Timings = {}
    known: dict[int, Experiment] = {}
    ahead.prepared(jobs(parts, known), len(parts), what)
    for number, part in enumerate(parts, 1):
        start, exp = time.monotonic(), known.get(number) or resolve(part.config)
        rows = [row for row in exp.rows if part.wanted(row)]
        missing = len(_missing(part, exp))
        if missing:
            of_time = left(taken, len(parts) - number + 1)
            print(
                f"{what}: {number} of {len(parts)}, {part.name}: {missing} rows to make{of_time}",
                file=sys.stderr,
            )
        of_part, sentences = results(exp, True, rows, timings)
        found |= {result.cell: result for result in of_part}  # the seeds share what has none
        refused |= dict.fromkeys(f"{part.name}: {sentence}" for sentence in sentences)
        if missing:
            taken.append(time.monotonic() - start)
    return list(found.values()), list(refused)


def jobs(parts: Sequence[Part], known: dict[int, Experiment]) -> Iterator[ahead.Job]:
    """What is to be recorded and trained for parts.

    Args:
        known: gets the experiments by the number of their part, as far as they are small: one with
            a large upstream is not held while others are made.
    """
    for number, part in enumerate(parts, 1):
        exp = resolve(part.config)
        if ahead.one_core(exp):
            known[number] = exp
            missing = [n for n in _missing(part, exp) if exp.rows[n].cell.exit != "unprocessed"]
            # forced heads are forgotten first
            if missing and not part.config.force and ahead.worth(exp, len(missing)):
                yield ahead.Job(part.name, part.config, missing)


def _missing(part: Part, exp: Experiment) -> list[int]:
    """The numbers of the rows that are wanted and not there."""
    rows = enumerate(exp.rows)
    return [
        n for n, row in rows if part.wanted(row) and (part.config.force or not row.path.exists())
    ]


def left(taken: Sequence[float], parts: int) -> str:
    """What is still to be done, if it takes as long as what was done."""
    if not taken:
        return ""
    seconds = parts * sum(taken) / len(taken)
    return f"; {_minutes(sum(taken))} gone, about {_minutes(seconds)} left"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
