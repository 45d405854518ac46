"""Learning rates by name: how they move with the updates (factors of the peak), or with the dev
split.

    tri_stage  fairseq/optim/lr_scheduler/tri_stage_lr_scheduler.py: rise, hold, exponential fall
    noam       Vaswani et al., 2017, sec. 5.3: rise, then fall with the root of the update
    linear     transformers' get_linear_schedule_with_warmup: rise, then fall to 0
    newbob     speechbrain/nnet/schedulers.py, NewBobScheduler: fall where dev stops getting better
    constant
    (warm_then_linear, of our own recipes without a name: a rise over a share of the updates)

Updates are counted from 0: the rate of update 0 is that of the first step.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

Factor = Callable[[int], float]
NAMES = ("tri_stage", "noam", "linear", "newbob", "constant")


def tri_stage(
    warmup: int, hold: int, decay: int, first: float = 0.01, last: float = 0.05
) -> Factor:
    """From `first` of the peak to the peak in `warmup` updates, there for `hold`, then down to
    `last` of it exponentially in `decay`, and no further."""

    def factor(step: int) -> float:
        if step < warmup:
            return first + (1 - first) * step / warmup
        fallen = step - warmup - hold
        if fallen <= 0:
            return 1.0
        return last ** (fallen / decay) if fallen <= decay else last

    return factor


def noam(warmup: int, width: int = 0) -> Factor:
    """width^-0.5 min(s^-0.5, s warmup^-1.5) of update s, counted from 1: the rate itself, where
    the learning rate is 1.

    Args:
        width: of the model; 0: the same curve with its peak, at update `warmup`, at 1.
    """
    scale = width**-0.5 if width else warmup**0.5

    def factor(step: int) -> float:
        return scale * min((step + 1) ** -0.5, (step + 1) * warmup**-1.5)

    return factor


def warm_then_linear(steps: int, warmup: float, floor: float = 0.0) -> Factor:
    """Factors of a learning rate that rises over a share of the steps, then falls linearly, and not
    below `floor`."""
    warm = max(1, int(warmup * steps))

    def factor(step: int) -> float:
        return min((step + 1) / warm, max(floor, (steps - step) / max(1, steps - warm)))

    return factor


def linear(steps: int, warmup: int) -> Factor:
    """From 0 to the peak in `warmup` updates, then to 0 at update `steps`."""

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return factor


def newbob(
    log: Sequence[Mapping[str, float]], name: str, factor: float, improvement: float
) -> float:
    """The factor of a rate after the validations of a log.

    Args:
        log: a line for each validation; name: of the number in it that should fall.
        factor: of the rate, for every validation at which that number fell by less than the share
            `improvement` of what it was.
    """
    numbers = [line[name] for line in log]
    poor = 0
    for before, now in pairwise(numbers):
        better = (before - now) / before if before else 0.0
        # a number that is none is no improvement
        poor += not (math.isfinite(better) and better >= improvement)
    return factor**poor
