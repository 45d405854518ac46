"""A Conformer block whose utterances never read padding.

Gulati et al., 2020 (Conformer, arXiv:2005.08100, sec. 2), as torchaudio.models.conformer builds it,
whose parameter names these are: half a feed-forward, attention, convolution, half a feed-forward,
layer norm. torchaudio's own block lets the depthwise convolution and, in training, the batch norm
read what stands behind an utterance's end: both are masked here, and alone and unpadded the two
give the same (tests/upstreams/test_conformer.py).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...benchmark import distributed
from .attending import attended
from .conformer_shape import ConformerShape


class Attention(nn.Module):
    """Multi-head attention of (B, T, D) over (B, S, D).

    Parameter names are those of torch.nn.MultiheadAttention.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D): over themselves; `mask` as `over` takes it."""
        return self.over(x, *self.keys_and_values(x), mask)

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, D) -> two of (B, H, S, D / H)"""
        dim = x.shape[-1]
        both = F.linear(x, self.in_proj_weight[dim:], self.in_proj_bias[dim:])
        keys, values = both.chunk(2, -1)
        return self.by_head(keys), self.by_head(values)

    def over(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D): over what `keys_and_values` gave.

        Args:
            mask: True on the keys that may be read, (B, 1, 1, S) or (T, S); None = on all.
        """
        dim, dropout = x.shape[-1], self.dropout if self.training else 0.0
        queries = self.by_head(F.linear(x, self.in_proj_weight[:dim], self.in_proj_bias[:dim]))
        x = attended(queries, keys, values, mask, dropout)
        return self.out_proj(x.transpose(1, 2).flatten(2))

    def by_head(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, D / H)"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """(B, T, D) -> (B, T, D), its layer norm first."""

    def __init__(self, shape: ConformerShape):
        super().__init__()
        self.sequential = nn.Sequential(
            nn.LayerNorm(shape.dim),
            nn.Linear(shape.dim, shape.ffn),
            nn.SiLU(),
            nn.Dropout(shape.dropout),
            nn.Linear(shape.ffn, shape.dim),
            nn.Dropout(shape.dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.sequential(x)


class FrameNorm(nn.Module):
    """Batch norm of (B, C, T) whose statistics are of valid frames alone, those of all processes of
    a torchrun.

    Args of forward: valid: (B, T), True on each row's own frames; None where nothing is padded.
    Parameter names are those of torch's BatchNorm1d, which also counts its batches.
    """

    momentum, eps = 0.1, 1e-5

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        if valid is None or not self.training:
            return self._normalised(x)
        out = torch.zeros_like(x.mT)
        out[valid] = self._normalised(x.mT[valid]).to(out.dtype)
        return out.mT

    def _normalised(self, x: Tensor) -> Tensor:
        if self.training and distributed.rank_and_size()[1] > 1:
            return self._over_all(x) if x.ndim == 2 else self._over_all(x.mT).mT
        known = self.running_mean, self.running_var, self.weight, self.bias
        several = x.numel() > x.shape[1]  # one frame alone has no variance
        return F.batch_norm(x, *known, self.training and several, self.momentum, self.eps)

    def _over_all(self, x: Tensor) -> Tensor:
        """(..., C) frames, normalised as one process with everybody's would."""
        frames = x.float().flatten(0, -2)
        count = distributed.total(frames.new_tensor(len(frames)))
        mean = distributed.total(frames.sum(0)) / count
        variance = distributed.total((frames - mean).square().sum(0)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1).clamp(1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return ((x - mean) * scale + self.bias).to(x.dtype)


class Convolution(nn.Module):
    """(B, T, D) -> (B, T, D): a gated convolution of single frames, a depthwise one over time."""

    def __init__(self, shape: ConformerShape):
        super().__init__()
        dim = shape.dim
        self.layer_norm = nn.LayerNorm(dim)
        self.sequential = nn.Sequential(
            nn.Conv1d(dim, 2 * dim, 1),
            nn.GLU(dim=1),
            nn.Conv1d(dim, dim, shape.kernel, padding=shape.kernel // 2, groups=dim),
            FrameNorm(dim),
            nn.SiLU(),
            nn.Conv1d(dim, dim, 1),
            nn.Dropout(shape.dropout),
        )

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        widen, gate, over_time, norm, *rest = self.sequential
        x = gate(widen(self.layer_norm(x).mT))
        if valid is not None:
            x = x.masked_fill(~valid[:, None], 0.0)  # as there is nothing behind a lone utterance
        x = norm(over_time(x), valid)
        for layer in rest:
            x = layer(x)
        return x.mT


class ConformerBlock(nn.Module):
    """(B, T, D) -> (B, T, D).

    Args of forward: valid: (B, T), True on each row's own frames; None where nothing is padded.
    """

    def __init__(self, shape: ConformerShape):
        super().__init__()
        self.ffn1 = FeedForward(shape)
        self.self_attn_layer_norm = nn.LayerNorm(shape.dim)
        self.self_attn = Attention(shape.dim, shape.heads, shape.dropout)
        self.self_attn_dropout = nn.Dropout(shape.dropout)
        self.conv_module = Convolution(shape)
        self.ffn2 = FeedForward(shape)
        self.final_layer_norm = nn.LayerNorm(shape.dim)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        mask = None if valid is None else valid[:, None, None]
        x = x + self.ffn1(x) / 2
        x = x + self.self_attn_dropout(self.self_attn(self.self_attn_layer_norm(x), mask))
        x = x + self.conv_module(x, valid)
        return self.final_layer_norm(x + self.ffn2(x) / 2)
