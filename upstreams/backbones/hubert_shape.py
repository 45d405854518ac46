"""The sizes of a HuBERT, the frames of so many samples, and the multiply-accumulates of a depth.

Hsu et al., 2021 (HuBERT, table I) for the three published sizes.
"""

from dataclasses import dataclass

from torch import Tensor

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
STRIDE = 320  # samples a frame: the product of STRIDES, 20 ms
SHORTEST = 400  # samples the convolutions need for one frame


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
        units: rows of the label table, 500 clusters and 4 specials in published checkpoints.
        unit_dim: width of that table.
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


def frame_counts(samples: Tensor | int) -> Tensor | int:
    """Valid frames of `samples` 16 kHz samples; at least one, because shorter input is
    zero-padded to 400 samples.
    """
    n = samples.clamp(min=SHORTEST) if isinstance(samples, Tensor) else max(samples, SHORTEST)
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        n = (n - kernel) // stride + 1
    return n


def macs_to(shape: HubertShape, samples: int, depth: int, projection: bool = True) -> int:
    """Multiply-accumulates of the front-end and blocks 1 to `depth` on `samples` of audio: matrix
    products and convolutions, as flop counters count.

    Args:
        projection: state 0 lies before the positional convolution, so that depth 0 needs none.
    """
    total, n, channels = 0, max(samples, SHORTEST), 1
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        n = (n - kernel) // stride + 1
        total += n * kernel * channels * shape.conv_dim
        channels = shape.conv_dim
    total += n * shape.conv_dim * shape.dim
    if depth or not projection:
        # an even kernel makes one frame too many, which is computed and dropped
        frames = n + 1 - shape.pos_kernel % 2
        total += frames * shape.dim * (shape.dim // shape.pos_groups) * shape.pos_kernel
    block = n * (4 * shape.dim**2 + 2 * shape.dim * shape.ffn) + 2 * n * n * shape.dim
    return total + depth * block
