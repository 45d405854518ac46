"""HuBERT and its relatives as one stepping network: one block at a time, and padding never changes
an utterance.

Hsu et al., 2021 (HuBERT, sec. III) and Baevski et al., 2020 (wav2vec 2.0, sec. 2) describe the
network; WavLM, data2vec and mHuBERT are it with other positions, which their shapes state.
Parameter names are those of transformers' HubertModel; `parameter_names.py` maps the others. Alone
and in any batch the states agree (tests/upstreams/test_hubert.py, test_relatives.py).

A CPU gains nothing from a batch: `states` runs every utterance by itself there, unpadded, so no
padding is computed, and neighbours do not even change the last bit. Elsewhere, and where gradients
flow, it runs the padded batch with a mask.

    hubert_shape.py   sizes, frames, multiply-accumulates
    convolutions.py   samples to frames
    positions.py      positional convolutions, biases of distance
    transformer.py    blocks and the self-supervised head
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...benchmark.masking import valid_mask
from .convolutions import Convolutions
from .hubert_shape import HubertShape, frame_counts
from .positions import PositionConvolution, RelativeBias
from .transformer import Block, SelfSupervisedHead


class HubertNet(nn.Module):
    """The network, its self-supervised head included.

    Args:
        shape: its sizes; weights are random.
        with_head: without, or without units, `head` is None, as in a checkpoint that carries none.
    """

    def __init__(self, shape: HubertShape, with_head: bool = True):
        super().__init__()
        self.shape = shape
        self.feature_extractor = Convolutions(shape)
        self.feature_projection = nn.Module()
        if shape.feature_norm:
            self.feature_projection.layer_norm = nn.LayerNorm(shape.conv_dim)
        self.feature_projection.projection = nn.Linear(shape.conv_dim, shape.dim)
        self.encoder = nn.Module()
        self.encoder.pos_conv_embed = PositionConvolution(shape)
        self.encoder.layer_norm = nn.LayerNorm(shape.dim)
        self.encoder.layers = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        # of the encoder, not of its first block: a plan without that block needs it, too
        self.encoder.relative_bias = RelativeBias(shape) if shape.buckets else None
        self.head = SelfSupervisedHead(shape) if with_head and shape.units else None

    def states(
        self,
        wavs: Tensor,
        lengths: Tensor,
        projection: bool = False,
        inner: bool = False,
        residual: bool = False,
    ) -> Generator[Tensor, Tensor | None, None]:
        """Yield the (B, T, D) states of depth 0, 1, ..., L, as `Upstream.states` does.

        Args:
            wavs: (B, N) samples, zero-padded; lengths: (B,) valid samples.
            projection: depth 0 is the projected convolution output, not what enters block 1.
            inner: depth k >= 1 is the output of block k's feed-forward layer, not of the block.
            residual: the last state of a pre-norm model is as its last block leaves it.
        Send: the (B',) rows that continue; None continues with all.
        """
        alone = wavs.device.type == "cpu" and not torch.is_grad_enabled()
        longest = frame_counts(wavs.shape[1], self.shape)
        parts = self._projected(wavs, lengths, alone)
        if projection:
            parts = selected(parts, (yield joined(parts, longest)), alone)
        parts = [(self.position(x, mask), mask) for x, mask in parts]
        if not projection:
            parts = selected(parts, (yield joined(parts, longest)), alone)
        # one for every block and row
        bias = self.relative_bias(longest)
        for depth in range(1, self.shape.depth + 1):
            both = [(self.outputs(depth, x, mask, bias, residual), mask) for x, mask in parts]
            parts = [(outer, mask) for (outer, _), mask in both]
            shown = [(of_layer, mask) for (_, of_layer), mask in both] if inner else parts
            parts = selected(parts, (yield joined(shown, longest)), alone)

    def _projected(self, wavs: Tensor, lengths: Tensor, alone: bool) -> "Parts":
        if alone:
            rows = zip(wavs, lengths.tolist(), strict=True)
            return [(self.project_alone(wav[:samples]), None) for wav, samples in rows]
        x = self.project(wavs, lengths)
        return [(x, self.attention_mask(x, lengths))]

    def with_blocks(self, blocks: Sequence[int]) -> "HubertNet":
        """The same parameters with these blocks (from 1 on) alone, in this order."""
        with torch.device("meta"):
            net = HubertNet(replace(self.shape, depth=0), with_head=False)
        net.shape = replace(self.shape, depth=len(blocks))
        net.feature_extractor = self.feature_extractor
        net.feature_projection = self.feature_projection
        for name in ("pos_conv_embed", "layer_norm", "relative_bias"):
            setattr(net.encoder, name, getattr(self.encoder, name))
        net.encoder.layers = nn.ModuleList(self.encoder.layers[k - 1] for k in blocks)
        net.head = self.head
        return net

    def project(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """(B, N), (B,) -> (B, T, D): convolutions, layer-norm and projection; padded frames are
        zero.
        """
        shortest = self.shape.shortest
        if wavs.shape[1] < shortest:
            wavs = F.pad(wavs, (0, shortest - wavs.shape[1]))
        if self.shape.normalise_wav:
            wavs = normalised(wavs, lengths)
        return self.projected(self.feature_extractor(wavs, lengths.clamp(min=shortest)), lengths)

    def projected(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, C) convolved -> (B, T, D): layer-norm and projection; padded frames are zero."""
        x = self._project(x)
        return x * valid_frames(x, frame_counts(lengths, self.shape))[..., None].to(x.dtype)

    def project_alone(self, wav: Tensor) -> Tensor:
        """(N,) -> (1, T, D), as `project` of one utterance."""
        return self._project(self.convolve_alone(wav))[None]

    def convolve_alone(self, wav: Tensor) -> Tensor:
        """(N,) -> (T, C): the convolutions of one utterance."""
        if self.shape.normalise_wav:
            wav = normalised(wav[None], torch.tensor([len(wav)]))[0]
        wav = F.pad(wav, (0, max(0, self.shape.shortest - len(wav))))
        return self.feature_extractor.alone(wav)

    def _project(self, x: Tensor) -> Tensor:
        projection = self.feature_projection
        return projection.projection(projection.layer_norm(x) if self.shape.feature_norm else x)

    def position(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) with zero padding -> (B, T, D): what enters block 1.

        Args:
            mask: as `attention_mask` gives it; None where nothing is padded.
        """
        x = x + self.encoder.pos_conv_embed(x, None if mask is None else mask[:, 0, 0, :, None])
        return x if self.shape.pre_norm else self.encoder.layer_norm(x)

    def relative_bias(self, frames: int) -> Tensor | None:
        """(H, T, T) for `outputs`, of up to T frames; None where the shape has none."""
        table = self.encoder.relative_bias
        return None if table is None else table(frames)

    def attention_mask(self, x: Tensor, lengths: Tensor) -> Tensor | None:
        """(B, 1, 1, T), True on the keys that attention may read; None when nothing is padded,
        which lets attention run faster.
        """
        frames = frame_counts(lengths.cpu(), self.shape)
        padded = not bool((frames == x.shape[1]).all())
        return valid_frames(x, frames)[:, None, None] if padded else None

    def block(
        self, depth: int, x: Tensor, mask: Tensor | None, bias: Tensor | None = None
    ) -> Tensor:
        """(B, T, D) -> (B, T, D): the output of block `depth`, from 1 on. The last state of a
        pre-norm model is normalised.

        Args:
            bias: as `relative_bias` gives it, which a shape with buckets needs.
        """
        return self.outputs(depth, x, mask, bias)[0]

    def outputs(
        self,
        depth: int,
        x: Tensor,
        mask: Tensor | None,
        bias: Tensor | None = None,
        residual: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """As `block`, and the output of its feed-forward layer. With `residual` the last state of
        a pre-norm model is not normalised."""
        x, inner = self.encoder.layers[depth - 1].outputs(x, mask, bias)
        normed = depth == self.shape.depth and self.shape.pre_norm and not residual
        return (self.encoder.layer_norm(x) if normed else x), inner

    def blocks(self, x: Tensor, mask: Tensor | None) -> Iterator[Tensor]:
        """The output of block 1, 2, ..., of what `position` gave."""
        bias = self.relative_bias(x.shape[1])
        for depth in range(1, self.shape.depth + 1):
            x = self.block(depth, x, mask, bias)
            yield x


# a batch in progress: one padded tensor and its mask, or every utterance alone and no mask
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


def selected(parts: Parts, rows: Tensor | None, alone: bool) -> Parts:
    """The rows that continue, in the given order; all where `rows` is None."""
    if rows is None:
        return parts
    if alone:
        return [parts[i] for i in rows.tolist()]
    [(x, mask)] = parts
    return [(x[rows], None if mask is None else mask[rows])]


def valid_frames(x: Tensor, frames: Tensor) -> Tensor:
    """(B, T), True on each row's valid frames; on the device of (B, T, D) `x`."""
    return valid_mask(frames.to(x.device, non_blocking=True), x.shape[1])


def normalised(wavs: Tensor, lengths: Tensor) -> Tensor:
    """(B, N) to zero mean and unit variance over each row's valid samples; padding stays zero."""
    valid = valid_mask(lengths.to(wavs.device), wavs.shape[1])
    count = lengths[:, None].to(wavs)
    centred = (wavs - (wavs * valid).sum(1, keepdim=True) / count) * valid
    return centred * (centred.square().sum(1, keepdim=True) / count + 1e-5).rsqrt()
