"""Linear, mean over time, linear: SUPERB's head for utterance-level tasks
(s3prl/downstream/{voxceleb1/expert,model}.py).
"""

from torch import Tensor, nn

from ..benchmark.masking import masked_mean


class MeanLinear(nn.Module):
    """Without a non-linearity the projection may come after the mean, so the mean of the features
    is all that is needed.

    Args:
        dim: features a frame; classes: outputs; hidden: width of the projection.
        standardise: bring every feature of the mean to zero mean and unit variance over the
            training batches first.

    Shape:
        (B, T, D) features and (B,) valid frames -> (B, classes) logits.
    """

    def __init__(self, dim: int, classes: int, hidden: int = 256, standardise: bool = False):
        super().__init__()
        self.standardise = nn.BatchNorm1d(dim, affine=False) if standardise else nn.Identity()
        self.project = nn.Linear(dim, hidden)
        self.classify = nn.Linear(hidden, classes)

    def forward(self, features: Tensor, frames: Tensor, samples: Tensor | None = None) -> Tensor:
        """(B, T, D) features and (B,) valid frames -> (B, classes); padding is never read."""
        mean = masked_mean(features, frames)
        return self.classify(self.project(self.standardise(mean)))
