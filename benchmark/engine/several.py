"""Several runs one after the other, as tables and figures of several tasks and seeds need them."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..report.result import Cell, Result
from .experiment import Row, RunConfig
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
    for number, part in enumerate(parts, 1):
        start, exp = time.monotonic(), resolve(part.config)
        rows = [row for row in exp.rows if part.wanted(row)]
        missing = sum(part.config.force or not row.path.exists() for row in rows)
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


def left(taken: Sequence[float], parts: int) -> str:
    """What is still to be done, if it takes as long as what was done."""
    if not taken:
        return ""
    seconds = parts * sum(taken) / len(taken)
    return f"; {_minutes(sum(taken))} gone, about {_minutes(seconds)} left"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
