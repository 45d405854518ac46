"""Where utterances leave, from the evidence of an upstream alone: no head, no states kept."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..contract import Example, Item, Upstream
from ..errors import UsageError
from ..exiting import Exit, leaving, replay
from .feature_cache import cached_features
from .promises import threshold


class Left(NamedTuple):
    """What one value of the knob gives.

    Attributes:
        tau: calibrated by that value, in the unit of the evidence.
        depth: (n,) where each utterance leaves, every depth tested.
    """

    tau: float
    depth: np.ndarray


def exit_depths(
    upstream: Upstream,
    calibration: Sequence[Item],
    items: Sequence[Item],
    load: Callable[[Item], Example],
    values: Sequence[float],
    device: str = "cpu",
) -> dict[float, Left]:
    """By value of the knob, where `items` leave with thresholds set on `calibration`.

    Both are heard once, at all depths, and their evidence is kept in the feature cache.

    Raises:
        UsageError: the upstream does not exit by itself, or its evidence is not finite.
    """
    if not upstream.knob:
        raise UsageError(
            f"{upstream.card.name} does not exit by itself, so there are no exit depths to look "
            "at; choose an adaptive upstream such as daisy"
        )
    known, asked = (
        cached_features(upstream, some, load, what, device, keep="evidence").evidence
        for some, what in ((calibration, "calibration"), (items, "exit depths"))
    )
    if not (np.isfinite(known).all() and np.isfinite(asked).all()):
        raise UsageError(
            f"{upstream.card.name}: its evidence is not finite, so no exit can be told; run: "
            f"run_benchmark.py check {upstream.card.name}"
        )
    taus = {value: threshold(upstream, known, value) for value in values}
    exits = {
        value: Exit(leaving(upstream), tau, upstream.patience(value)) for value, tau in taus.items()
    }
    return {
        value: Left(taus[value], replay(asked, exit, upstream.exits))
        for value, exit in exits.items()
    }
