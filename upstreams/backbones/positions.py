"""How an encoder learns where a frame stands: convolutions before the blocks, WavLM's biases within
attention, sines that are added.

All are functions of one utterance alone: what lies beyond its last frame is zero to every
convolution, as it is when the utterance is run by itself.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .hubert_shape import GATE, HubertShape


class PositionConvolution(nn.Module):
    """What a frame's neighbours add to it: (B, T, D), zero where padded, -> (B, T, D).

    One convolution with its weight norm folded in (wav2vec 2.0, sec. 2), the same behind a batch
    norm (mHuBERT), or a stack with layer norms between (data2vec's code, `pos_conv_depth`).
    """

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.stacked = shape.pos_layers > 1
        if shape.pos_batch_norm:
            self.batch_norm = FrozenBatchNorm(shape.dim)
        if self.stacked:
            self.layers = nn.ModuleList(nn.Module() for _ in range(shape.pos_layers))
        for holder in self.layers if self.stacked else (self,):
            holder.conv = nn.Conv1d(
                shape.dim,
                shape.dim,
                shape.pos_kernel,
                padding=shape.pos_kernel // 2,
                groups=shape.pos_groups,
            )

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """valid: (B, T, 1), True on each row's own frames; None where nothing is padded."""
        frames = x.shape[1]
        if not self.stacked:
            if hasattr(self, "batch_norm"):
                x = kept(self.batch_norm(x), valid)
            # an even kernel makes one frame too many
            return F.gelu(convolved(self.conv, x)[:, :frames])
        for layer in self.layers:
            x = convolved(layer.conv, kept(x, valid))[:, :frames]
            x = F.gelu(F.layer_norm(x, x.shape[-1:]))
        return x


def convolved(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """(B, T, D) -> (B, T', D), T' at least T, by a convolution with T or T + 1 frames."""
    device = x.device.type
    halved = x.dtype in (torch.bfloat16, torch.float16)
    if device == "cuda" and (halved or torch.is_autocast_enabled(device)):
        return in_wide_groups(conv, x)
    even = conv.kernel_size[0] % 2 == 0
    if even and device == "cpu" and torch.is_autocast_enabled(device):
        # in bfloat16 oneDNN's kernels for AMX give wrong sums (torch 2.11) where groups of fewer
        # than 16 channels meet a width that is a multiple of 8: 192 features in 16 groups and a
        # width of 128 are off by as much as they are large. One zero more makes the width odd.
        weight = F.pad(conv.weight, (0, 1))
        return F.conv1d(x.mT, weight, conv.bias, padding=conv.padding, groups=conv.groups).mT
    return conv(x.mT).mT


def in_wide_groups(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """(B, T, D) -> (B, T', D): the same sums, zeros filling every group up to a multiple of 64
    channels. In half precision cuDNN has fast kernels for these: 8 x 5 s through 16 groups of 48
    take 0.7 ms, there and back 2.0, and unfilled 12.4 and 13.4 (H200, torch 2.11)."""
    groups, width = conv.groups, conv.in_channels // conv.groups
    more = -width % 64
    weight, bias = (part.unflatten(0, (groups, width)) for part in (conv.weight, conv.bias))
    weight = F.pad(weight, (0, 0, 0, more, 0, more)).flatten(0, 1)
    bias = F.pad(bias, (0, more)).flatten()
    x = F.pad(x.unflatten(-1, (groups, width)), (0, more)).flatten(-2)
    y = F.conv1d(x.mT, weight, bias, padding=conv.padding, groups=groups).mT
    return y.unflatten(-1, (groups, -1))[..., :width].flatten(-2)


class FrozenBatchNorm(nn.Module):
    """(..., D) -> (..., D) by the statistics of its training, which no batch moves or replaces.

    Parameter names are those of torch's BatchNorm1d.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return (x - self.running_mean) * scale + self.bias


class RelativeBias(nn.Module):
    """Every head's bias of a key so many frames before or after its query (WavLM, Model Structure:
    gated relative position bias): nearby distances have a bucket each, farther ones share them by
    their logarithm.
    """

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.buckets, self.max_distance = shape.buckets, shape.max_distance
        self.weight = nn.Parameter(torch.empty(shape.buckets, shape.heads).normal_())

    def forward(self, frames: int) -> Tensor:
        """(H, T, T) of queries and keys. The bias of fewer frames is its upper left corner."""
        distances = torch.arange(1 - frames, frames, device=self.weight.device)
        by_distance = F.embedding(
            bucket_of(distances, self.buckets, self.max_distance), self.weight
        )
        # row i of the result begins at distance -i: the last window first
        return by_distance.T.unfold(-1, frames, 1).flip(1)


def bucket_of(distances: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Integers of any shape, key minus query, -> 0..buckets - 1; later keys have the upper half."""
    half = buckets // 2
    exact = half // 2
    away = distances.abs()
    # in the order of operations of the published code: a rounding may move a bucket's edge
    scale = math.log(max_distance / exact)
    far = (away.clamp(min=1).float() / exact).log() / scale * (half - exact)
    far = (exact + far).long().clamp(max=half - 1)
    return torch.where(away < exact, away, far) + half * (distances > 0)


class PositionGate(nn.Module):
    """(B, H, T, D / H) of each head's part of a frame -> (B, H, T, 1): how much of the bias that
    head adds for that query (WavLM, Model Structure, as its authors' code computes it).
    """

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.linear = nn.Linear(shape.dim // shape.heads, GATE)
        self.const = nn.Parameter(torch.ones(1, shape.heads, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        blend, reset = self.linear(x).unflatten(-1, (2, -1)).sum(-1).sigmoid().split(1, -1)
        return blend * (reset * self.const - 1) + 2


def kept(x: Tensor, valid: Tensor | None) -> Tensor:
    """(B, T, D) with zeros on padding."""
    return x if valid is None else x * valid


def sinusoids(frames: int, like: Tensor, start: int = 0) -> Tensor:
    """(T, D) to add to the frames `start` .. `start` + T - 1 of (..., D) `like`: sines at even
    features, cosines at odd ones, of wavelengths from 2 pi to 10000 x 2 pi (Vaswani et al., 2017,
    sec. 3.5)."""
    dim, place = like.shape[-1], torch.arange(start, start + frames, device=like.device)
    rates = torch.exp(torch.arange(0, dim, 2, device=like.device) * (-math.log(10_000) / dim))
    angles = place[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1).to(like.dtype)
