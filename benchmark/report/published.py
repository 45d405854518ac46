"""Numbers that other people published, as files of them are read: published_<what>.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..errors import UsageError


def read(path: Path, keys: Sequence[str], like: str) -> pd.DataFrame:
    """A line a row, numbers as they are printed.

    Args:
        keys: the columns that name a row, of which no two may be the same; `source` must be there.
        like: a file of the kind, for messages.
    Raises: UsageError: it is no such table, or two lines are of one row.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file)
            rows = list(lines)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read ({error}); save it as CSV in UTF-8") from error
    columns = list(lines.fieldnames or ())
    if lacking := {*keys, "source"} - set(columns):
        raise UsageError(
            f"{path} is no table of published numbers: it has no column "
            f"{', '.join(sorted(lacking))}; compare it with results/{like}"
        )
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise UsageError(
                f"{path}, line {number}, has other columns than its first line; put quotation "
                "marks around a text with a comma in it"
            )
    frame = pd.DataFrame(rows, columns=columns, dtype=str)
    known = frame[list(keys)]
    if (twice := known[known.duplicated()]).size:
        said = " ".join(filter(None, twice.iloc[0]))
        raise UsageError(f"{path} has two lines of {said}; keep one")
    return frame
