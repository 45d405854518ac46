"""From the evidence of a task's training split to a threshold, and from training exits to a
span. Pure functions.
"""

from collections.abc import Sequence

import numpy as np

from .errors import UsageError

SPANS = ("mean", "threshold", "min-max", "all")
OFTEN = 0.15  # DAISY, sec. 3.3: the share of training exits above which a depth is in `threshold`


def depth_means(evidence: np.ndarray) -> np.ndarray:
    """(n, E) -> (E,): the mean over utterances of each exit's evidence, in double precision."""
    return evidence.astype(np.float64).mean(0)


def midpoint(evidence: np.ndarray, rho: float) -> float:
    """tau = rho (Emax + Emin) / 2, E the depth means (DAISY, eq. 3). Nothing is assumed about their
    order.
    """
    means = depth_means(evidence)
    return float(rho * (means.max() + means.min()) / 2)


def for_mean_depth(
    evidence: np.ndarray, target: float, exits: Sequence[int] | None = None, last: int | None = None
) -> float:
    """The threshold at which the mean exit comes closest to `target`.

    The mean exit never rises with tau, so all values of the evidence that change an exit are
    searched by bisection.

    Args:
        evidence: (n, E), a column for each of `exits` (default: 1, 2, ..., E).
        last: the depth at which whoever is left is forced out; default: the last of `exits`.
    """
    exits = tuple(exits or range(1, evidence.shape[1] + 1))
    last = last or exits[-1]
    if not exits[0] <= target <= last:
        raise UsageError(
            f"a mean depth of {target:g} cannot be reached: this upstream leaves at depths "
            f"{exits[0]} to {last}"
        )
    tested = [i for i, k in enumerate(exits) if k < last]
    columns, depths = evidence[:, tested], np.array([exits[i] for i in tested])

    def mean_depth(tau: float) -> float:
        below = columns < tau
        return float(np.where(below.any(1), depths[below.argmax(1)], last).mean())

    values = np.unique(columns)
    # strictly above a value, that value leaves
    taus = np.append(values, np.nextafter(values[-1], np.inf))
    low, high = 0, len(taus) - 1
    while low < high:
        middle = (low + high) // 2
        if mean_depth(taus[middle]) > target:
            low = middle + 1
        else:
            high = middle
    near = taus[max(low - 1, 0) : low + 1]
    return float(min(near, key=lambda tau: abs(mean_depth(tau) - target)))


def span(name: str, taken: np.ndarray, allowed: Sequence[int]) -> tuple[int, ...]:
    """The depths an exit may be tested in, from where the training utterances left (DAISY, sec.
    3.3).

    mean: floor(mu)..ceil(mu), or the nearest allowed depths around mu where exits are sparse.
    threshold: depths with more than 15 % of the exits. min-max: shallowest to deepest exit.
    all: every allowed depth.

    Args:
        taken: (n,) exit depths of the training utterances, all of them allowed.
        allowed: the depths that can be left at, rising.
    """
    if name == "all":
        return tuple(allowed)
    if name == "mean":
        mu = taken.mean()
        return tuple(
            sorted({max(k for k in allowed if k <= mu), min(k for k in allowed if k >= mu)})
        )
    if name == "min-max":
        return tuple(k for k in allowed if taken.min() <= k <= taken.max())
    if name == "threshold":
        share = np.bincount(taken, minlength=allowed[-1] + 1) / len(taken)
        often = tuple(int(k) for k in np.flatnonzero(share > OFTEN))
        if not often:
            raise UsageError(
                f"the span `threshold` is empty: no depth has more than {OFTEN:.0%} of the "
                f"training exits (the most used, {int(share.argmax())}, has {share.max():.1%}); "
                "use --span mean or --span min-max, or another value of the knob"
            )
        return often
    raise UsageError(f"there is no span {name!r}; known: {', '.join(SPANS)}")
