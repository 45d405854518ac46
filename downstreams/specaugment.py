"""SpecAugment (Park et al., 2019) on features instead of spectra, as s3prl applies it between
weighted sum and head.

Draw for draw s3prl/downstream/specaug.py: from the same torch seed both give the same numbers
(tests/tasks/test_specaugment.py). A mask's place is drawn over the longest row of the batch and
away from its end by the widest mask of the batch; torchaudio's masking transforms draw it
otherwise, so they are not used. All draws come from torch's generator, so a resumed run repeats
them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SpecAugment(nn.Module):
    """Time warp, then feature masks, then time masks, all filled with zeros. Nothing at
    all outside training.

    Args:
        warp: frames by which a random point of an utterance may move; rows of up to twice as
            many stay as they are.
        feature_masks, time_masks: masks an utterance. feature_width, time_width: each
            is 0 to this - 1 wide.

    Shape:
        (B, T, D) and (B,) valid frames -> (B, T, D), zeros behind a row's end.
    """

    def __init__(
        self,
        warp: int = 5,
        feature_masks: int = 4,
        feature_width: int = 50,
        time_masks: int = 2,
        time_width: int = 40,
    ):
        super().__init__()
        self.warp = warp
        self.features = feature_masks, feature_width
        self.times = time_masks, time_width

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        if not self.training:
            return x
        rows, time = zip(x, frames.tolist(), strict=True), x.shape[1]
        x = torch.stack([F.pad(self._warped(row[:n]), (0, 0, 0, time - n)) for row, n in rows])
        x = x.masked_fill(_stretches(len(x), x.shape[2], *self.features, x.device)[:, None, :], 0.0)
        return x.masked_fill(_stretches(len(x), x.shape[1], *self.times, x.device)[:, :, None], 0.0)

    def _warped(self, row: Tensor) -> Tensor:
        """(T, D) with what lies before and after one frame stretched or
        squeezed, the length kept.
        """
        frames, dim = row.shape
        if frames <= 2 * self.warp or not self.warp:
            return row
        point = int(torch.randint(self.warp, frames - self.warp, (1,)))
        moved = 1 + int(torch.randint(point - self.warp, point + self.warp, (1,)))
        parts = [(row[:point], moved), (row[point:], frames - moved)]
        resized = [
            F.interpolate(part[None, None], (length, dim), mode="bicubic", align_corners=False)
            for part, length in parts
        ]
        return torch.cat([part[0, 0] for part in resized])


def _stretches(rows: int, length: int, count: int, width: int, device: torch.device) -> Tensor:
    """(rows, length), True within `count` random stretches of 0 to `width` - 1."""
    if not count or not width:
        return torch.zeros(rows, length, dtype=torch.bool, device=device)
    widths = torch.randint(width, (rows, count), device=device)
    starts = torch.randint(max(1, length - int(widths.max())), (rows, count), device=device)
    offset = torch.arange(length, device=device) - starts[..., None]  # (rows, count, length)
    return ((offset >= 0) & (offset < widths[..., None])).any(1)
