"""From the evidence of a task's training split to a threshold, and from training exits to a
span. Pure functions.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .errors import UsageError
from .exiting import Exit, replay

SPANS = ("mean", "threshold", "min-max", "all")  # the paper's, in its order, and every depth
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


def refuse_mean_depth(target: float, exits: Sequence[int], last: int, patience: int = 1) -> None:
    """UsageError for a mean depth that is not between the first of `exits` where patience lets
    anybody leave and `last`."""
    first = [*exits[patience - 1 :], last][0]
    if not first <= target <= last:
        raise UsageError(
            f"a mean depth of {target:g} cannot be reached: this upstream leaves at depths "
            f"{first} to {last}"
        )


def for_mean_depth(
    evidence: np.ndarray,
    target: float,
    exits: Sequence[int] | None = None,
    last: int | None = None,
    patience: int = 1,
) -> float:
    """The threshold at which the mean exit comes closest to `target`.

    Args:
        evidence: (n, E), a column for each of `exits` (default: 1, 2, ..., E).
        last: the depth at which whoever is left is forced out; default: the last of `exits`.
        patience: how many exits in a row must be below it.
    """
    exits = tuple(exits or range(1, evidence.shape[1] + 1))
    last = last or exits[-1]
    refuse_mean_depth(target, exits, last, patience)
    depths = tuple(sorted({*exits, last}))
    if len(depths) == 1:
        return 0.0  # everybody is forced out there
    # at the smallest of them nobody leaves, as at -inf
    taus = thresholds(evidence, depths, exits)[1:]

    def mean_depth(tau: float) -> float:
        return float(replay(evidence, Exit(depths, tau, patience), exits).mean())

    at = _first(len(taus), lambda i: mean_depth(taus[i]) <= target)
    near = taus[max(at - 1, 0) : at + 1]
    return float(min(near, key=lambda tau: abs(mean_depth(tau) - target)))


def thresholds(evidence: np.ndarray, depths: Sequence[int], exits: Sequence[int]) -> np.ndarray:
    """All thresholds at which exits differ on these utterances, rising, from -inf (never) on.

    Args:
        evidence: (n, E), a column for each of `exits`.
        depths: where utterances may leave; at the last of them they are forced out.
    """
    columns = evidence[:, [i for i, k in enumerate(exits) if k in depths[:-1]]]
    values = np.unique(columns)
    # strictly above a value, that value leaves
    beyond = np.nextafter(values[-1:], np.inf, dtype=values.dtype)
    return np.concatenate([np.array([-np.inf], values.dtype), values, beyond])


def first_that(
    taus: np.ndarray,
    evidence: np.ndarray,
    exit: Exit,
    exits: Sequence[int],
    holds: Callable[[np.ndarray], bool],
) -> float | None:
    """The smallest of rising thresholds of `exit` whose (n,) exit depths pass `holds`; None where
    none does.

    No utterance leaves later at a larger threshold, whatever the patience, so what holds once must
    hold from there on: bisection finds it.
    """

    def passes(i: int) -> bool:
        return holds(replay(evidence, replace(exit, tau=float(taus[i])), exits))

    at = _first(len(taus), passes)
    return float(taus[at]) if passes(at) else None


def ladder(evidence: np.ndarray, exit: Exit, exits: Sequence[int], steps: int) -> list[float]:
    """Rising thresholds of `exit` at which the mean exit falls in even steps from the last of its
    places to the first; fewer where the evidence has no such steps."""
    taus = thresholds(evidence, exit.depths, exits)

    def above(most: float) -> float | None:
        return first_that(taus, evidence, exit, exits, lambda depth: bool(depth.mean() <= most))

    found = map(above, np.linspace(exit.places[-1], exit.places[0], steps).tolist())
    return list(dict.fromkeys(tau for tau in found if tau is not None))


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """The first of 0, 1, ... that holds, where all after it do; else the last."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


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
