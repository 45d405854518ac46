"""What a paper's table claims, held against our rows: paired differences of word error rates on the
same utterances, with intervals clustered by speaker.

    one arm minus another                 of every line that has both
    one line minus another                that the table names
    a fixed exit minus the one before it  of every training with several in the table
    minus fixed exits                     of the same weights, mixed to equal multiply-accumulates
    minus random exits                    the same exits dealt out anew, in exact expectation
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from . import differences
from .curve import Pool
from .paired import difference
from .paper_table import AT_ONE, Made
from .papers.shape import ALL, Table
from .result import Result
from .table1 import NONE, SURE

METRIC = "wer"
BEFORE = "minus the exit before it"
BEYOND = "costs more than its last fixed exit, or less than its first"
VERSUS = {"vs_curve": "minus fixed exits", "vs_random": "minus random exits"}
COLUMNS = ("claim", "group", "line", "value", "low", "high", "p", "n", "seeds", "note")


def claims(made: Sequence[Made], of: Table, found: Sequence[Result]) -> pd.DataFrame:
    """A line for each difference: COLUMNS, `value` being the first word error rate minus the other.

    Args:
        found: all rows that the lines may be held against.
    """
    there = [one for one in made if one.rows]
    named = [*_arms(there, of), *_pairs(there, of)]
    lines = [*named, *_before(there, of), *_adaptive(there, Pool(found))]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _arms(made: Sequence[Made], of: Table) -> Iterator[dict[str, Any]]:
    if not of.minus:
        return
    one, other = of.minus
    by_place = {(m.line.group, m.line.label, m.line.arm): m for m in made}
    for (group, label, arm), first in by_place.items():
        second = by_place.get((group, label, other))
        if arm == one and second:
            yield _told(f"{one} minus {other}", first, first.rows, second.rows)


def _pairs(made: Sequence[Made], of: Table) -> Iterator[dict[str, Any]]:
    rows = {one.line: one for one in made}
    for claim, first, second in of.pairs:
        if first in rows and second in rows:
            yield _told(claim, rows[first], rows[first].rows, rows[second].rows)


def _before(made: Sequence[Made], of: Table) -> Iterator[dict[str, Any]]:
    """Whether later exits are better."""
    for arm in of.arms:
        last: dict[tuple[str, str], Made] = {}
        for one in made:
            if one.line.block is None or one.line.arm != arm:
                continue
            place = (one.line.group, one.line.training.name)
            if before := last.get(place):
                claim = BEFORE if arm == ALL else f"{arm}, {BEFORE}"
                yield _told(claim, one, one.rows, before.rows)
            last[place] = one


def _told(
    claim: str, one: Made, first: Sequence[Result], second: Sequence[Result]
) -> dict[str, Any]:
    found = difference(first, second, METRIC)
    rounded = {name: round(getattr(found, name), 4) for name in ("value", "low", "high", "p")}
    return _about(claim, one) | rounded | {"n": found.n, "seeds": found.seeds, "note": ""}


def _adaptive(made: Sequence[Made], pool: Pool) -> Iterator[dict[str, Any]]:
    for one in made:
        if not one.line.adaptive:
            continue
        told = differences.of_cell(one.rows, pool, METRIC)
        for kind, claim in VERSUS.items():
            if told[kind] is None:
                if kind == "vs_curve" and any(pool.curve(row) for row in one.rows):
                    none = dict.fromkeys(("value", "low", "high", "p"), math.nan)
                    over = {"n": 0, "seeds": len(one.rows), "note": BEYOND}
                    yield _about(claim, one) | none | over
                continue
            ends = zip(("value", "low", "high", "p"), ("", "_low", "_high", "_p"), strict=True)
            values = {name: told[kind + end] for name, end in ends}
            over = {"n": told["paired"], "seeds": len(one.rows), "note": told["note"] or ""}
            yield _about(claim, one) | values | over


def _about(claim: str, one: Made) -> dict[str, Any]:
    return {"claim": claim, "group": one.line.group, "line": one.line.label}


def read(table: pd.DataFrame) -> pd.DataFrame:
    """`claims` as text: differences with their intervals, SURE where one excludes zero."""
    out = table[["claim", "group", "line"]].copy()
    out["difference of WER %"] = [_difference(line) for line in table.to_dict("records")]
    out["p"] = [f"{p:.3f}" if p == p else NONE for p in table["p"].astype(float)]
    out.index = pd.Index(pd.factorize(table["claim"])[0])
    return out.drop(columns=[] if table["group"].any() else "group").astype(str)


def _difference(line: Mapping[str, Any]) -> str:
    value, low, high = (float(line[name]) for name in ("value", "low", "high"))
    if value != value:
        return NONE
    sure = SURE if low > 0 or high < 0 else ""
    mark = AT_ONE if line["note"] else ""
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]{sure}{mark}"
