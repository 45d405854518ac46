"""Rows beside the usual ones, all from the same record: other fixed depths, thresholds of one's
own, and two controls.

`oracle` lets each test utterance leave at the shallowest depth at which its score (the task's first
metric) is at least as good as the same head's at full depth: what the best evidence could save
without losing anything there. It looks at the answer, so it is a bound and no system. `random`
deals the exits of an adaptive row out anew among the test utterances: the same head, the same exit
histogram, but nobody asked who is sure. An adaptive row that does not beat it has learned how deep
to go, not for whom.
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


@dataclass(frozen=True)
class Extra:
    """What `--set exits=...` adds to a table."""

    depths: tuple[int, ...] = ()  # fixed exits
    taus: tuple[tuple[float, ...], ...] = ()  # one threshold, or one a depth
    controls: tuple[str, ...] = ()
    # name -> utterances that leave together
    batches: Mapping[str, int] = field(default_factory=dict)


def extra(text: str, upstream: Upstream, answers: bool = False) -> Extra:
    """ "3,static,tau:0.9,tau:0.9/0.8/0.7,oracle,random,batch:4" -> the rows it asks for.

    Args:
        answers: the upstream answers the task by itself, so it has something to say at its exits
            alone; a head reads any depth.
    """
    depths, taus, controls, batches = [], [], [], {}
    allowed = leaving(upstream) if answers else range(upstream.card.depth + 1)
    for word in filter(None, (w.strip() for w in text.strip("[]").split(","))):
        kind, _, given = word.partition(":")
        if word == "static":
            depths += [k for k in allowed if 0 < k < upstream.card.depth]
        elif word.isdecimal() and int(word) in allowed:
            depths += [int(word)]
        elif not (word in CONTROLS or (kind in ("tau", "batch") and ":" in word)):
            raise UsageError(
                f"--set exits={word}: a depth ({', '.join(map(str, allowed))}), `static` (all of "
                "them), tau:NUMBER, tau:NUMBER/.../NUMBER (one for each depth it can leave at), "
                f"oracle, random or batch:N; {did_you_mean(word, ('static', *CONTROLS))}"
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
                    f"--set exits={word}: batch: takes how many utterances leave together, such as "
                    "batch:4"
                )
            batches[f"batches of {int(given)}"] = int(given)
    return Extra(
        tuple(dict.fromkeys(depths)),
        tuple(dict.fromkeys(taus)),
        tuple(dict.fromkeys(controls)),
        batches,
    )


def _thresholds(word: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(v) for v in word.removeprefix("tau:").split("/"))
    except ValueError:
        values = (math.nan,)
    if any(math.isnan(v) for v in values) or len(values) not in (1, count):
        raise UsageError(
            f"--set exits={word}: tau: takes one number, or {count} with / between them, one for "
            "each depth that can be left at"
        )
    return values


def shuffled(depth: np.ndarray, seed: int) -> np.ndarray:
    """(n,) exits -> the same exits, dealt out at random."""
    return np.random.default_rng([seed, len(depth)]).permutation(depth)


def oracle(score: Callable[[int], Any], allowed: Sequence[int], metric: Metric) -> int:
    """The shallowest of `allowed` whose score is at least as good as the last one's; a failure is
    never good."""
    worth = {True: 1, False: -1}[metric.higher_is_better]

    def value(depth: int) -> float:
        found = score(depth)
        if isinstance(found, Failure):
            return -math.inf
        return worth * (found.part if isinstance(found, Ratio) else found)

    *shallower, last = allowed
    full = value(last)
    return next((k for k in shallower if full > -math.inf and value(k) >= full), last)
