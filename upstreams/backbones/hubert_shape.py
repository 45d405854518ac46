"""The sizes of a speech encoder, the frames of so many samples, and the multiply-accumulates of a
depth.

All that tells HuBERT, wav2vec 2.0, WavLM and data2vec apart, once they are trained, is in these
numbers: where the norms stand, how positions come in. Hsu et al., 2021 (HuBERT, table I), Baevski
et al., 2020 (wav2vec 2.0, sec. 4.2), Chen et al., 2022 (WavLM) and Baevski et al., 2022 (data2vec,
sec. 4) for the published ones.
"""

import math
from dataclasses import dataclass

from torch import Tensor

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
STRIDE = 320  # samples a frame: the product of STRIDES, 20 ms
SHORTEST = 400  # samples the convolutions need for one frame
GATE = 8  # outputs of WavLM's gate for each head and frame, summed by fours


@dataclass(frozen=True)
class HubertShape:
    """The defaults are those of HuBERT Base.

    Attributes:
        dim: of a state; depth: blocks; heads: of attention; ffn: width of the feed-forward.
        conv_dim: channels of the convolutions.
        conv_norm: "group", the first convolution over time (Base), or "layer", every convolution
            over channels (Large).
        conv_bias: whether convolutions have one.
        pos_kernel, pos_groups: of the positional convolution.
        pre_norm: layer norm before attention and feed-forward (Large) or after (Base).
        normalise_wav: zero mean and unit variance per utterance before the network (Large).
        units: rows of the label table, 500 clusters and 4 specials in published HuBERTs; 0 = no
            self-supervised head.
        unit_dim: width of that table.
        kernels, strides: of the convolutions, in samples and then in steps of the one below.
        feature_norm: layer norm between convolutions and projection (DistilHuBERT has none).
        pos_layers: positional convolutions, each with a layer norm without parameters where there
            are several (data2vec: 5).
        pos_batch_norm: batch norm before the positional convolution, instead of weight norm in it
            (mHuBERT-25Hz).
        buckets: distances between two frames that attention tells apart, each with a learned bias
            that every block gates (WavLM: 320); 0 = none.
        max_distance: frames from which on all distances share one bucket.
    """

    dim: int = 768
    depth: int = 12
    heads: int = 12
    ffn: int = 3072
    conv_dim: int = 512
    conv_norm: str = "group"
    conv_bias: bool = False
    pos_kernel: int = 128
    pos_groups: int = 16
    pre_norm: bool = False
    normalise_wav: bool = False
    units: int = 504
    unit_dim: int = 256
    kernels: tuple[int, ...] = KERNELS
    strides: tuple[int, ...] = STRIDES
    feature_norm: bool = True
    pos_layers: int = 1
    pos_batch_norm: bool = False
    buckets: int = 0
    max_distance: int = 800

    def __post_init__(self):
        # JSON knows lists alone
        for name in ("kernels", "strides"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def stride(self) -> int:
        """Samples between two frames."""
        return math.prod(self.strides)

    @property
    def shortest(self) -> int:
        """Samples that one frame sees."""
        seen = 1
        for kernel, stride in zip(self.kernels[::-1], self.strides[::-1], strict=True):
            seen = (seen - 1) * stride + kernel
        return seen


STANDARD = HubertShape()


def frame_counts(samples: Tensor | int, shape: HubertShape = STANDARD) -> Tensor | int:
    """Valid frames of `samples` 16 kHz samples; at least one, because shorter input is
    zero-padded to the samples that one frame sees.
    """
    short = shape.shortest
    n = samples.clamp(min=short) if isinstance(samples, Tensor) else max(samples, short)
    for kernel, stride in zip(shape.kernels, shape.strides, strict=True):
        n = (n - kernel) // stride + 1
    return n


def macs_to(shape: HubertShape, samples: int, depth: int, projection: bool = True) -> int:
    """Multiply-accumulates of the front-end and blocks 1 to `depth` on `samples` of audio: matrix
    products and convolutions, as flop counters count, and the gated position bias, one a score,
    which they do not see.

    Args:
        projection: state 0 lies before the positional convolution, so that depth 0 needs none.
    """
    total, n, channels = 0, max(samples, shape.shortest), 1
    for kernel, stride in zip(shape.kernels, shape.strides, strict=True):
        n = (n - kernel) // stride + 1
        total += n * kernel * channels * shape.conv_dim
        channels = shape.conv_dim
    total += n * shape.conv_dim * shape.dim
    if depth or not projection:
        # an even kernel makes one frame too many, which is computed and dropped
        frames = n + 1 - shape.pos_kernel % 2
        one = frames * shape.dim * (shape.dim // shape.pos_groups) * shape.pos_kernel
        total += shape.pos_layers * one
    block = n * (4 * shape.dim**2 + 2 * shape.dim * shape.ffn) + 2 * n * n * shape.dim
    return total + depth * (block + position_bias_macs(shape, n))


def position_bias_macs(shape: HubertShape, frames: int) -> int:
    """Of one block: the gate's projection, and the bias times its gate added to each score."""
    if not shape.buckets:
        return 0
    return frames * shape.dim * GATE + frames * frames * shape.heads
