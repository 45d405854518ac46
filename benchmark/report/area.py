"""One number for a trade-off: how much of what an oracle gains over fixed depths a system gains.

For knob values i, ordered by their multiply-accumulates x_i, with scores a_i of the adaptive row,
f_i of its backbone's fixed-depth curve at x_i, and o_i of the oracle of that row:

    area = integral of (a - f) dx / integral of (o - f) dx        (trapezoid rule over the x_i)

0 on the fixed-depth curve, below 0 under it, 1 at the oracle; the metric's direction cancels.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .. import resampling
from ..errors import UsageError
from . import board_lines
from .curve import Pool, one_depth
from .result import Result, measured
from .trainings_apart import one_or_count
from .utterances import Scores, averaged, common, scores

HEADING = "## Area between the fixed-depth curve (0) and the oracle (1)"
OF = ["upstream", "revision", "recipe", "task", "task_version", "protocol", "corpus"]
OF += ["knob", "span"]
COLUMNS = [*OF, "metric", "points", "seeds", "area", "area_low", "area_high", "reason"]


FEW = "fewer than two knob values whose cost lies between its fixed depths"


@dataclass(frozen=True, eq=False)
class Point:
    """One knob value: the GMAC a second of audio that it costs, and the scores there."""

    gmacs: float
    adaptive: Scores
    fixed: Scores
    oracle: Scores


def table(results: Sequence[Result]) -> pd.DataFrame:
    """A line for every adaptive upstream, span and recipe among results of one task: all its seeds
    and all its knob values together, each value with the head that was trained for it.
    """
    groups: dict[Hashable, list[Result]] = {}
    for one in results:
        if one.cell.exit == "adaptive" and one.cell.test_value is None:
            groups.setdefault(_group(one), []).append(one)
    pool = Pool(results)
    lines = [_line(rows, pool) for _, rows in sorted(groups.items(), key=lambda of: str(of[0]))]
    return pd.DataFrame(lines, columns=COLUMNS)


def screen(areas: pd.DataFrame) -> pd.DataFrame:
    """The columns that a person compares, as text."""
    out = areas[["upstream", "knob", "span", "metric", "points", "seeds"]].astype(str)
    columns = (areas[name].astype(float) for name in ("area", "area_low", "area_high"))
    out["area"] = [
        f"{value:.2f} [{low:.2f}, {high:.2f}]" if value == value else ""
        for value, low, high in zip(*columns, strict=True)
    ]
    out["reason"] = areas["reason"]
    return out


def between(points: Sequence[Point], higher_is_better: bool) -> tuple[float, float, float]:
    """The area and its 95 % interval, resampled as differences are.

    Raises: UsageError, saying why there is none.
    """
    points = sorted(points, key=lambda point: point.gmacs)
    if len(points) < 2 or points[0].gmacs == points[-1].gmacs:
        raise UsageError(FEW)
    # what each point counts in the trapezoid rule
    width = np.convolve(np.diff([point.gmacs for point in points]), [0.5, 0.5])
    cut = common([one for p in points for one in (p.adaptive, p.fixed, p.oracle)])
    own, fixed, oracle = (np.stack([one.part for one in cut[i::3]]) for i in range(3))
    gained, could = width @ (own - fixed), width @ (oracle - fixed)
    if could.sum() * (1 if higher_is_better else -1) <= 0:
        raise UsageError("the oracle with this row's heads is not above the fixed depths")
    drawn = resampling.totals(gained, could, cut[0].speakers)
    return float(gained.sum() / could.sum()), *resampling.interval(drawn)


def _named(result: Result) -> dict[str, Any]:
    line = board_lines.row(result)
    return {column: line[column] for column in OF}


def _group(result: Result) -> Hashable:
    """What rows of one line have in common."""
    named = _named(result)
    return tuple(named[column] for column in board_lines.named_by(named, OF))


def _line(rows: Sequence[Result], pool: Pool) -> dict[str, Any]:
    metric = measured(rows[0])[0]
    line = dict.fromkeys(COLUMNS) | _named(rows[0]) | {"metric": metric.name, "reason": ""}
    line["revision"] = one_or_count(result.cell.revision for result in rows)
    values: dict[float, dict[int | None, Point]] = {}
    reasons = []
    for row in rows:
        if row.cell.value is None or one_depth(row):
            continue
        try:
            values.setdefault(row.cell.value, {})[row.cell.seed] = _point(row, pool, metric.name)
        except UsageError as error:
            reasons.append(str(error))
    known = [of for of in values.values() if of]
    seeds = set.intersection(*map(set, known)) if known else set()
    line |= {"points": len(known), "seeds": len(seeds)}
    try:
        if len(known) < 2:
            raise UsageError(reasons[0] if reasons else FEW)
        points = [_over_seeds([of[s] for s in of if s in seeds]) for of in known]
        area, low, high = between(points, metric.higher_is_better)
    except UsageError as error:
        return line | {"reason": str(error)}
    rounded = {"area": round(area, 4), "area_low": round(low, 4), "area_high": round(high, 4)}
    return line | rounded


def _point(row: Result, pool: Pool, metric: str) -> Point:
    """Raises: UsageError, saying what is missing."""
    fixed, oracle = pool.at_equal_macs(row), pool.control(row, "oracle")
    if oracle is None:
        raise UsageError("no oracle rows; make them with --set exits=oracle")
    if fixed is None:
        raise UsageError(FEW)
    gmacs = row.cost.gmacs_per_s or 0.0
    return Point(gmacs, scores(row, metric), fixed.scores(metric), scores(oracle, metric))


def _over_seeds(points: Sequence[Point]) -> Point:
    if not points:
        raise UsageError("its knob values share no seed")
    return Point(
        sum(point.gmacs for point in points) / len(points),
        averaged([point.adaptive for point in points]),
        averaged([point.fixed for point in points]),
        averaged([point.oracle for point in points]),
    )
