"""Mel spectra of utterances in a zero-padded batch, each as if it were alone.

The numbers are those of the early-exit Conformers (Wright et al., 2023, arXiv:2309.09546;
augustgw/early-exit-transformer: util/conf.py): Hann windows of 20 ms every 10 ms, centred, the ends
mirrored, a transform of 1024 samples (their n_fft of 512, doubled), 80 triangles on the HTK mel
scale. The paper calls them MFCCs; the code has no cosine transform, and no logarithm either
(`power_mel`). tests/upstreams/test_log_mel.py holds them against torchaudio's.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn

from ...benchmark.masking import masked_mean
from .branched import no_autocast
from .conformer_shape import FFT, HOP, WINDOW, spectrum_frames

RATE = 16_000
FLOOR = 1e-6  # added to energies before the logarithm
SPREAD = 1e-5  # added to a variance


class MelSpectrum(nn.Module):
    """(B, N) zero-padded samples and (B,) valid ones -> (B, T, mels), a frame every 10 ms.

    What stands behind a row's own frames is finite and means nothing. Rows must have more samples
    than half a window.

    Args:
        mels: bands; features: "log_mel" or "power_mel" (`conformer_shape.FEATURES`).
    """

    def __init__(self, mels: int = 80, features: str = "log_mel"):
        super().__init__()
        self.mels, self.log = mels, features == "log_mel"

    def forward(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        lengths = lengths.to(wavs.device)
        window, bands = (known.to(wavs.device, non_blocking=True) for known in constants(self.mels))
        with no_autocast(wavs):  # energies span more than half precision holds
            pieces = mirrored(wavs, lengths).unfold(1, WINDOW, HOP) * window
            spectrum = torch.view_as_real(torch.fft.rfft(pieces, FFT))
            energies = spectrum.square().sum(-1) @ bands
            if not self.log:
                return energies
            return normalised((energies + FLOOR).log(), spectrum_frames(lengths))


@lru_cache(maxsize=4)
def constants(mels: int) -> tuple[Tensor, Tensor]:
    """The window, (WINDOW,), and the bands. No buffers: a network whose weights are about to be
    read is built empty."""
    return torch.hann_window(WINDOW), triangles(mels)


def mirrored(wavs: Tensor, lengths: Tensor) -> Tensor:
    """(B, N), (B,) -> every row with half a window of its own reflection before its first sample
    and behind its last."""
    half, last = WINDOW // 2, lengths[:, None] - 1
    count = (spectrum_frames(wavs.shape[1]) - 1) * HOP + WINDOW
    place = (torch.arange(count, device=wavs.device) - half).abs()
    place = torch.where(place > last, 2 * last - place, place)
    return wavs.gather(1, place.clamp(0, wavs.shape[1] - 1))


def normalised(x: Tensor, frames: Tensor) -> Tensor:
    """(B, T, F) to zero mean and unit variance of every band over each row's own (B,) frames."""
    centred = x - masked_mean(x, frames)[:, None]
    return centred * (masked_mean(centred.square(), frames)[:, None] + SPREAD).rsqrt()


def triangles(mels: int) -> Tensor:
    """(FFT / 2 + 1, mels): the weight of every frequency in every band, the peaks at 1 and evenly
    spaced on the mel scale from 0 to 8 kHz (Davis and Mermelstein, 1980; HTK's formula)."""
    highest = 2595 * torch.log10(torch.tensor(1 + RATE / 2 / 700))
    corners = 700 * (10 ** (torch.linspace(0, float(highest), mels + 2) / 2595) - 1)
    frequencies = torch.linspace(0, RATE / 2, FFT // 2 + 1)[:, None]
    low, peak, high = corners[:-2], corners[1:-1], corners[2:]
    rising = (frequencies - low) / (peak - low)
    falling = (high - frequencies) / (high - peak)
    return torch.minimum(rising, falling).clamp(min=0)
