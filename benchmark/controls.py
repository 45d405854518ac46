"""Rows beside the usual ones, all from the same record: other fixed depths, thresholds of one's own, and two controls.

`oracle` lets each test utterance leave at the shallowest depth at which its score (the task's first metric) is at least as
good as the same head's at full depth: what the best evidence could save without losing anything there. It looks at the
answer, so it is a bound and no system. `random` deals the exits of an adaptive row out anew among the test utterances:
the same head, the same exit histogram, but nobody asked who is sure. An adaptive row that does not beat it has learned
how deep to go, not for whom.
"""
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .contract import Metric, Upstream
from .errors import UsageError, closest
from .metrics import Failure, Ratio

CONTROLS = ("oracle", "random")


@dataclass(frozen=True)
class Extra:
    """What `--set exits=...` adds to a table."""
    depths: tuple[int, ...] = ()                  # fixed exits
    taus: tuple[tuple[float, ...], ...] = ()      # one threshold, or one a depth
    controls: tuple[str, ...] = ()


def extra(text: str, upstream: Upstream) -> Extra:
    """ "3,static,tau:0.9,tau:0.9/0.8/0.7,oracle,random" -> the rows it asks for."""
    depths, taus, controls, blocks = [], [], [], upstream.card.depth
    for word in filter(None, (w.strip() for w in text.strip("[]").split(","))):
        if word == "static":
            depths += range(1, blocks)
        elif word.isdecimal() and int(word) <= blocks:
            depths += [int(word)]
        elif not (word in CONTROLS or word.startswith("tau:")):
            raise UsageError(f"--set exits={word}: depths 0 to {blocks}, `static` (all of them), tau:NUMBER, tau:NUMBER/.../NUMBER (one a "
                             f"depth), oracle or random; {closest(word, ('static', *CONTROLS))}")
        elif not upstream.knob:
            raise UsageError(f"--set exits={word}: {upstream.card.name} does not exit by itself; choose an adaptive upstream such as daisy")
        elif word in CONTROLS:
            controls += [word]
        else:
            taus += [_thresholds(word, blocks)]
    return Extra(tuple(dict.fromkeys(depths)), tuple(dict.fromkeys(taus)), tuple(dict.fromkeys(controls)))


def _thresholds(word: str, blocks: int) -> tuple[float, ...]:
    try:
        values = tuple(float(v) for v in word.removeprefix("tau:").split("/"))
    except ValueError:
        values = (math.nan,)
    if any(math.isnan(v) for v in values) or len(values) not in (1, blocks):
        raise UsageError(f"--set exits={word}: tau: takes one number, or {blocks} with / between them, one a depth")
    return values


def shuffled(depth: np.ndarray, seed: int) -> np.ndarray:
    """(n,) exits -> the same exits, dealt out at random."""
    return np.random.default_rng([seed, len(depth)]).permutation(depth)


def oracle(score: Callable[[int], Any], blocks: int, metric: Metric) -> int:
    """The shallowest depth >= 1 whose score is at least as good as the one at `blocks`; a failure is never good."""
    worth = {True: 1, False: -1}[metric.higher_is_better]

    def value(depth: int) -> float:
        found = score(depth)
        return -math.inf if isinstance(found, Failure) else worth * (found.part if isinstance(found, Ratio) else found)
    full = value(blocks)
    return next((k for k in range(1, blocks) if full > -math.inf and value(k) >= full), blocks)
