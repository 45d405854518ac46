"""HuBERT as a stepping network: one block at a time, and an utterance never hears its
neighbours' padding.

Hsu et al., 2021 (HuBERT, sec. III) and Baevski et al., 2020 (wav2vec 2.0, sec. 2) describe the
network. Parameter names are those of transformers' HubertModel, so that its checkpoints load
without a map; `hubert_weights.py` maps the others. Base models normalise the first convolution over
time (a group norm with one group a channel): run as usual, on a zero-padded batch, that statistic
includes the padding and every state of a shorter utterance changes. Here it is taken over each
utterance's own frames, so alone and in any batch the states agree (tests/upstreams/test_hubert.py).

A CPU gains nothing from a batch: `states` runs every utterance by itself there, unpadded, so no
padding is computed, and neighbours do not even change the last bit. Elsewhere, and where gradients
flow, it runs the padded batch with a mask.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
STRIDE = 320  # samples a frame: the product of STRIDES, 20 ms
SHORTEST = 400  # samples the convolutions need for one frame
TEMPERATURE = 0.1  # of the cosine similarities of the self-supervised head
# frames that `Convolutions.alone` makes at a time: 2 s, whose widest layer (13 MB) stays in the
# cache
PIECE = 100


@dataclass(frozen=True)
class HubertShape:
    dim: int = 768
    depth: int = 12
    heads: int = 12
    ffn: int = 3072
    conv_dim: int = 512
    # group: the first convolution, over time | layer: every convolution, over channels
    conv_norm: str = "group"
    conv_bias: bool = False
    pos_kernel: int = 128
    pos_groups: int = 16
    pre_norm: bool = False  # layer-norm before attention and feed-forward (Large) or after (Base)
    normalise_wav: bool = False  # zero mean, unit variance per utterance before the network (Large)
    # rows of the label table: 500 clusters and 4 specials in the published checkpoints
    units: int = 504
    unit_dim: int = 256


def frame_counts(samples: Tensor | int) -> Tensor | int:
    """Valid frames of `samples` 16 kHz samples; at least one, because shorter input is
    zero-padded to 400 samples.
    """
    n = samples.clamp(min=SHORTEST) if isinstance(samples, Tensor) else max(samples, SHORTEST)
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        n = (n - kernel) // stride + 1
    return n


class Convolutions(nn.Module):
    """(B, N), (B,) -> (B, T, C): seven strided convolutions, 400 samples of sight, 320 samples a
    step.
    """

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.norm = shape.conv_norm
        self.conv_layers = nn.ModuleList()
        for i, (kernel, stride) in enumerate(zip(KERNELS, STRIDES, strict=True)):
            layer = nn.Module()
            layer.conv = nn.Conv1d(
                1 if i == 0 else shape.conv_dim,
                shape.conv_dim,
                kernel,
                stride,
                bias=shape.conv_bias,
            )
            nn.init.kaiming_normal_(layer.conv.weight)
            # (out, in, kernel) for everybody, but in memory the inputs of one tap lie side
            # by side: see `alone`
            layer.conv.weight = nn.Parameter(layer.conv.weight.data.mT.contiguous().mT)
            if shape.conv_norm == "layer":
                layer.layer_norm = nn.LayerNorm(shape.conv_dim)
            elif i == 0:
                layer.layer_norm = nn.GroupNorm(shape.conv_dim, shape.conv_dim)
            self.conv_layers.append(layer)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        # the host decides by lengths: it must not wait for the device
        x, n = wavs[:, None], lengths.cpu()
        for i, layer in enumerate(self.conv_layers):
            x, n = layer.conv(x), (n - KERNELS[i]) // STRIDES[i] + 1
            if self.norm == "layer":
                x = layer.layer_norm(x.mT).mT
            elif i == 0:
                x = norm_over_own_frames(x, n, layer.layer_norm)
            x = F.gelu(x)
        return x.mT

    def alone(self, wav: Tensor) -> Tensor:
        """(N,) -> (T, C), as `forward` of one utterance, piece by piece in the cache: each layer a
        matrix product over (time, channels).
        """
        first, frames = self._first(wav), frame_counts(len(wav))
        starts = range(0, frames, PIECE)
        return torch.cat(
            [
                self._piece(
                    wav[STRIDE * s : STRIDE * (min(s + PIECE, frames) - 1) + SHORTEST], *first
                )
                for s in starts
            ]
        )

    def _first(self, wav: Tensor) -> tuple[Tensor, Tensor | None]:
        """(C, 10), (C,): the first convolution with its group norm folded in.

        Mean and variance over time of a linear map follow from the mean and covariance of what it
        sees, the ten samples of each step.
        """
        layer = self.conv_layers[0]
        weight, bias = layer.conv.weight[:, 0], layer.conv.bias
        if self.norm == "layer":
            return weight, bias
        seen, wide = wav.double().unfold(0, KERNELS[0], STRIDES[0]), weight.double()
        mean = seen.mean(0)
        covariance = (seen - mean).T @ (seen - mean) / len(seen)
        variance = ((wide @ covariance) * wide).sum(1)
        wide = wide * (layer.layer_norm.weight * (variance + layer.layer_norm.eps).rsqrt())[:, None]
        # a convolution's own bias goes with the mean
        return wide.float(), (layer.layer_norm.bias - wide @ mean).float()

    def _piece(self, wav: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = F.linear(wav.unfold(0, KERNELS[0], STRIDES[0]), weight, bias)
        for i, layer in enumerate(self.conv_layers):
            x = x if i == 0 else by_twos(x, layer.conv)
            x = F.gelu(layer.layer_norm(x) if self.norm == "layer" else x)
        return x


def by_twos(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """(T, C) -> (T', C'): a convolution of stride 2 and 2 or 3 taps. Two neighbours in time are one
    row in memory; nothing is copied.
    """
    channels, kernel = x.shape[1], conv.kernel_size[0]
    taps = conv.weight.mT.flatten(1)  # (C', kernel * C), a view
    n = (len(x) - kernel) // 2 + 1
    y = F.linear(x[: 2 * n].view(n, 2 * channels), taps[:, : 2 * channels], conv.bias)
    return (
        y if kernel == 2 else y.addmm_(x[2 : 2 * n + 1 : 2].to(y), taps[:, 2 * channels :].T.to(y))
    )


def norm_over_own_frames(x: Tensor, frames: Tensor, norm: nn.GroupNorm) -> Tensor:
    """(B, C, T) normalised over time, each row with the mean and variance of its first
    `frames` steps only.
    """
    if bool((frames == x.shape[-1]).all()):
        return norm(x)
    frames = frames.to(x.device, non_blocking=True)
    own = (torch.arange(x.shape[-1], device=x.device) < frames[:, None])[:, None]  # (B, 1, T)
    count, dtype = frames[:, None, None], x.dtype
    x = x.float()  # statistics in full precision, as the library's own norm takes them
    mean = (x * own).sum(-1, keepdim=True) / count
    centred = x - mean
    variance = (centred.square() * own).sum(-1, keepdim=True) / count
    return (centred * (variance + norm.eps).rsqrt() * norm.weight[:, None] + norm.bias[:, None]).to(
        dtype
    )


class Attention(nn.Module):
    def __init__(self, shape: HubertShape):
        super().__init__()
        self.heads = shape.heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(shape.dim, shape.dim))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (
            p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(
            F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        )


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
        self.encoder.pos_conv_embed.conv = nn.Conv1d(
            shape.dim,
            shape.dim,
            shape.pos_kernel,
            padding=shape.pos_kernel // 2,
            groups=shape.pos_groups,
        )
        self.encoder.layer_norm = nn.LayerNorm(shape.dim)
        self.encoder.layers = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.head = SelfSupervisedHead(shape) if with_head else None

    def states(
        self, wavs: Tensor, lengths: Tensor, projection: bool = False
    ) -> Generator[Tensor, Tensor | None, None]:
        """Yield depth 0, 1, ..., L; rows sent in go on alone. Depth 0 enters block 1, or is the
        `projection` from which that is made.
        """
        alone, longest = (
            wavs.device.type == "cpu" and not torch.is_grad_enabled(),
            frame_counts(wavs.shape[1]),
        )
        if alone:
            parts = [
                (self.project_alone(wav[:n]), None)
                for wav, n in zip(wavs, lengths.tolist(), strict=True)
            ]
        else:
            x = self.project(wavs, lengths)
            parts = [(x, attention_mask(x, lengths))]
        if projection:
            parts = kept(parts, (yield joined(parts, longest)), alone)
        parts = [(self.position(x), mask) for x, mask in parts]
        if not projection:
            parts = kept(parts, (yield joined(parts, longest)), alone)
        for depth in range(1, self.shape.depth + 1):
            parts = [(self.block(depth, x, mask), mask) for x, mask in parts]
            parts = kept(parts, (yield joined(parts, longest)), alone)

    def with_blocks(self, blocks: Sequence[int]) -> "HubertNet":
        """The same parameters with these blocks (from 1 on) alone, in this order."""
        with torch.device("meta"):
            net = HubertNet(replace(self.shape, depth=0), with_head=False)
        net.shape = replace(self.shape, depth=len(blocks))
        net.feature_extractor, net.feature_projection = (
            self.feature_extractor,
            self.feature_projection,
        )
        for name in ("pos_conv_embed", "layer_norm"):
            setattr(net.encoder, name, getattr(self.encoder, name))
        net.encoder.layers = nn.ModuleList(self.encoder.layers[k - 1] for k in blocks)
        net.head = self.head
        return net

    def project(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """(B, N), (B,) -> (B, T, D): convolutions, layer-norm and projection; padded frames are
        zero.
        """
        if wavs.shape[1] < SHORTEST:
            wavs = F.pad(wavs, (0, SHORTEST - wavs.shape[1]))
        if self.shape.normalise_wav:
            wavs = normalise_own_samples(wavs, lengths)
        x = self.feature_projection.projection(
            self.feature_projection.layer_norm(
                self.feature_extractor(wavs, lengths.clamp(min=SHORTEST))
            )
        )
        return x * own_frames(x, frame_counts(lengths))[..., None].to(x.dtype)

    def project_alone(self, wav: Tensor) -> Tensor:
        """(N,) -> (1, T, D), as `project` of one utterance."""
        if self.shape.normalise_wav:
            wav = normalise_own_samples(wav[None], torch.tensor([len(wav)]))[0]
        x = self.feature_extractor.alone(F.pad(wav, (0, max(0, SHORTEST - len(wav)))))
        return self.feature_projection.projection(self.feature_projection.layer_norm(x))[None]

    def position(self, x: Tensor) -> Tensor:
        """(B, T, D) with zero padding -> (B, T, D): what enters block 1."""
        # an even kernel makes one frame too many
        position = self.encoder.pos_conv_embed.conv(x.mT).mT[:, : x.shape[1]]
        x = x + F.gelu(position)
        return x if self.shape.pre_norm else self.encoder.layer_norm(x)

    def block(self, depth: int, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D): the output of block `depth`, from 1 on. The last state of a
        pre-norm model is normalised.
        """
        x = self.encoder.layers[depth - 1](x, mask)
        return (
            self.encoder.layer_norm(x) if depth == self.shape.depth and self.shape.pre_norm else x
        )

    def blocks(self, x: Tensor, mask: Tensor | None) -> Iterator[Tensor]:
        """The output of block 1, 2, ..., of what `position` gave."""
        for depth in range(1, self.shape.depth + 1):
            x = self.block(depth, x, mask)
            yield x


# a batch under way: one padded tensor and its mask, or every utterance alone without
Parts = list[tuple[Tensor, Tensor | None]]


def joined(parts: Parts, frames: int) -> Tensor:
    """(B, frames, D), zeros where an utterance alone has no frames."""
    first = parts[0][0]
    if len(parts) == 1 and first.shape[1] == frames:
        return first
    out = first.new_zeros(len(parts), frames, first.shape[2])
    for row, (x, _) in zip(out, parts, strict=True):
        row[: x.shape[1]] = x[0]
    return out


def kept(parts: Parts, rows: Tensor | None, alone: bool) -> Parts:
    """The rows that go on, in the order named."""
    if rows is None:
        return parts
    if alone:
        return [parts[i] for i in rows.tolist()]
    [(x, mask)] = parts
    return [(x[rows], None if mask is None else mask[rows])]


class SelfSupervisedHead(nn.Module):
    """(B, T, D) -> (B, T, units): cosine similarity to every unit's embedding over the
    temperature (HuBERT, eq. 3).
    """

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.final_proj = nn.Linear(shape.dim, shape.unit_dim)
        self.label_embs_concat = nn.Parameter(torch.empty(shape.units, shape.unit_dim).uniform_())

    def forward(self, x: Tensor) -> Tensor:
        return (
            F.linear(
                F.normalize(self.final_proj(x), dim=-1), F.normalize(self.label_embs_concat, dim=-1)
            )
            / TEMPERATURE
        )


def own_frames(x: Tensor, frames: Tensor) -> Tensor:
    """(B, T), True on each row's own frames."""
    return torch.arange(x.shape[1], device=x.device) < frames[:, None].to(
        x.device, non_blocking=True
    )


def attention_mask(x: Tensor, lengths: Tensor) -> Tensor | None:
    """(B, 1, 1, T), True where a key may be looked at; None when nothing is padded, which lets
    attention run faster.
    """
    frames = frame_counts(lengths.cpu())
    return None if bool((frames == x.shape[1]).all()) else own_frames(x, frames)[:, None, None]


def normalise_own_samples(wavs: Tensor, lengths: Tensor) -> Tensor:
    """(B, N) to zero mean and unit variance over each row's own samples; padding stays zero."""
    own = torch.arange(wavs.shape[1], device=wavs.device) < lengths[:, None].to(wavs.device)
    count = lengths[:, None].to(wavs)
    centred = (wavs - (wavs * own).sum(1, keepdim=True) / count) * own
    return centred * (centred.square().sum(1, keepdim=True) / count + 1e-5).rsqrt()


def macs_to(shape: HubertShape, samples: int, depth: int) -> int:
    """Multiply-accumulates of the front-end and blocks 1..depth: matrix products and convolutions,
    as flop counters count.
    """
    total, n, channels = 0, max(samples, SHORTEST), 1
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        n = (n - kernel) // stride + 1
        total += n * kernel * channels * shape.conv_dim
        channels = shape.conv_dim
    total += n * shape.conv_dim * shape.dim
    if depth:
        # the positional convolution makes one frame too many, which is then dropped: it is paid for
        total += (
            (n + 1 - shape.pos_kernel % 2)
            * shape.dim
            * (shape.dim // shape.pos_groups)
            * shape.pos_kernel
        )
    block = n * (4 * shape.dim**2 + 2 * shape.dim * shape.ffn) + 2 * n * n * shape.dim
    return total + depth * block
