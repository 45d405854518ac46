"""The mean of a row over its seeds, and how far other test utterances could move it."""

from collections.abc import Sequence
from typing import NamedTuple

from .. import resampling
from .result import Result
from .utterances import averaged, common, scores


class Interval(NamedTuple):
    """A mean and its 95 % bootstrap interval, clustered by speaker."""

    mean: float
    low: float
    high: float


def of_mean(results: Sequence[Result], metric: str) -> Interval:
    """Of one cell, a result a seed; over the utterances that scored in all of them.

    Raises: UsageError where a result has no table of its utterances.
    """
    over = averaged(common([scores(result, metric) for result in results]))
    drawn = resampling.totals(over.part, over.whole, over.speakers)
    return Interval(over.mean, *resampling.interval(drawn))
