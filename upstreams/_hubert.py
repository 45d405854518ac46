"""HuBERT as a stepping network: one block at a time, and an utterance never hears its neighbours' padding.

Hsu et al., 2021 (HuBERT, sec. III) and Baevski et al., 2020 (wav2vec 2.0, sec. 2) describe the network. Parameter
names are those of transformers' HubertModel, so that its checkpoints load without a map; `_hubert_weights.py` maps the
others. Base models normalise the first convolution over time (a group norm with one group a channel): run as usual,
on a zero-padded batch, that statistic includes the padding and every state of a shorter utterance changes. Here it is
taken over each utterance's own frames, so alone and in any batch the states agree (tests/test_hubert.py).
"""
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
STRIDE = 320          # samples a frame: the product of STRIDES, 20 ms
SHORTEST = 400        # samples the convolutions need for one frame
TEMPERATURE = 0.1     # of the cosine similarities of the self-supervised head


@dataclass(frozen=True)
class HubertShape:
    dim: int = 768
    depth: int = 12
    heads: int = 12
    ffn: int = 3072
    conv_dim: int = 512
    conv_norm: str = "group"        # group: the first convolution, over time | layer: every convolution, over channels
    conv_bias: bool = False
    pos_kernel: int = 128
    pos_groups: int = 16
    pre_norm: bool = False          # layer-norm before attention and feed-forward (Large) or after (Base)
    normalise_wav: bool = False     # zero mean, unit variance per utterance before the network (Large)
    units: int = 504                # rows of the label table: 500 clusters and 4 specials in the published checkpoints
    unit_dim: int = 256


def frame_counts(samples: Tensor | int) -> Tensor | int:
    """Valid frames of `samples` 16 kHz samples; at least one, because shorter input is zero-padded to 400 samples."""
    n = samples.clamp(min=SHORTEST) if isinstance(samples, Tensor) else max(samples, SHORTEST)
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        n = (n - kernel) // stride + 1
    return n


class Convolutions(nn.Module):
    """(B, N), (B,) -> (B, T, C): seven strided convolutions, 400 samples of sight, 320 samples a step."""

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.norm = shape.conv_norm
        self.conv_layers = nn.ModuleList()
        for i, (kernel, stride) in enumerate(zip(KERNELS, STRIDES, strict=True)):
            layer = nn.Module()
            layer.conv = nn.Conv1d(1 if i == 0 else shape.conv_dim, shape.conv_dim, kernel, stride, bias=shape.conv_bias)
            nn.init.kaiming_normal_(layer.conv.weight)
            if shape.conv_norm == "layer":
                layer.layer_norm = nn.LayerNorm(shape.conv_dim)
            elif i == 0:
                layer.layer_norm = nn.GroupNorm(shape.conv_dim, shape.conv_dim)
            self.conv_layers.append(layer)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        x, n = wavs[:, None], lengths
        for i, layer in enumerate(self.conv_layers):
            x, n = layer.conv(x), (n - KERNELS[i]) // STRIDES[i] + 1
            if self.norm == "layer":
                x = layer.layer_norm(x.mT).mT
            elif i == 0:
                x = norm_over_own_frames(x, n, layer.layer_norm)
            x = F.gelu(x)
        return x.mT


def norm_over_own_frames(x: Tensor, frames: Tensor, norm: nn.GroupNorm) -> Tensor:
    """(B, C, T) normalised over time, each row with the mean and variance of its first `frames` steps only."""
    if bool((frames == x.shape[-1]).all()):
        return norm(x)
    own = (torch.arange(x.shape[-1], device=x.device) < frames[:, None])[:, None]       # (B, 1, T)
    count, dtype = frames[:, None, None], x.dtype
    x = x.float()                                        # statistics in full precision, as the library's own norm takes them
    mean = (x * own).sum(-1, keepdim=True) / count
    centred = x - mean
    variance = (centred.square() * own).sum(-1, keepdim=True) / count
    return (centred * (variance + norm.eps).rsqrt() * norm.weight[:, None] + norm.bias[:, None]).to(dtype)


class Attention(nn.Module):
    def __init__(self, shape: HubertShape):
        super().__init__()
        self.heads = shape.heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(shape.dim, shape.dim))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, shape: HubertShape):
        super().__init__()
        self.intermediate_dense = nn.Linear(shape.dim, shape.ffn)
        self.output_dense = nn.Linear(shape.ffn, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(F.gelu(self.intermediate_dense(x)))


class Block(nn.Module):
    """(B, T, D) -> (B, T, D). No dropout: nobody trains this network long enough to need it."""

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.pre_norm = shape.pre_norm
        self.attention, self.feed_forward = Attention(shape), FeedForward(shape)
        self.layer_norm, self.final_layer_norm = nn.LayerNorm(shape.dim), nn.LayerNorm(shape.dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.pre_norm:
            x = x + self.attention(self.layer_norm(x), mask)
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.layer_norm(x + self.attention(x, mask))
        return self.final_layer_norm(x + self.feed_forward(x))


class HubertNet(nn.Module):
    """The network, its self-supervised head included (None when a checkpoint carries none)."""

    def __init__(self, shape: HubertShape, with_head: bool = True):
        super().__init__()
        self.shape = shape
        self.feature_extractor = Convolutions(shape)
        self.feature_projection = nn.Module()
        self.feature_projection.layer_norm = nn.LayerNorm(shape.conv_dim)
        self.feature_projection.projection = nn.Linear(shape.conv_dim, shape.dim)
        self.encoder = nn.Module()
        self.encoder.pos_conv_embed = nn.Module()
        self.encoder.pos_conv_embed.conv = nn.Conv1d(shape.dim, shape.dim, shape.pos_kernel, padding=shape.pos_kernel // 2,
                                                     groups=shape.pos_groups)
        self.encoder.layer_norm = nn.LayerNorm(shape.dim)
        self.encoder.layers = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.head = SelfSupervisedHead(shape) if with_head else None

    def project(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """(B, N), (B,) -> (B, T, D): convolutions, layer-norm and projection; padded frames are zero."""
        if wavs.shape[1] < SHORTEST:
            wavs = F.pad(wavs, (0, SHORTEST - wavs.shape[1]))
        if self.shape.normalise_wav:
            wavs = normalise_own_samples(wavs, lengths)
        x = self.feature_projection.projection(self.feature_projection.layer_norm(
            self.feature_extractor(wavs, lengths.clamp(min=SHORTEST))))
        return x * own_frames(x, frame_counts(lengths))[..., None].to(x.dtype)

    def position(self, x: Tensor) -> Tensor:
        """(B, T, D) with zero padding -> (B, T, D): what enters block 1."""
        position = self.encoder.pos_conv_embed.conv(x.mT).mT[:, : x.shape[1]]   # an even kernel makes one frame too many
        x = x + F.gelu(position)
        return x if self.shape.pre_norm else self.encoder.layer_norm(x)

    def blocks(self, x: Tensor, mask: Tensor | None) -> Generator[Tensor, Tensor | None, None]:
        """Yield the output of block 1, 2, ...; rows sent in go on alone. The last state of a pre-norm model is normalised."""
        for depth, block in enumerate(self.encoder.layers, 1):
            x = block(x, mask)
            last = depth == self.shape.depth and self.shape.pre_norm
            keep = yield self.encoder.layer_norm(x) if last else x
            if keep is not None:
                x, mask = x[keep], None if mask is None else mask[keep]

    def attention_mask(self, x: Tensor, lengths: Tensor) -> Tensor | None:
        """(B, 1, 1, T), True where a key may be looked at; None when nothing is padded, which lets attention run faster."""
        own = own_frames(x, frame_counts(lengths))
        return None if bool(own.all()) else own[:, None, None]


class SelfSupervisedHead(nn.Module):
    """(B, T, D) -> (B, T, units): cosine similarity to every unit's embedding over the temperature (HuBERT, eq. 3)."""

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.final_proj = nn.Linear(shape.dim, shape.unit_dim)
        self.label_embs_concat = nn.Parameter(torch.empty(shape.units, shape.unit_dim).uniform_())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(self.final_proj(x), dim=-1), F.normalize(self.label_embs_concat, dim=-1)) / TEMPERATURE


def own_frames(x: Tensor, frames: Tensor) -> Tensor:
    """(B, T), True on each row's own frames."""
    return torch.arange(x.shape[1], device=x.device) < frames[:, None].to(x.device)


def normalise_own_samples(wavs: Tensor, lengths: Tensor) -> Tensor:
    """(B, N) to zero mean and unit variance over each row's own samples; padding stays zero."""
    own = torch.arange(wavs.shape[1], device=wavs.device) < lengths[:, None].to(wavs.device)
    count = lengths[:, None].to(wavs)
    centred = (wavs - (wavs * own).sum(1, keepdim=True) / count) * own
    return centred * (centred.square().sum(1, keepdim=True) / count + 1e-5).rsqrt()


def macs_to(shape: HubertShape, samples: int, depth: int) -> int:
    """Multiply-accumulates of the front-end and blocks 1..depth: matrix products and convolutions, as flop counters count."""
    total, n, channels = 0, max(samples, SHORTEST), 1
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        n = (n - kernel) // stride + 1
        total += n * kernel * channels * shape.conv_dim
        channels = shape.conv_dim
    total += n * shape.conv_dim * shape.dim
    if depth:
        # the positional convolution makes one frame too many, which is then dropped: it is paid for
        total += (n + 1 - shape.pos_kernel % 2) * shape.dim * (shape.dim // shape.pos_groups) * shape.pos_kernel
    block = n * (4 * shape.dim**2 + 2 * shape.dim * shape.ffn) + 2 * n * n * shape.dim
    return total + depth * block
