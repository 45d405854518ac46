"""Margin: leave where the branches tell the likeliest unit from the second.

The mean over frames of p1 - p2, the largest and the second largest probability of the block's
branch: the softmax response of CALM (Schuster et al., 2022, arXiv:2207.07061), there of one token,
here of an utterance's frames, from DAISY's branches. Evidence is 1 minus it, and the threshold is
chosen so that the training split leaves at a wanted mean depth.
"""

import numpy as np
from torch import Tensor

from ..benchmark.calibration import for_mean_depth, refuse_mean_depth
from ..benchmark.registry import upstreams
from .backbones.branched import Branched, no_autocast


@upstreams.register("margin")
class Margin(Branched):
    called = "margin"
    paper = "Schuster et al., 2022, CALM, arXiv:2207.07061, on DAISY's branches"
    measures = "1 - mean frame margin p1 - p2 of the block's branch"
    knob, knob_values = "target_depth", (6.0,)  # of 12 blocks; else half-way, too
    compared = ({"front": "block_input"},)

    def unsure(self, logits: Tensor) -> Tensor:
        with no_autocast(logits):
            first, second = logits.float().softmax(-1).topk(2, -1).values.unbind(-1)
            return 1 - (first - second)

    def tau(self, evidence: np.ndarray, value: float) -> float:
        return for_mean_depth(evidence, value, self.exits, self.card.depth)

    def check_knob(self, value: float) -> str:
        refuse_mean_depth(value, self.exits, self.card.depth)
        return ""
