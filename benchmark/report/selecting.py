"""Rows by what a person calls them: a JSON's path, or columns of the board and their values."""

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError, did_you_mean, listed
from .board_lines import LEADING, cell_of, named_by, row
from .escaping import plain
from .result import Result

NAME = re.compile(r"(?:^|\s)(\w+)=")  # of a column


def select(text: str, results: Sequence[Result]) -> list[Result]:
    """One cell's results, one a seed, in the order of their seeds.

    Args:
        text: path/to/a/row.json, or "task=se exit=adaptive rho=0.7 span=mean": columns as the CSV
            board has them; corpus also without its hash. `none` is an empty column.

    Raises: UsageError where nothing, or more than one cell, is called so.
    """
    if text.endswith(".json"):
        if not Path(text).exists():
            raise UsageError(f"there is no row {text}; name a JSON below a results folder")
        return [Result.load(Path(text))]
    wanted = _wanted(text)
    lines = [(row(result), result) for result in results]
    for column, value in wanted.items():
        left = [(line, result) for line, result in lines if _is(line, column, value)]
        if not left:
            there = sorted({_text(line[column]) for line, _ in lines})
            raise UsageError(
                f"{text!r}: no row has {column}={value} there; {did_you_mean(value, there)}"
            )
        lines = left
    cells: dict[Hashable, list[tuple[dict[str, Any], Result]]] = {}
    for line, result in lines:
        cells.setdefault(cell_of(line), []).append((line, result))
    if len(cells) > 1:
        raise UsageError(f"{text!r} names {len(cells)} rows; say which: {_apart(cells.values())}")
    [found] = cells.values()
    return sorted((r for _, r in found), key=lambda r: -1 if r.cell.seed is None else r.cell.seed)


def described(rows: Sequence[Result]) -> str:
    """What they are, seeds apart, as a selector."""
    line = row(rows[0])
    told = [f"{k}={_text(line[k])}" for k in named_by(line) if line[k] not in (None, "")]
    return plain(" ".join(told))


def _wanted(text: str) -> dict[str, str]:
    def outside(at: int) -> bool:  # hubert.tiny(weights=random, front=projection) is one value
        return text.count("(", 0, at) == text.count(")", 0, at)

    starts = [match for match in NAME.finditer(text) if outside(match.start())]
    ends = [*(match.start() for match in starts), len(text)][1:]
    wanted = {m[1]: text[m.end() : end].strip() for m, end in zip(starts, ends, strict=True)}
    if not starts or text[: starts[0].start()].strip():
        raise UsageError(
            f"{text!r} names no row; give a JSON, or columns of the board such as "
            "'task=se exit=adaptive rho=0.7 span=mean'"
        )
    for column in wanted:
        if column not in LEADING:
            known = did_you_mean(column, LEADING)
            raise UsageError(f"{text!r}: rows are not named by {column}; {known}")
    return wanted


def _is(line: Mapping[str, Any], column: str, value: str) -> bool:
    found = line[column]
    if isinstance(found, float):
        try:
            return found == float(value)
        except ValueError:
            return False
    if column == "corpus" and "@" not in value:
        found = found.partition("@")[0]
    return _text(found) == value


def _text(value: Any) -> str:
    if value in (None, ""):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _apart(cells: Any) -> str:
    """Each by the columns in which they differ."""
    first = [of[0][0] for of in cells]
    differ = [k for k in LEADING if k != "seed" and len({_text(line[k]) for line in first}) > 1]
    return listed(
        [" ".join(f"{k}={_text(line[k])}" for k in differ if k in named_by(line)) for line in first]
    )
