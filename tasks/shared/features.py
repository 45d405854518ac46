"""Upstream features on their way into a head: standardised, and matched to the frames of an STFT.

Upstreams give one or two frames fewer than the STFT. The missing ones are zero features at the end;
the LSTM reads them, as in s3prl/downstream/enhancement_stft/expert.py.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ...benchmark.errors import UsageError
from ...benchmark.masking import valid_mask

SLACK = 5  # s3prl asserts that features and STFT differ by fewer frames than this


def match(
    features: Tensor, frames: Tensor, samples: Tensor, stride: int, hop: int
) -> tuple[Tensor, Tensor]:
    """Give each utterance one feature vector per spectrum.

    A frame is repeated where the upstream's stride is several hops; frames are interpolated
    linearly where the ratio is no whole number. Then cut, or filled with zeros at the end.

    Args:
        features: (B, T, D) and frames: (B,), as the upstream left them.
        samples: (B,) of each waveform.
        stride, hop: samples a frame, of the upstream and of the STFT.
    Returns: (B, T', D) and (B,) spectra.
    Raises: UsageError where the frames contradict the stride by SLACK frames or more.
    """
    frames, samples = frames.to(features.device), samples.to(features.device)
    spectra = 1 + samples // hop
    off = (spectra - frames * stride / hop).abs()
    # as s3prl allows where it repeats at most twice
    if float(off.max()) >= SLACK * max(1, stride / hop / 2):
        worst = int(off.argmax())
        raise UsageError(
            f"an upstream that gives {int(frames[worst])} frames for {int(samples[worst])} samples "
            f"does not have a stride of {stride}; correct its card"
        )
    longest = int(spectra.max())
    if stride % hop:
        return _interpolated(features, frames, stride / hop, longest), spectra
    valid = valid_mask(frames, features.shape[1])[..., None]
    repeated = torch.where(valid, features, 0.0).repeat_interleave(stride // hop, dim=1)
    matched = repeated[:, :longest]
    return F.pad(matched, (0, 0, 0, longest - matched.shape[1])), spectra


def _interpolated(features: Tensor, frames: Tensor, ratio: float, longest: int) -> Tensor:
    """(B, T, D) -> (B, longest, D): spectrum t lies at (t + 1/2) / ratio - 1/2 between a row's
    valid frames (half-pixel centres, so that frames and spectra span the same time). Before the
    first and after the last centre that frame is repeated; after the last frame's end, zeros.
    """
    t = (torch.arange(longest, device=features.device) + 0.5) / ratio
    last = (frames - 1)[:, None]
    place = torch.minimum((t - 0.5).clamp(min=0)[None], last)  # (B, longest)
    left = place.floor().long()
    right, weight = torch.minimum(left + 1, last), (place - left)[..., None].to(features.dtype)

    def at(index: Tensor) -> Tensor:
        return features.gather(1, index[..., None].expand(-1, -1, features.shape[2]))

    between = torch.lerp(at(left), at(right), weight)
    return torch.where((t < frames[:, None])[..., None], between, 0.0)


def standardised(features: Tensor, frames: Tensor) -> Tensor:
    """(B, T, D) and (B,) frames -> (B, T, D) with zero mean and unit variance over each row's valid
    frames; padding becomes zero.

    Most of a transformer state is the same vector in every frame; a head with a few hundred updates
    does not learn to ignore it.
    """
    valid = valid_mask(frames, features.shape[1])[..., None]
    count = frames[:, None, None]
    centred = (features - (features * valid).sum(1, keepdim=True) / count) * valid
    return centred * (centred.square().sum(1, keepdim=True) / count + 1e-5).rsqrt()
