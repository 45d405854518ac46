"""A test threshold that is chosen for what it saves or what it costs, not by the knob's value.

    --budget    the smallest threshold that saves a share of the multiply-accumulates, chosen on the
                training split's evidence
    --max-loss  the largest threshold whose loss against the same head at full depth is bounded,
                chosen on the dev split once the heads are trained (bounded.py)

The test split has no say in either.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import calibration
from ..contract import Item, Metric, Upstream
from ..errors import UsageError
from ..exiting import Exit, leaving
from . import cost


@dataclass(frozen=True)
class Anytime:
    """What is asked of thresholds at test.

    Attributes:
        budgets: shares of the multiply-accumulates that are to be saved, each from 0 to 1.
        max_losses: bounds on the expected loss, in the unit of the task's first metric.
        delta: how probable it may be that such a bound does not hold.
        loss_bound: the most that one utterance can lose; None = as the metric says.
    """

    budgets: tuple[float, ...] = ()
    max_losses: tuple[float, ...] = ()
    delta: float = 0.1
    loss_bound: float | None = None

    @property
    def exits(self) -> dict[str, tuple[float | None, float | None]]:
        """How rows call it -> (budget, max loss), one of which is None."""
        delta = f" delta {self.delta:g}" if self.delta != 0.1 else ""
        most = "" if self.loss_bound is None else f" of {self.loss_bound:g}"
        return {f"budget {100 * share:g}%": (share, None) for share in self.budgets} | {
            f"max loss {loss:g}{most}{delta}": (None, loss) for loss in self.max_losses
        }


def most_lost(asked: Anytime, metric: Metric) -> float:
    """The most that one utterance can lose: as asked for, as the metric says, or 100 %."""
    most = asked.loss_bound or metric.largest_loss or (100.0 if metric.unit == "%" else None)
    if most is None:
        raise UsageError(
            f"--max-loss: {metric.name} has no largest loss of an utterance; name one in its unit, "
            "beyond which losses count as that: --loss-bound 10"
        )
    return most


def check(
    asked: Anytime,
    upstream: Upstream,
    values: Sequence[float],
    metric: Metric,
    train: Sequence[Item],
    answers: bool,
) -> None:
    """Whether it can be had, as far as that is known before anything is recorded.

    Args:
        values: of the knob, for each of which it is asked.
    Raises: UsageError about the first that cannot.
    """
    if not (asked.budgets or asked.max_losses):
        return
    if not upstream.knob:
        raise UsageError(
            f"--budget and --max-loss: {upstream.card.name} does not exit by itself; choose an "
            "adaptive upstream such as daisy"
        )
    if asked.budgets:
        exit = Exit(leaving(upstream), patience=min(map(upstream.patience, values)))
        first = np.full(len(train), exit.places[0])
        at_most = saved(upstream, train, first, exit, answers)
        for share in asked.budgets:
            if share > at_most:
                raise _infeasible(share, at_most, upstream, exit.places)
    for loss in asked.max_losses:
        if loss >= (most := most_lost(asked, metric)):
            raise UsageError(
                f"--max-loss {loss:g}: one utterance loses at most {most:g} {metric.unit} of "
                f"{metric.name}, so any exit would do; ask for less, or raise --loss-bound"
            )


def saved(
    upstream: Upstream, items: Sequence[Item], depth: np.ndarray, exit: Exit, answers: bool
) -> float:
    """The share of the multiply-accumulates that exits at `depth` (n,) save against full depth,
    every test of a branch charged."""
    blocks = upstream.card.depth
    spent = cost.macs(upstream, items, depth, exit, answers)
    whole = np.full(len(items), blocks)
    return 1 - spent / cost.macs(upstream, items, whole, Exit((blocks,)), answers)


def for_budget(
    upstream: Upstream,
    items: Sequence[Item],
    evidence: np.ndarray,
    exit: Exit,
    share: float,
    answers: bool,
) -> Exit:
    """`exit` with the smallest threshold that saves `share` on these utterances.

    Args:
        evidence: (n, E), a column for each of the upstream's exits.
    Raises: UsageError where its depths cannot save as much.
    """
    blocks, exits = upstream.card.depth, upstream.exits
    spent = cost.macs_by_depth(upstream, items, exit, answers)
    whole = cost.macs_by_depth(upstream, items, Exit((blocks,)), answers)[blocks].sum()

    def saving(depth: np.ndarray) -> float:
        total = sum(spent[k][depth == k].sum() for k in exit.depths)
        return float(1 - total / whole)

    def saves(depth: np.ndarray) -> bool:
        return saving(depth) >= share

    taus = calibration.thresholds(evidence, exit.depths, exits)
    tau = calibration.first_that(taus, evidence, exit, exits, saves)
    if tau is None:
        at_most = saving(np.full(len(items), exit.places[0]))
        raise _infeasible(share, at_most, upstream, exit.places)
    return replace(exit, tau=tau)


def _infeasible(
    share: float, at_most: float, upstream: Upstream, places: tuple[int, ...]
) -> UsageError:
    first, last = places[0], places[-1]
    depths = f"depth {first}" if first == last else f"depths {first} to {last}"
    return UsageError(
        f"--budget {100 * share:g}% cannot be saved: {upstream.card.name} leaves at {depths}, and "
        f"leaving at {first} always saves {100 * at_most:.1f} % of the training split's "
        "multiply-accumulates"
    )
