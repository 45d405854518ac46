"""Rows beside the usual ones, all from the same record: other fixed depths, thresholds of one's
own, and two controls for every adaptive row, with its own head.

`random` is the exact expectation over all ways to deal the exits of the adaptive row out anew among
the test utterances: the same exit histogram, but nobody asked who is sure. An adaptive row that
does not beat it has learned how deep to go, not for whom. `oracle` has the exits with the best
total score in the task's first metric whose mean depth is not above the adaptive row's, over all
depths that the upstream can leave at. It looks at the answers, so it is a bound and no system.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..contract import Metric, Upstream
from ..errors import UsageError, did_you_mean
from ..exiting import leaving
from ..metrics import Failure, Ratio

CONTROLS = ("oracle", "random")
RESOLUTION = 1e6  # steps of a score that the oracle tells apart, a unit of the metric


def scores_needed(rows: Sequence[Any], places: int) -> int:
    """How many scores each test utterance gets for rows: one a row; controls need those at every
    one of `places` depths, and share them where they share a head."""
    controlled = [row for row in rows if row.cell.exit in CONTROLS]
    return len(rows) - len(controlled) + len({row.cell.value for row in controlled}) * places


# neighbours in the corpus, or in length; what a row adds to its number
BY_LENGTH = " by length"
TOGETHER = {"batch": "", "sorted": BY_LENGTH}


@dataclass(frozen=True)
class Extra:
    """What `--set exits=...` adds to a table."""

    depths: tuple[int, ...] = ()  # fixed exits
    taus: tuple[tuple[float, ...], ...] = ()  # one threshold, or one a depth
    controls: tuple[str, ...] = ()
    # name -> utterances that leave together
    batches: Mapping[str, int] = field(default_factory=dict)
    alone: tuple[int, ...] = ()  # depths whose state is read without those below it


def extra(text: str, upstream: Upstream, answers: bool = False) -> Extra:
    """ "3,static,alone:3,tau:0.9,tau:0.9/0.8/0.7,oracle,random,batch:4,sorted:4" -> its rows.

    Args:
        answers: the upstream answers the task by itself, so it has something to say at its exits
            alone; a head reads any depth.
    """
    depths, alone, taus, controls, batches = [], [], [], [], {}
    allowed = leaving(upstream) if answers else range(upstream.card.depth + 1)
    for word in filter(None, (w.strip() for w in text.strip("[]").split(","))):
        kind, _, given = word.partition(":")
        if word == "static":
            depths += [k for k in allowed if 0 < k < upstream.card.depth]
        elif word.isdecimal() and int(word) in allowed:
            depths += [int(word)]
        elif kind == "alone" and not answers and given.isdecimal() and int(given) in allowed:
            alone += [int(given)]
        elif not (word in CONTROLS or (kind in ("tau", *TOGETHER) and ":" in word)):
            raise UsageError(
                f"--set exits={word}: a depth ({', '.join(map(str, allowed))}), `static` (all of "
                "them), tau:NUMBER, tau:NUMBER/.../NUMBER (one for each depth it can leave at), "
                "oracle, random, batch:N, sorted:N or, where a head is trained, alone:DEPTH; "
                + did_you_mean(word, ("static", *CONTROLS))
            )
        elif not upstream.knob:
            raise UsageError(
                f"--set exits={word}: {upstream.card.name} does not exit by itself; choose an "
                "adaptive upstream such as daisy"
            )
        elif word in CONTROLS:
            controls += [word]
        elif kind == "tau":
            taus += [_thresholds(word, len(leaving(upstream)))]
        else:
            if not (given.isdecimal() and int(given) > 0):
                raise UsageError(
                    f"--set exits={word}: {kind}: takes how many utterances leave together, such "
                    f"as {kind}:4"
                )
            batches[f"batches of {int(given)}{TOGETHER[kind]}"] = int(given)
    return Extra(
        tuple(dict.fromkeys(depths)),
        tuple(dict.fromkeys(taus)),
        tuple(dict.fromkeys(controls)),
        batches,
        tuple(dict.fromkeys(alone)),
    )


def _thresholds(word: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(v) for v in word.removeprefix("tau:").split("/"))
    except ValueError:
        values = (math.nan,)
    if any(math.isnan(v) for v in values) or len(values) not in (1, count):
        raise UsageError(
            f"--set exits={word}: tau: takes one number, such as tau:0.5, or {count} with / "
            "between them, one for each depth that can be left at"
        )
    return values


def expected(at: Callable[[int], Mapping[str, Any]], shares: Mapping[int, float]) -> dict[str, Any]:
    """The scores of one utterance that leaves at depth k with probability shares[k].

    Args:
        at: depth -> metric -> a float, a Ratio or a Failure.
    Returns: metric -> its expectation; a Failure where one of the depths fails.
    """
    by_depth = {depth: at(depth) for depth in shares}
    return {
        name: _expected([found[name] for found in by_depth.values()], list(shares.values()))
        for name in next(iter(by_depth.values()))
    }


def _expected(values: Sequence[Any], shares: Sequence[float]) -> float | Ratio | Failure:
    for value in values:
        if isinstance(value, Failure):
            return value
    parts = [value.part if isinstance(value, Ratio) else value for value in values]
    part = math.fsum(share * one for share, one in zip(shares, parts, strict=True))
    return Ratio(part, values[0].whole) if isinstance(values[0], Ratio) else part


def shares(depth: np.ndarray) -> dict[int, float]:
    """(n,) exits -> each depth taken and the share of utterances that leave there."""
    depths, counts = np.unique(depth, return_counts=True)
    return dict(zip(depths.tolist(), (counts / len(depth)).tolist(), strict=True))


def worth(scores: Sequence[Sequence[Any]], metric: Metric) -> np.ndarray:
    """(n, K) what n utterances are worth at K depths, higher is better: the score, or of a rate its
    part. A failure is worse than anything that any choice could win back; an utterance that fails
    everywhere is worth the same everywhere.
    """
    sign = 1 if metric.higher_is_better else -1
    value = np.array(
        [
            [
                np.nan
                if isinstance(one, Failure)
                else sign * (one.part if isinstance(one, Ratio) else one)
                for one in of
            ]
            for of in scores
        ]
    )
    lost = np.isnan(value)
    value[lost.all(axis=1)] = 0
    spread = np.nanmax(value) - np.nanmin(value)
    return np.where(np.isnan(value), np.nanmin(value) - (spread + 1) * len(value), value)


def oracle(worth: np.ndarray, depths: Sequence[int], total: int) -> np.ndarray:
    """The exits with the largest total worth whose depths add up to at most `total`; of several,
    those of the smallest total depth.

    A knapsack with one choice an utterance, solved exactly by dynamic programming over the depth
    spent (Kellerer, Pferschy and Pisinger, 2004, sec. 11.5). For many utterances that is what the
    Lagrangian argmax_k worth_k - lambda k gives, which misses totals between its corners.

    Args:
        worth: (n, K), K depths in increasing order; total: at least n times the first of them.
    Returns: (n,) depths.
    """
    exact = np.round(worth * RESOLUTION).astype(np.int64)  # so that ties are ties in any order
    deeper, count = [k - depths[0] for k in depths], len(worth)
    spare = min(total - count * depths[0], count * deeper[-1])
    # best[d]: the most that the utterances so far are worth when they spend exactly d
    best = np.full(spare + 1, np.iinfo(np.int64).min // 2)
    best[0] = 0
    taken = np.zeros((count, spare + 1), np.uint8)
    for i, values in enumerate(exact):
        before, best = best, best + values[0]
        for k in _worth_going(values):
            if deeper[k] <= spare:
                gained = before[: spare + 1 - deeper[k]] + values[k]
                better = gained > best[deeper[k] :]
                best[deeper[k] :][better] = gained[better]
                taken[i, deeper[k] :][better] = k
    spent, out = int(best.argmax()), np.empty(count, int)
    for i in reversed(range(count)):
        out[i] = depths[taken[i, spent]]
        spent -= deeper[taken[i, spent]]
    return out


def _worth_going(values: np.ndarray) -> list[int]:
    """The choices that are worth more than every shallower one; the first is not among them."""
    most = np.maximum.accumulate(values)
    return [k for k in range(1, len(values)) if values[k] > most[k - 1]]
