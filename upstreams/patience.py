"""Patience: leave when the answer has stayed the same at n successive depths.

PABEE (Zhou et al., 2020, arXiv:2006.04152): the classifiers of successive layers agree n times in a
row, so that n = 1 takes two layers (its fig. 1). For speech Berrebbi et al., 2022
(arXiv:2211.08989) compare transcripts. Here the answer is what DAISY's branches say, a unit a
frame, and two depths agree where the share of frames that they name alike reaches a tolerance.
Evidence is the share that they name otherwise; n is the exit's own `patience`, so evidence needs no
memory and any n is replayed from one record.
"""

import numpy as np
from torch import Tensor

from ..benchmark.calibration import midpoint
from ..benchmark.errors import UsageError
from ..benchmark.exiting import leaving
from ..benchmark.registry import upstreams
from .backbones.branched import Branched, mean_of


@upstreams.register("patience")
class Patience(Branched):
    """As `Branched`, and:

    Args:
        tolerance: the share of frames, up to 1, that two depths must name alike to agree; 0 = as
            the training split says: half-way between the depths that agree most and least.
    """

    called = "patience"
    paper = "Zhou et al., 2020, PABEE, arXiv:2006.04152, on DAISY's branches"
    measures = "share of frames that the block's branch names otherwise than the block before"
    knob, knob_values = "patience", (1.0, 2.0, 3.0)
    compared = ({"front": "block_input", "patience": "2"},)  # the middle one of its values

    def __init__(
        self,
        tag: str = "tiny",
        weights: str = "",
        branches: str = "",
        front: str = "projection",
        seed: int = 0,
        backbone: str = "",
        tap: str = "block",
        tolerance: float = 0.0,
    ):
        if not 0 <= tolerance <= 1:
            raise UsageError(f"patience: tolerance is a share of frames, 0 to 1, not {tolerance:g}")
        self.tolerance, self.own = tolerance, {"tolerance": (f"{tolerance:g}", "0")}
        super().__init__(tag, weights, branches, front, seed, backbone, tap)
        if not self.exits:
            raise UsageError(
                f"patience compares successive depths, and {self.inner.card.name} has one block"
            )

    @property
    def exits(self) -> tuple[int, ...]:
        """From 2 on: before depth 1 there is no answer to compare with."""
        return tuple(depth for depth in super().exits if depth > 1)

    def evidence(self, depth: int, state: Tensor, previous: Tensor, frames: Tensor) -> Tensor:
        here, before = self.branches[depth - 1], self.branches[depth - 2]

        def changed(now: Tensor, then: Tensor) -> Tensor:
            return (here(now).argmax(-1) != before(then).argmax(-1)).float()

        return mean_of(changed, frames, state, previous)

    def patience(self, value: float) -> int:
        return round(value)

    def tau(self, evidence: np.ndarray, value: float) -> float:
        """Just above 1 - tolerance, which still agrees: exits are strictly below their tau."""
        if not self.tolerance:
            return midpoint(evidence, 1.0)
        return float(np.nextafter(np.float32(1 - self.tolerance), np.float32(np.inf)))

    def check_knob(self, value: float) -> str:
        if value < 1 or value != round(value):
            raise UsageError(f"patience is a number of depths, 1, 2, 3, ..., not {value:g}")
        if value >= len(leaving(self)):
            return f"patience {value:g}: there are not as many depths to test, so nothing exits"
        return ""

    def evidence_macs(self, samples: int, depth: int) -> int:
        """Both branches: a test remembers nothing of the one before."""
        return sum(super(Patience, self).evidence_macs(samples, k) for k in (depth - 1, depth))
