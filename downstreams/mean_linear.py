"""Linear, mean over time, linear: SUPERB's head for utterance-level tasks (s3prl/downstream/model.py: UtteranceLevel)."""
import torch
from torch import Tensor, nn


class MeanLinear(nn.Module):
    """No non-linearity anywhere, so the mean of the features gives the same answer as the features themselves."""

    def __init__(self, dim: int, classes: int, hidden: int = 256):
        super().__init__()
        self.project = nn.Linear(dim, hidden)
        self.classify = nn.Linear(hidden, classes)

    def forward(self, features: Tensor, frames: Tensor, samples: Tensor | None = None) -> Tensor:
        """(B, T, D) features and (B,) valid frames -> (B, classes) logits; what stands behind a row's end is never read."""
        own = torch.arange(features.shape[1], device=features.device) < frames[:, None].to(features.device)
        x = self.project(features).masked_fill(~own[..., None], 0.0)
        return self.classify(x.sum(1) / own.sum(1, keepdim=True))
