"""Valid frames of a padded batch: every mean over time and every mask comes from these two."""

import torch
from torch import Tensor


def valid_mask(frames: Tensor, time: int) -> Tensor:
    """(B,) valid frames -> (B, time), True on each row's own frames."""
    return torch.arange(time, device=frames.device) < frames[:, None]


def masked_mean(x: Tensor, frames: Tensor) -> Tensor:
    """(B, T, ...) and (B,) valid frames -> (B, ...): the mean over each row's own frames alone.

    What stands behind a row's end is never read, so it may be anything, NaN included.
    """
    valid = valid_mask(frames.to(x.device), x.shape[1])
    count = frames.to(x.device)
    while valid.ndim < x.ndim:
        valid, count = valid[..., None], count[..., None]
    return x.masked_fill(~valid, 0.0).sum(1) / count
