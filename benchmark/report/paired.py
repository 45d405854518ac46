"""The difference of two rows on the same utterances, with interval and p-value.

    difference([Result, ...], [Result, ...], "pesq")     one or several seeds of a row each
    of_scores({seed: Scores}, {seed: Scores})            the same of mixtures of rows

Method and formulas: docs/results.md, "Differences".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .. import resampling
from ..errors import UsageError
from .result import Result
from .utterances import Scores, averaged, common, scores

# seed -> its scores; the seed of what has none (an unprocessed row) is None
Seeds = Mapping[int | None, Scores]


@dataclass(frozen=True)
class Difference:
    """A minus B, in the unit of the metric.

    Attributes:
        a, b: means over the utterances that both scored.
        low, high: 95 % interval; p: two-sided, of no difference.
        n: utterances; left_out: that scored in some of the rows and not in all.
        speakers: resampled, before their utterances; 0 = unknown, utterances alone are.
        seeds: over which each utterance was averaged first; spread: standard deviation (n - 1)
            of the difference over them, None of a single one.
    """

    a: float
    b: float
    value: float
    low: float
    high: float
    p: float
    n: int
    left_out: int
    speakers: int
    seeds: int
    spread: float | None = None


def difference(a: Sequence[Result], b: Sequence[Result], metric: str) -> Difference:
    """Of two rows, each given as one result a seed.

    Raises: UsageError where they share no seed or no utterance.
    """
    return of_scores(by_seed(a, metric), by_seed(b, metric))


def by_seed(results: Sequence[Result], metric: str) -> dict[int | None, Scores]:
    return {result.cell.seed: scores(result, metric) for result in results}


def of_scores(a: Seeds, b: Seeds) -> Difference:
    """As `difference`, of scores by seed."""
    pairs = matched(a, b)
    cut = common([one for pair in pairs for one in pair])
    mean_a, mean_b = averaged(cut[0::2]), averaged(cut[1::2])
    part, whole, names = mean_a.part - mean_b.part, mean_a.whole, mean_a.speakers
    drawn = resampling.totals(part, whole, names)
    low, high = resampling.interval(drawn)
    apart = [x.mean - y.mean for x, y in zip(cut[0::2], cut[1::2], strict=True)]
    seen = {id for pair in pairs for one in pair for id in one.ids.tolist()}
    return Difference(
        a=mean_a.mean,
        b=mean_b.mean,
        value=float(part.sum() / whole.sum()),
        low=low,
        high=high,
        p=resampling.p_value(drawn),
        n=len(part),
        left_out=len(seen) - len(part),
        speakers=resampling.speaker_count(names),
        seeds=len(pairs),
        spread=float(np.std(apart, ddof=1)) if len(apart) > 1 else None,
    )


def matched(a: Seeds, b: Seeds) -> list[tuple[Scores, Scores]]:
    """The pairs to average over: the seeds common to both. What has no seed goes with every seed of
    the other; two single rows of different seeds are a pair, too.
    """
    if None in a and len(a) == 1:
        return [(a[None], one) for _, one in _sorted(b)]
    if None in b and len(b) == 1:
        return [(one, b[None]) for _, one in _sorted(a)]
    if both := a.keys() & b.keys():
        return [(a[seed], b[seed]) for seed, _ in _sorted(a) if seed in both]
    if len(a) == len(b) == 1:
        return [(*a.values(), *b.values())]
    told = (", ".join(str(seed) for seed, _ in _sorted(of)) for of in (a, b))
    raise UsageError(
        f"the rows have no seed in common ({' and '.join(told)}); run both with the same --seed"
    )


def _sorted(of: Seeds) -> list[tuple[int | None, Scores]]:
    return sorted(of.items(), key=lambda pair: -1 if pair[0] is None else pair[0])
