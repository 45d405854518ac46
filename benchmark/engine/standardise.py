"""States brought to one scale: by the mean and deviation that each dimension of each depth has over
the training split.

Depths differ in scale by orders of magnitude, and most of a state is the same vector in every
frame. In a plain weighted sum the loudest depth drowns the others, and a mean over utterances that
left at different depths tells the depth rather than what was said. Standardised per depth, neither
happens, and a head need not first learn the scales. (BatchNorm's inference formula, Ioffe and
Szegedy, 2015, without affine, the statistics taken once instead of running.)
"""

import sys
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .feature_cache import FeatureCache

CONSTANT = 1e-6  # deviation, as a share of the mean, below which a dimension counts as constant


class Statistics(NamedTuple):
    """Of every depth and dimension over the frames of a split: (depths, D) float64 each."""

    mean: Tensor
    deviation: Tensor


class Standardise(nn.Module):
    """(L', B, T, D) states -> the same with mean 0 and deviation 1 over the split that `measure`
    was given; as they are before that, and at depths that were not measured.

    A dimension that is constant there is centred and not scaled.

    Args:
        depths: L + 1; dim: D.
    """

    def __init__(self, depths: int, dim: int):
        super().__init__()
        self.register_buffer("scale", torch.ones(depths, dim))
        self.register_buffer("shift", torch.zeros(depths, dim))

    def measure(self, statistics: Statistics) -> None:
        """Take the statistics of the first depths."""
        mean, deviation = statistics
        varies = deviation > CONSTANT * mean.abs()
        scale = torch.where(varies, 1 / deviation, 1.0)
        self.scale[: len(mean)], self.shift[: len(mean)] = scale, -mean * scale

    def forward(self, states: Tensor) -> Tensor:
        scale, shift = (x[: len(states), None, None] for x in (self.scale, self.shift))
        return torch.addcmul(shift, states, scale)


@lru_cache(maxsize=1)  # all heads of a run are trained on one split
def statistics(features: FeatureCache) -> dict[bool, Statistics]:
    """Layer-normed or not -> statistics over all that is stored of a split, in one pass.

    Every item counts with its valid frames. Where means over time are stored, an item counts once:
    the deviation is then that between utterances.
    """
    from tqdm import tqdm

    found = {normalise: _Sums() for normalise in (False, True)}
    rows = range(len(features.items))
    bar = {"desc": "statistics of states", "file": sys.stderr, "unit": "utt", "mininterval": 1}
    for row in tqdm(rows, **bar, leave=False):
        states = features.batch([row]).states
        for normalise, sums in found.items():
            sums.add(states[normalise][:, 0])
    return {normalise: sums.statistics() for normalise, sums in found.items()}


class _Sums:
    """Sums of frames and of their squares: in float32 within an utterance, in float64 over them.

    Both are of the distance to the first utterance's mean, because the square of a large mean would
    swallow a small variance.
    """

    def __init__(self) -> None:
        self.frames, self.first, self.second = 0, 0.0, 0.0
        self.origin: Tensor | None = None

    def add(self, states: Tensor) -> None:
        """(depths, T, D), without padding."""
        if self.origin is None:
            self.origin = states.mean(1, keepdim=True)
        states = states - self.origin
        self.frames += states.shape[1]
        self.first = self.first + states.sum(1).double()
        self.second = self.second + states.square_().sum(1).double()

    def statistics(self) -> Statistics:
        off = self.first / self.frames
        deviation = (self.second / self.frames - off.square()).clamp(min=0).sqrt()
        return Statistics(self.origin[:, 0] + off, deviation)
