"""Spectra of an utterance: the transform of a recipe, its hop, and how it follows the upstream.

Frame t of a centred STFT covers the samples around t * hop, so N samples have 1 + N // hop frames.
librosa reflects the signal at both ends before 0.9.0 (February 2022) and appends zeros since; s3prl
pins no librosa (>= 0.7.2). The SUPERB-SG numbers are older than 0.9, the second recipes newer, and
each recipe says which it uses (`pad`). Only the first and the last frame differ.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...benchmark.contract import Setup
from ...benchmark.errors import UsageError

# samples: the hop where it follows a longer stride of an upstream; 10 and 20 ms, as in SUPERB
FINEST, COARSEST = 160, 320


@dataclass(frozen=True)
class Stft:
    """A centred short-time Fourier transform and its least-squares inverse (Griffin and Lim, 1984).

    Attributes:
        n_fft, win, hop: samples.
        pad: beyond both ends of the signal, "reflect" or "constant" (zeros).

    Raises: UsageError where windows do not overlap.
    """

    n_fft: int
    win: int
    hop: int
    pad: str

    def __post_init__(self):
        if self.hop >= self.win:
            raise UsageError(
                f"windows of {self.win} samples every {self.hop} leave audio between them that no "
                "mask can reach; choose a protocol with a fixed hop, or a longer win"
            )

    def frames(self, samples: int) -> int:
        """Spectra of so many samples."""
        return 1 + samples // self.hop

    def __call__(self, wav: Tensor) -> Tensor:
        """(..., N) -> (..., T, bins), complex."""
        return torch.stft(
            wav,
            self.n_fft,
            self.hop,
            self.win,
            self._window(wav),
            center=True,
            pad_mode=self.pad,
            return_complex=True,
        ).mT

    def inverse(self, spectrum: Tensor, samples: int) -> Tensor:
        """(T, bins) -> (samples,); zeros where no window reaches."""
        reached = min(samples, (len(spectrum) - 1) * self.hop + self.win // 2)
        wav = torch.istft(
            spectrum.T,
            self.n_fft,
            self.hop,
            self.win,
            self._window(spectrum.real),
            center=True,
            length=reached,
        )
        return F.pad(wav, (0, samples - reached))

    def _window(self, like: Tensor) -> Tensor:
        # periodic, as scipy's for spectra
        return torch.hann_window(self.win, dtype=like.dtype, device=like.device)


def hop_of(setup: Setup) -> int:
    """Samples between two spectra: the recipe's, or the upstream's stride up to 320. Of a
    longer stride the largest whole part of 160 to 320 samples (640, 960 and 1280 give 320);
    where it has none, 320.
    """
    if setup.protocol.hop or setup.stride <= COARSEST:
        return setup.protocol.hop or setup.stride
    parts = (
        setup.stride // m for m in range(2, setup.stride // FINEST + 1) if setup.stride % m == 0
    )
    return next((part for part in parts if part <= COARSEST), COARSEST)


def notices(setup: Setup) -> list[str]:
    """How feature frames are matched to spectra, where that is not one by one; a `Task.notices`.
    UsageError where they cannot be.
    """
    hop, stride = hop_of(setup), setup.stride
    Stft(setup.protocol.n_fft, setup.protocol.win, hop, setup.protocol.pad)
    if stride == hop:
        return []
    how = f"each read {stride // hop} times" if stride % hop == 0 else "interpolated"
    return [f"feature frames every {stride} samples, {how} for an STFT with a hop of {hop}"]


def stft_of(setup: Setup, samples: int) -> Stft:
    """The transform for an utterance of `samples`; UsageError where it has less than a window."""
    protocol = setup.protocol
    if samples < protocol.n_fft:
        raise UsageError(
            f"an utterance of {samples} samples is shorter than one window of {protocol.n_fft}; "
            "take it out"
        )
    return Stft(protocol.n_fft, protocol.win, hop_of(setup), protocol.pad)
