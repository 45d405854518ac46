"""Columns of the board that hold an adaptive row against static systems, in the first metric.

    vs_curve    minus the fixed-depth curve of its backbone at equal multiply-accumulates
    vs_random   minus its random control in exact expectation

Method and formulas: docs/results.md, "Differences".
"""

from collections.abc import Sequence
from typing import Any

from .curve import Mixture, Pool, adaptive, one_depth
from .paired import Difference, Seeds, by_seed, of_scores
from .result import Result
from .utterances import scores

KINDS = ("vs_curve", "vs_random")
ENDS = ("", "_low", "_high", "_p", "_spread")
COLUMNS = [*(kind + end for kind in KINDS for end in ENDS), "curve", "paired", "speakers", "note"]
NO_TEST = "one depth, no test"
ALL_AT_ONE = "all left at one depth"


def of_cell(rows: Sequence[Result], pool: Pool, metric: str) -> dict[str, Any]:
    """The columns of one cell, None where they do not apply.

    Args:
        rows: of the cell, one a seed; what they are held against must be there for every seed.
    """
    out: dict[str, Any] = dict.fromkeys(COLUMNS)
    if not all(map(adaptive, rows)):
        return out
    if any(map(one_depth, rows)):
        return out | {"note": NO_TEST}
    if all(sum(n > 0 for n in row.exit_histogram) == 1 for row in rows):
        out["note"] = ALL_AT_ONE
    if not all(_scored(row, metric) for row in rows):
        return out
    out |= from_curve(rows, [pool.at_equal_macs(row) for row in rows], metric)
    dealt = [pool.control(row, "random") for row in rows]
    if all(one is not None and _scored(one, metric) for one in dealt):
        static = {r.cell.seed: scores(r, metric) for r in dealt}
        out |= _told("vs_random", by_seed(rows, metric), static)
    return out


def from_curve(
    rows: Sequence[Result], points: Sequence[Mixture | None], metric: str
) -> dict[str, Any]:
    """The columns of one cell against fixed depths, `points` of each of its rows; {} where a curve
    does not reach, or a row has no table of its utterances or no score in it."""
    known = [point for point in points if point is not None]
    behind = [*rows, *(one for point in known for one in point.rows)]
    if len(known) < len(points) or not all(_scored(one, metric) for one in behind):
        return {}
    static = {row.cell.seed: point.scores(metric) for row, point in zip(rows, known, strict=True)}
    curve = " / ".join(dict.fromkeys(map(str, known)))
    return _told("vs_curve", by_seed(rows, metric), static) | {"curve": curve}


def _scored(row: Result, metric: str) -> bool:
    return row.utterances is not None and row.scores[metric].mean is not None


def _told(kind: str, own: Seeds, other: Seeds) -> dict[str, Any]:
    found: Difference = of_scores(own, other)
    values = (found.value, found.low, found.high, found.p, found.spread)
    rounded = [None if value is None else round(value, 4) for value in values]
    told = dict(zip((kind + end for end in ENDS), rounded, strict=True))
    return told | {"paired": found.n, "speakers": found.speakers}
