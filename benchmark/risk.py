"""How far an exit may go before it costs too much: a bound on the expected loss that holds with a
chosen probability, whatever the losses' distribution. Pure functions.

Learn then Test (Angelopoulos et al., 2021, arXiv:2110.01052): of every setting the hypothesis "its
expected loss is above the bound" gets a p-value from held-out utterances (Hoeffding-Bentkus), and
settings are tried in an order fixed beforehand until the first that cannot be rejected
(fixed-sequence testing). With probability 1 - delta over the held-out utterances every setting that
was passed keeps the bound. Conformal risk control (Angelopoulos et al., 2022, arXiv:2208.02814)
takes fewer utterances, but asks for losses that rise along the order and bounds them on average
over held-out sets only. Both ask for utterances drawn independently from where the test comes from.
"""

import math
from collections.abc import Iterable

import numpy as np

from .metrics import Failure, Ratio

Scored = float | Ratio | Failure


def loss(full: Scored, early: Scored, higher_is_better: bool, most: float) -> float | None:
    """How much worse an early exit is than full depth on one utterance, clipped to [0, most].

    Of a ratio (errors over words) it is the difference of the utterance's own rates. An early
    exit that cannot be scored loses `most`.

    Returns: None where full depth itself cannot be scored.
    """
    if isinstance(full, Failure):
        return None
    if isinstance(early, Failure):
        return most
    drop = (_plain(full) - _plain(early)) * (1 if higher_is_better else -1)
    return float(np.clip(drop, 0.0, most))


def _plain(score: float | Ratio) -> float:
    return score.part / score.whole if isinstance(score, Ratio) else score


def p_value(losses: np.ndarray, bound: float) -> float:
    """Of the hypothesis that the expected loss is above `bound`: Hoeffding-Bentkus (prop. 1.1).

    Args:
        losses: (n,) in [0, 1], of independent utterances.
        bound: in (0, 1), in the same unit.
    """
    from scipy.stats import binom

    n, mean = len(losses), float(np.mean(losses)) if len(losses) else 1.0
    if mean >= bound:
        return 1.0
    hoeffding = math.exp(-n * divergence(mean, bound))
    # the mean's rounding error must not make one loss more of it
    at_most = math.ceil(round(n * mean, 9))
    return min(1.0, hoeffding, math.e * float(binom.cdf(at_most, n, bound)))


def divergence(a: float, b: float) -> float:
    """Kullback-Leibler divergence of two coins, nats."""
    heads = a * math.log(a / b) if a > 0 else 0.0
    return heads + (1 - a) * math.log((1 - a) / (1 - b))


def passed(p_values: Iterable[float], delta: float) -> list[float]:
    """The p-values of the settings that keep the bound, in the order they were tried: all before
    the first above `delta`. What comes after it is not looked at."""
    kept = []
    for p in p_values:
        if p > delta:
            break
        kept.append(p)
    return kept


def fewest(bound: float, delta: float) -> int:
    """How many utterances it takes to pass a setting that loses nothing on any of them."""
    return math.ceil(math.log(delta) / math.log1p(-bound))
