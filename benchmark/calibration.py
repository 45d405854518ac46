"""From the evidence of a task's training split to a threshold, and from training exits to a span. Pure functions."""
import math

import numpy as np

from .errors import UsageError

SPANS = ("mean", "threshold", "min-max", "all")
OFTEN = 0.15  # DAISY, sec. 3.3: a depth belongs to the `threshold` span when more than this share of the training exits is there


def depth_means(evidence: np.ndarray) -> np.ndarray:
    """(n, L) -> (L,): the mean over utterances of each depth's evidence, in double precision."""
    return evidence.astype(np.float64).mean(0)


def midpoint(evidence: np.ndarray, rho: float) -> float:
    """tau = rho (Emax + Emin) / 2, E the depth means (DAISY, eq. 3). Nothing is assumed about their order."""
    means = depth_means(evidence)
    return float(rho * (means.max() + means.min()) / 2)


def for_mean_depth(evidence: np.ndarray, target: float) -> float:
    """The threshold at which the mean exit over all depths comes closest to `target`, among all that change an exit.

    The mean exit never rises with tau, so the sorted evidence values are searched by bisection.
    """
    blocks = evidence.shape[1]
    if not 1 <= target <= blocks:
        raise UsageError(f"a mean depth of {target:g} cannot be reached: this upstream's depths are 1 to {blocks}")

    def mean_depth(tau: float) -> float:
        below = evidence[:, :-1] < tau
        return float(np.where(below.any(1), below.argmax(1) + 1, blocks).mean())

    values = np.unique(evidence[:, :-1])
    taus = np.append(values, np.nextafter(values[-1], np.inf))     # strictly above a value, that value leaves
    low, high = 0, len(taus) - 1
    while low < high:
        middle = (low + high) // 2
        if mean_depth(taus[middle]) > target:
            low = middle + 1
        else:
            high = middle
    near = taus[max(low - 1, 0): low + 1]
    return float(min(near, key=lambda tau: abs(mean_depth(tau) - target)))


def span(name: str, exits: np.ndarray, blocks: int) -> tuple[int, ...]:
    """The depths an exit may be tested in, from where the training utterances left (DAISY, sec. 3.3).

    mean: floor(mu)..ceil(mu). threshold: depths with more than 15 % of the exits. min-max: shallowest to deepest exit.
    all: every depth, no constraint.
    """
    if name == "all":
        return tuple(range(1, blocks + 1))
    if name == "mean":
        return tuple(range(math.floor(exits.mean()), math.ceil(exits.mean()) + 1))
    if name == "min-max":
        return tuple(range(int(exits.min()), int(exits.max()) + 1))
    if name == "threshold":
        share = np.bincount(exits, minlength=blocks + 1) / len(exits)
        often = tuple(int(k) for k in np.flatnonzero(share > OFTEN))
        if not often:
            raise UsageError(f"the span `threshold` is empty: no depth has more than {OFTEN:.0%} of the training exits (the most "
                             f"used, {int(share.argmax())}, has {share.max():.1%}); use --span mean or --span min-max, or another rho")
        return often
    raise UsageError(f"there is no span {name!r}; known: {', '.join(SPANS)}")
