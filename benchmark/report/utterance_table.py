"""The table of its utterances beside a result's JSON, held against it: the means, counts and exits
of a row are those of its utterances, or neither is believed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import resampling
from ..contract import Metric
from .escaping import plain
from .schema import Damaged, close, out_of_range

TEXT = {"id": str, "speaker": str, "noise": str}  # which may be called NA
DRAWS = 1000  # of a row's interval: metrics.bootstrap_interval
APART = 0.3  # of its width, by which an interval of other draws may differ
LEAST_APART = 1e-4  # where all utterances are alike


def read(path: Path, sealed: Mapping[str, str] | None) -> pd.DataFrame | None:
    """The table; None where there is none.

    Args:
        sealed: the digests that the JSON keeps; older ones keep none.

    Raises: Damaged where it cannot be read, is missing, or is not the one that was written.
    """
    try:
        if not path.is_file():
            if sealed and "utterances" in sealed:
                raise Damaged(
                    path,
                    "is missing: its row has no utterances' table without it",
                    "put it back, or run the row's command again with --force",
                )
            return None
        content = path.read_bytes()
        if sealed is not None and sealed.get("utterances") != digest(content):
            raise ValueError("it was changed after it was written")
        # of the bytes that were looked at, whatever the file holds by now
        found = pd.read_csv(BytesIO(content), dtype=TEXT, keep_default_na=False, na_values=[""])
    except (OSError, KeyError, TypeError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise _refused(path, said) from error
    for name in TEXT:
        if name in found and found[name].hasnans:
            found[name] = found[name].fillna("")
    return found


def digest(content: bytes) -> str:
    """Of a table's lines in any order, whatever ends them."""
    return hashlib.sha256(b"\n".join(sorted(content.splitlines()))).hexdigest()


def check(table: pd.DataFrame, result: Any, metrics: Sequence[Metric], path: Path) -> None:
    """Damaged where a result does not follow from its utterances."""
    try:
        _names(table)
        _depths(table, result)
        speakers = tuple(table["speaker"]) if "speaker" in table else ("",) * len(table)
        for metric in metrics:
            part, whole, good = _scores(table, metric)
            score = result.scores[metric.name]
            _mean(metric.name, score, part, whole, good)
            if not result.sealed and len(part) > 1:
                _interval(metric.name, score, part, whole, tuple(compress(speakers, good)))
    except ValueError as error:
        raise _refused(path, str(error)) from error


def _refused(path: Path, why: str) -> Damaged:
    return Damaged(
        path,
        f"is not the table of utterances that its JSON was made from ({plain(why, 300)})",
        "move both away, or run the row's command again with --force",
    )


def _names(table: pd.DataFrame) -> None:
    if "id" not in table:
        raise ValueError("it has no column id")
    if not (ids := table["id"]).is_unique:
        raise ValueError(f"it has {ids[ids.duplicated()].iloc[0]} twice")


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    """(n,) float64 of a column, NaN where it is empty."""
    if column not in table:
        raise ValueError(f"it has no column {column}")
    values = table[column]
    if values.dtype.kind not in "if" and values.notna().any():
        raise ValueError(f"a value of {column} is no number")
    found = values.to_numpy(np.float64, na_value=np.nan)
    if np.isinf(found).any():
        raise ValueError(f"a value of {column} is no number")
    return found


def _depths(table: pd.DataFrame, result: Any) -> None:
    if ("depth" in table) != (result.depth is not None):
        raise ValueError("depths in one of the two")
    if result.depth is None:
        return
    depth, blocks = _numbers(table, "depth"), len(result.exit_histogram) - 1
    if not len(depth) or not (depth >= 0).all() or depth.max() > blocks:
        raise ValueError(f"a depth is not one of 0 to {blocks}")
    if not close(mean := float(depth.mean()), result.depth):
        raise ValueError(f"its mean depth is {mean:.6g}, the JSON says {result.depth:.6g}")
    if result.cell.exit == "random":  # its depths are expected ones
        return
    counts = np.bincount(depth.astype(int), minlength=blocks + 1).tolist()
    if counts != list(result.exit_histogram):
        raise ValueError("its exits are not those of the JSON's histogram")


def _scores(table: pd.DataFrame, metric: Metric) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A metric's parts and wholes, (m,) each, and (n,) which of the utterances scored."""
    name = metric.name
    values = _numbers(table, name)
    good = ~np.isnan(values)
    values = values[good]
    whole = _numbers(table, f"{name}_of")[good] if f"{name}_of" in table else np.ones(len(values))
    if not (whole > 0).all():  # nor is it empty
        raise ValueError(f"{name}_of is not above zero")
    for value in (values.min(), values.max()) if len(values) else ():
        if out_of_range(value, metric):
            raise ValueError(f"{name} {value:.6g} is out of its range")
    return values * whole, whole, good


def _mean(name: str, score: Any, part: np.ndarray, whole: np.ndarray, good: np.ndarray) -> None:
    if (score.n, score.failed) != (len(part), len(good) - len(part)):
        raise ValueError(f"{len(part)} scores of {name}, the JSON says {score.n}")
    if len(part):
        mean, size = float(part.sum() / whole.sum()), float(np.abs(part / whole).max())
        if not close(score.mean, mean, size):
            raise ValueError(f"{name} is {mean:.6g} on average, the JSON says {score.mean:.6g}")


def _interval(
    name: str, score: Any, part: np.ndarray, whole: np.ndarray, speakers: tuple[str, ...]
) -> None:
    """No draw of the utterances comes near it. Of rows that keep no digest."""
    alone = ("",) * len(part)  # rows of version 0.1.0 drew utterances alone, whoever spoke them
    for drawn in (speakers, alone):
        low, high = resampling.interval(resampling.totals(part, whole, drawn, DRAWS))
        room = APART * (high - low) + LEAST_APART * max(1.0, abs(score.mean))
        if abs(score.low - low) <= room and abs(score.high - high) <= room:
            return
    said = f"[{score.low:.6g}, {score.high:.6g}]"
    raise ValueError(f"the interval {said} of {name} does not follow from it")
