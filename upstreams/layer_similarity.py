"""Leave when a block changes nothing any more: the mean cosine between successive depths
exceeds a threshold.

Zaiem et al., 2023, "Fine-tuning strategies for faster inference" (arXiv:2303.06740), layer
similarity. It needs no training and works on any backbone; the threshold is chosen so that the
training split leaves at a wanted mean depth.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..benchmark.calibration import for_mean_depth, refuse_mean_depth
from ..benchmark.contract.wrapper import ExitRule
from ..benchmark.exiting import halfway
from ..benchmark.masking import masked_mean
from ..benchmark.registry import build_upstream, spelled, upstreams


@upstreams.register("layer_similarity")
class Similarity(ExitRule):
    """`backbone` is any upstream's name, `weights` its weights option."""

    knob, knob_values = "target_depth", (6.0,)  # of 12 blocks; else half-way, too
    stand_in = {"weights": "random"}
    compared = ({},)

    def __init__(self, backbone: str = "hubert.tiny", weights: str = ""):
        inner = build_upstream(backbone, {"weights": weights} if weights else {})
        super().__init__(
            inner,
            name=spelled("layer_similarity", "", backbone=(inner.card.name, "hubert.tiny")),
            source="Zaiem et al., 2023, arXiv:2303.06740",
            evidence="1 - mean cosine of successive depths' frames",
        )
        self.knob_values = (halfway(self),)

    def evidence(self, depth: int, state: Tensor, previous: Tensor, frames: Tensor) -> Tensor:
        return 1 - masked_mean(F.cosine_similarity(state, previous, dim=-1), frames)

    def tau(self, evidence: np.ndarray, value: float) -> float:
        return for_mean_depth(evidence, value, self.exits, self.card.depth)

    def check_knob(self, value: float) -> str:
        refuse_mean_depth(value, self.exits, self.card.depth)
        return ""

    def evidence_macs(self, samples: int, depth: int) -> int:
        frames = int(self.inner.frames(torch.tensor(samples)))
        return 3 * frames * self.card.dim  # one dot product and two norms a frame
