"""The fixed-depth curve: what static models of the same backbone score at the cost of a row.

Between two fixed depths lies a static system, too: for each utterance toss a coin between the two.
With share w of the deeper one it costs (1 - w) m_0 + w m_1 multiply-accumulates and scores
(1 - w) s_0 + w s_1, so the curve is linear between its points.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from .result import CHOSEN, Cell, Result
from .utterances import Scores, mixed, scores

FIXED = re.compile(r"full|depth \d+")


@dataclass(frozen=True)
class Mixture:
    """Fixed-depth rows, each used with its share of the utterances; one or two, shallower first."""

    rows: tuple[Result, ...]
    shares: tuple[float, ...]

    def scores(self, metric: str) -> Scores:
        """Raises: UsageError where a row has no utterances' table."""
        return mixed([scores(row, metric) for row in self.rows], self.shares)

    def __str__(self) -> str:
        return " to ".join(row.cell.exit for row in self.rows)


def point(curve: Sequence[Result], gmacs: float) -> Mixture | None:
    """The mixture that costs as much; None where the curve does not reach.

    Args:
        curve: fixed-depth rows; gmacs: 10^9 multiply-accumulates a second of audio.
    """
    known = [(_gmacs(row), row) for row in curve if row.cost.gmacs_per_s is not None]
    known.sort(key=lambda pair: (pair[0], pair[1].cell.exit))
    for at, row in known:
        if at == gmacs:
            return Mixture((row,), (1.0,))
    below, above = ([p for p in known if (p[0] < gmacs) == side] for side in (True, False))
    if not (below and above):
        return None
    (m0, shallow), (m1, deep) = below[-1], above[0]
    share = (gmacs - m0) / (m1 - m0)
    return Mixture((shallow, deep), (1 - share, share))


def _gmacs(row: Result) -> float:
    return row.cost.gmacs_per_s or 0.0


class Pool:
    """Results by what they are asked for: the rows that another row is held against."""

    def __init__(self, results: Iterable[Result]):
        self.results = list(results)

    @cached_property
    def _cells(self) -> Mapping[Cell, Result]:
        return {row.cell: row for row in self.results}

    @cached_property
    def _fixed(self) -> Mapping[Hashable, list[Result]]:
        found: dict[Hashable, list[Result]] = defaultdict(list)
        for row in self.results:
            if FIXED.fullmatch(row.cell.exit):
                found[_like(row.cell, row.cell.upstream)].append(row)
        return found

    def curve(self, row: Result) -> list[Result]:
        """The fixed-depth rows of a row's backbone: same weights, task, protocol, corpus,
        layer-norm and seed."""
        found = self._fixed.get(_like(row.cell, row.cost.reference or ""), [])
        # a wrapper's revision begins with its backbone's
        return [one for one in found if row.cell.revision.startswith(one.cell.revision)]

    def at_equal_macs(self, row: Result) -> Mixture | None:
        """The point of its backbone's fixed-depth curve that costs what the row costs."""
        return None if row.cost.gmacs_per_s is None else point(self.curve(row), _gmacs(row))

    def control(self, row: Result, kind: str) -> Result | None:
        """Its "random" or "oracle" row, by this version's definition of them."""
        found = self._cells.get(replace(row.cell, exit=kind)) if _calibrated(row) else None
        return found if found and "control" in found.detail else None


def _like(cell: Cell, upstream: str) -> Hashable:
    shared = (cell.task, cell.task_version, cell.protocol, cell.settings, cell.corpus)
    return (upstream, *shared, cell.corpus_hash, cell.layer_norm, cell.seed)


def _calibrated(row: Result) -> bool:
    return row.cell.exit == "adaptive"


def adaptive(row: Result) -> bool:
    """Whether its exits were decided by evidence."""
    exit = row.cell.exit
    return exit == "adaptive" or exit.startswith(("tau ", "batches of ", *CHOSEN))


def one_depth(row: Result) -> bool:
    """An adaptive row that tests nothing: the only depth of its span is forced."""
    return adaptive(row) and len((row.detail.get("exit") or {}).get("depths", ())) == 1
