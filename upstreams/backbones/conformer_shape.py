"""The sizes of a Conformer encoder, the frames of so many samples, and the multiply-accumulates of
a depth.

Wright et al., 2023 (arXiv:2309.09546, table 1) and their code (augustgw/early-exit-transformer:
util/conf.py) for the published sizes; Lasbordes et al., 2025 (Splitformer, arXiv:2506.18035) for
the branches beside the blocks.
"""

import math
from dataclasses import dataclass

from torch import Tensor

WINDOW, HOP, FFT = 320, 160, 1024  # samples: 20 ms every 10 ms, filled up with zeros
KERNEL = 3  # of the convolutions that shorten the spectrum
FEATURES = {
    "log_mel": "logarithm of the mel energies, to zero mean and unit variance an utterance",
    "power_mel": "the mel energies as they are (the authors' code)",
}


@dataclass(frozen=True)
class ConformerShape:
    """The defaults are those of Conformer-CTC in the paper.

    Attributes:
        dim: of a state; depth: blocks; heads: of attention; ffn: width of both feed-forwards.
        kernel: of the depthwise convolution, in frames, odd.
        mels: bands of the spectrum; features: one of FEATURES.
        strides: of the convolutions over the spectrum's frames: (2, 2) makes one of four.
        dropout: while it is trained; on every residual, attention and the input.
        parallel: (from, to) of every branch beside the blocks from + 1 .. to, one block that
            hears every other frame of state `from`; what it says is repeated and added to state
            `to` (Splitformer: beside the first and the last two blocks); () = none.
    """

    dim: int = 256
    depth: int = 12
    heads: int = 8
    ffn: int = 2048
    kernel: int = 31
    mels: int = 80
    features: str = "log_mel"
    strides: tuple[int, ...] = (2, 2)
    dropout: float = 0.1
    parallel: tuple[tuple[int, int], ...] = ()

    def __post_init__(self):
        # JSON knows lists alone
        object.__setattr__(self, "strides", tuple(self.strides))
        object.__setattr__(self, "parallel", tuple(tuple(pair) for pair in self.parallel))

    @property
    def stride(self) -> int:
        """Samples between two frames."""
        return HOP * math.prod(self.strides)

    @property
    def shortest(self) -> int:
        """Samples that give one frame; shorter audio is zero-padded to them."""
        seen = 1
        for stride in reversed(self.strides):
            seen = (seen - 1) * stride + KERNEL
        return (seen - 1) * HOP


def spectrum_frames(samples: Tensor | int) -> Tensor | int:
    """Frames of the spectrum, the first and the last one centred on the ends."""
    return samples // HOP + 1


def frame_counts(samples: Tensor | int, shape: ConformerShape) -> Tensor | int:
    """Valid frames of `samples` 16 kHz samples, at least one."""
    short = shape.shortest
    n = spectrum_frames(
        samples.clamp(min=short) if isinstance(samples, Tensor) else max(samples, short)
    )
    for stride in shape.strides:
        n = (n - KERNEL) // stride + 1
    return n


def block_macs(shape: ConformerShape, frames: int) -> int:
    """Of one block: two feed-forwards, attention, a gated and a depthwise convolution."""
    dim = shape.dim
    frame = 4 * dim * shape.ffn + 4 * dim**2 + 3 * dim**2 + shape.kernel * dim
    return frames * frame + 2 * frames**2 * dim


def macs_to(shape: ConformerShape, samples: int, depth: int) -> int:
    """Multiply-accumulates of the front-end and blocks 1 to `depth` on `samples` of audio: matrix
    products and convolutions, as flop counters count, and the Fourier transform, n log2 n for one
    of n samples, which they do not see.
    """
    n = spectrum_frames(max(samples, shape.shortest))
    total = n * (FFT * int(math.log2(FFT)) + (FFT // 2 + 1) * shape.mels)
    inputs = shape.mels
    for stride in shape.strides:
        n = (n - KERNEL) // stride + 1
        total += n * KERNEL * inputs * shape.dim
        inputs = shape.dim
    beside = sum(to <= depth for _, to in shape.parallel)
    return total + depth * block_macs(shape, n) + beside * block_macs(shape, (n + 1) // 2)
