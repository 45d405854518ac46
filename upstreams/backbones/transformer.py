"""The parts of an encoder above its convolutions: attention, feed-forward, block, self-supervised
head.

Hsu et al., 2021 (HuBERT, sec. III), with WavLM's biases in attention where a shape has them.
Parameter names are those of transformers' HubertModel.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attending import attended
from .hubert_shape import HubertShape
from .positions import PositionGate

TEMPERATURE = 0.1  # of the cosine similarities of the self-supervised head


class Attention(nn.Module):
    """(B, T, D), a mask, True on keys that may be read or None, and biases (H, T', T') of T' >= T
    frames or None, -> (B, T, D).

    Attributes:
        dropout: of the attention weights in training mode; a fine-tuning may ask for some.
    """

    dropout = 0.0

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.heads = shape.heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(shape.dim, shape.dim))
        if shape.buckets:
            self.gate = PositionGate(shape)

    def forward(self, x: Tensor, mask: Tensor | None, bias: Tensor | None = None) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if bias is not None:
            mask = self.gated(x, mask, bias).to(q.dtype)
        dropout = self.dropout if self.training else 0.0
        x = attended(q, k, v, mask, dropout)
        return self.out_proj(x.transpose(1, 2).flatten(2))

    def gated(self, x: Tensor, mask: Tensor | None, bias: Tensor) -> Tensor:
        """(B, H, T, T) to add to the scores: the biases times each query's gate; minus infinity
        on keys that may not be read.
        """
        frames = x.shape[1]
        gate = self.gate(x.unflatten(-1, (self.heads, -1)).transpose(1, 2))
        added = gate * bias[:, :frames, :frames]
        return added if mask is None else added.masked_fill(~mask, -torch.inf)


class FeedForward(nn.Module):
    """(B, T, D) -> (B, T, D)"""

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.intermediate_dense = nn.Linear(shape.dim, shape.ffn)
        self.output_dense = nn.Linear(shape.ffn, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(F.gelu(self.intermediate_dense(x)))


class Block(nn.Module):
    """(B, T, D), a mask and biases, as attention takes them, -> (B, T, D). No dropout: trainings
    here are too short to need it.
    """

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.pre_norm = shape.pre_norm
        self.attention, self.feed_forward = Attention(shape), FeedForward(shape)
        self.layer_norm, self.final_layer_norm = nn.LayerNorm(shape.dim), nn.LayerNorm(shape.dim)

    def forward(self, x: Tensor, mask: Tensor | None, bias: Tensor | None = None) -> Tensor:
        return self.outputs(x, mask, bias)[0]

    def outputs(
        self, x: Tensor, mask: Tensor | None, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The block's output, and its feed-forward layer's before it is added to the residual."""
        if self.pre_norm:
            x = x + self.attention(self.layer_norm(x), mask, bias)
            inner = self.feed_forward(self.final_layer_norm(x))
            return x + inner, inner
        x = self.layer_norm(x + self.attention(x, mask, bias))
        inner = self.feed_forward(x)
        return self.final_layer_norm(x + inner), inner


class SelfSupervisedHead(nn.Module):
    """(B, T, D) -> (B, T, units): cosine similarity to every unit's embedding over the
    temperature (HuBERT, eq. 3).
    """

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.final_proj = nn.Linear(shape.dim, shape.unit_dim)
        self.label_embs_concat = nn.Parameter(torch.empty(shape.units, shape.unit_dim).uniform_())

    def forward(self, x: Tensor) -> Tensor:
        units = F.normalize(self.label_embs_concat, dim=-1)
        return F.linear(F.normalize(self.final_proj(x), dim=-1), units) / TEMPERATURE
