"""Masks on spectra, which enhancement and separation share: head, training aim, loss, waveform.

After s3prl/downstream/{enhancement,separation}_stft{,2}/expert.py and loss.py, from the facts, with
torch for librosa.

The last samples of a waveform lie under the outermost edge of the last window alone, where the
inverse divides by the nearly vanishing square of the window and turns any error of the mask into a
click (a random mask on noise of 0.2 gave 350). The first recipes cut clicks away afterwards
(`tail="guard"`); the second stop at the centre of the last frame and leave zeros behind it
(`tail="drop"`).
"""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...benchmark.contract import Example, Setup
from ...benchmark.errors import UsageError
from .features import match, standardised
from .spectral_protocol import SpectralProtocol
from .stft import Stft, hop_of, stft_of

PHASE_EPS = 1e-10  # s3prl/downstream/enhancement_stft2/expert.py
# samples: the end that is searched for clicks; trailing zeros that call the search off
GUARDED, UNGUARDED = 512, 2048


class SpectralHead(nn.Module):
    """Features standardised (if the recipe says so), matched to spectra, and read by `masks`.

    Args:
        masks: a network of (B, T', D) and (B,) spectra -> masks, such as MaskBLSTM.

    Shape:
        (B, T, D) features, (B,) frames, (B,) samples -> (B, [sources,] T', bins).
    """

    def __init__(self, masks: nn.Module, setup: Setup):
        super().__init__()
        self.masks = masks
        self.standardise = setup.protocol.standardise
        self.stride, self.hop = setup.stride, hop_of(setup)

    def forward(self, features: Tensor, frames: Tensor, samples: Tensor) -> Tensor:
        if self.standardise:
            features = standardised(features, frames)
        return self.masks(*match(features, frames, samples, self.stride, self.hop))


def compared(noisy: Tensor, clean: Tensor, protocol: SpectralProtocol) -> tuple[Tensor, Tensor]:
    """Complex (..., T, bins) spectra -> the magnitudes that a mask multiplies and those it should
    give, both in the recipe's domain.
    """
    magnitude, aim = noisy.abs(), clean.abs()
    if protocol.aim == "npsm":  # Kolbaek et al., 2017 (uPIT)
        aim = aim * torch.relu(torch.cos(noisy.angle() - clean.angle()))
    if protocol.domain == "log1p":
        magnitude, aim = magnitude.log1p(), aim.log1p()
    elif protocol.domain == "sqrt":  # as RNNoise's loss (Valin, 2018), so that quiet bands count
        magnitude, aim = magnitude.sqrt(), aim.sqrt()
    return magnitude, aim


def spectra(example: Example, setup: Setup, device: torch.device) -> tuple[Tensor, Tensor]:
    """What `compared` gives for an example: (T, bins) of its audio and (..., T, bins) of its
    target, which is (N,) or (sources, N). Cached while a batch lasts, for every head.
    """
    return _spectra(example, setup.protocol, stft_of(setup, len(example.wav)), device)


@lru_cache(maxsize=64)
def _spectra(
    example: Example, protocol: SpectralProtocol, stft: Stft, device: torch.device
) -> tuple[Tensor, Tensor]:
    return compared(stft(example.wav.to(device)), stft(example.target.to(device)), protocol)


def distance(mask: Tensor, magnitude: Tensor, aim: Tensor, protocol: SpectralProtocol) -> Tensor:
    """The distance of masked speech from its aim: sum over frequencies, mean over frames.

    Shape: three times (..., T, bins), which broadcast, -> (...).
    """
    error = mask * magnitude - aim
    error = error.square() if protocol.distance == "mse" else error.abs()
    return error.sum(dim=(-2, -1)) / error.shape[-2]


def apply(mask: Tensor, wav: Tensor, setup: Setup) -> Tensor:
    """(T' >= T, bins) mask on the T spectra of (N,) audio -> (N,) audio, with unchanged phase."""
    protocol, stft = setup.protocol, stft_of(setup, len(wav))
    spectrum = stft(wav)
    mask = fitting(mask, spectrum)
    if protocol.domain == "log1p":
        magnitude = spectrum.abs()
        masked = torch.expm1(mask * magnitude.log1p()) * (spectrum / (magnitude + PHASE_EPS))
    elif protocol.domain == "sqrt":
        masked = mask.square() * spectrum
    else:
        masked = mask * spectrum
    if protocol.tail == "guard":
        return without_clicks(stft.inverse(masked, len(wav)))
    centre = (len(spectrum) - 1) * stft.hop
    return F.pad(stft.inverse(masked, centre), (0, len(wav) - centre))


def fitting(mask: Tensor, spectrum: Tensor) -> Tensor:
    """The frames of a (..., T', bins) mask that the (T, bins) spectrum has: (..., T, bins).

    Raises: UsageError where the mask is shorter.
    """
    if mask.shape[-2] < len(spectrum):
        raise UsageError(
            f"a mask of {mask.shape[-2]} frames cannot cover {len(spectrum)} spectra: it was made "
            "for shorter audio"
        )
    return mask[..., : len(spectrum), :]


def without_clicks(wav: Tensor) -> Tensor:
    """(N,) -> (N,), zero from the first click on: a sample of the last 512 that is louder than
    everything before those 512 (s3prl/downstream/enhancement_stft/expert.py, `postprocess`).

    The end is the last sample that is not 0, unless more than 2048 zeros follow it. A silent or
    shorter signal is returned as it is (on a silent one s3prl's `postprocess` raises).
    """
    sounding = wav.nonzero()
    end = int(sounding[-1]) + 1 if len(sounding) else 0
    start = end - GUARDED
    if end < len(wav) - UNGUARDED or start <= 0:
        return wav
    clicks = (wav[start:end].abs() > wav[:start].abs().max()).nonzero()
    if not len(clicks):
        return wav
    quiet = wav.clone()
    quiet[start + int(clicks[0]) :] = 0
    return quiet
