"""Leave when a block changes nothing any more: the mean cosine between successive depths exceeds a threshold.

Zaiem et al., 2023, "Fine-tuning strategies for faster inference" (arXiv:2303.06740), layer similarity. It needs no training
and works on any backbone; the threshold is chosen so that the training split leaves at a wanted mean depth.
"""
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..benchmark.calibration import for_mean_depth
from ..benchmark.contract import UpstreamCard
from ..benchmark.registry import build_upstream, spelled, upstreams
from ._wrapping import Wrapping


@upstreams.register("similarity")
class Similarity(Wrapping):
    """`backbone` is any upstream's name, `weights` its weights option."""
    knob, knob_values = "target_depth", (6.0,)
    stand_in = {"weights": "random"}

    def __init__(self, backbone: str = "hubert.tiny", weights: str = ""):
        super().__init__()
        self.inner = build_upstream(backbone, {"weights": weights} if weights else {})
        card = self.inner.card
        self.card = UpstreamCard(
            name=spelled("similarity", "", backbone=(card.name, "hubert.tiny")), depth=card.depth, dim=card.dim,
            stride=card.stride, revision=card.revision, source="Zaiem et al., 2023, arXiv:2303.06740",
            evidence="1 - mean cosine of successive depths' frames")

    def evidence(self, depth: int, state: Tensor, previous: Tensor, frames: Tensor) -> Tensor:
        own = torch.arange(state.shape[1], device=state.device) < frames[:, None]
        return 1 - (F.cosine_similarity(state, previous, dim=-1) * own).sum(1) / frames

    def tau(self, evidence: np.ndarray, value: float) -> float:
        return for_mean_depth(evidence, value)

    def evidence_macs(self, samples: int, depth: int) -> int:
        return 3 * int(self.inner.frames(torch.tensor(samples))) * self.card.dim     # one dot product and two norms a frame
