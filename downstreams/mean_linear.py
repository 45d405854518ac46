"""Linear, mean over time, linear: SUPERB's head for utterance-level tasks
(s3prl/downstream/{voxceleb1/expert,model}.py).
"""

import torch
from torch import Tensor, nn


class MeanLinear(nn.Module):
    """No non-linearity anywhere: the projection may as well come after the mean, and the mean of
    the features is all that is needed.
    """

    def __init__(self, dim: int, classes: int, hidden: int = 256, standardise: bool = False):
        """`standardise` brings every feature of the mean to zero mean and unit variance over the
        training batches first.
        """
        super().__init__()
        self.standardise = nn.BatchNorm1d(dim, affine=False) if standardise else nn.Identity()
        self.project = nn.Linear(dim, hidden)
        self.classify = nn.Linear(hidden, classes)

    def forward(self, features: Tensor, frames: Tensor, samples: Tensor | None = None) -> Tensor:
        """(B, T, D) features and (B,) valid frames -> (B, classes) logits; what stands behind a
        row's end is never read.
        """
        own = torch.arange(features.shape[1], device=features.device) < frames[:, None].to(
            features.device
        )
        mean = features.masked_fill(~own[..., None], 0.0).sum(1) / own.sum(1, keepdim=True)
        return self.classify(self.project(self.standardise(mean)))
