"""The recipe of a masking task, enhancement or separation, and what a corpus must have for it.

Values and meanings after s3prl/downstream/{enhancement,separation}_stft{,2}.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...benchmark.contract import Corpus, Protocol
from ...benchmark.errors import UsageError

# of learning rates: SUPERB's search, on a log scale (s3prl issues 120, 360)
GRID = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


@dataclass(frozen=True)
class SpectralProtocol(Protocol):
    """The fields of a masking recipe; the defaults are those that SUPERB-SG's enhancement and
    separation share.

    Raises: UsageError where a field has a value that is not known.
    """

    n_fft: int = 512
    win: int = 512  # samples, Hann
    hop: int = 0  # samples; 0 = the upstream's stride, or a part of it (`hop_of`)
    pad: str = "reflect"  # what the STFT sees beyond both ends: reflect | constant (zeros)
    layers: int = 3
    hidden: int = 896  # in each direction
    dropout: float = 0.5
    activation: str = "relu"  # relu | sigmoid
    # of a mask on the mixture Y, for the source S: npsm, |S| max(0, cos(angle Y - angle S)),
    # non-negative phase-sensitive | am, |S|
    aim: str = "npsm"
    distance: str = "mse"  # mse | l1
    # what mask and aim live in: magnitude | log1p (of the magnitude) | sqrt
    domain: str = "magnitude"
    tail: str = "guard"  # what happens to clicks at the end, see `masking.py`: guard | drop
    # features to zero mean and unit variance over an utterance's valid frames, per dimension
    standardise: bool = False
    above_zero: ClassVar[tuple[str, ...]] = (
        *Protocol.above_zero,
        *("n_fft", "win", "hidden"),
    )

    def __post_init__(self):
        for field, *known in (
            ("pad", "reflect", "constant"),
            ("activation", "relu", "sigmoid"),
            ("aim", "npsm", "am"),
            ("distance", "mse", "l1"),
            ("domain", "magnitude", "log1p", "sqrt"),
            ("tail", "guard", "drop"),
        ):
            if getattr(self, field) not in known:
                raise UsageError(
                    f"protocol {self.name}: {field} is {' or '.join(known)}, not "
                    f"{getattr(self, field)!r}"
                )


def check(
    corpus: Corpus, protocol: SpectralProtocol, frames: Callable[[Tensor], Tensor]
) -> Iterator[str]:
    """A sentence for every utterance too short to be transformed; a `Task.check`."""
    for split, items in corpus.splits.items():
        for item in items:
            if item.samples < protocol.n_fft:
                yield (
                    f"{item.id} of {split} has {item.samples} samples, less than one window of "
                    f"{protocol.n_fft}"
                )
