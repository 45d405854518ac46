"""The SUPERB-SG head of enhancement and separation: a bidirectional LSTM that paints one
spectral mask a source.

Tsai et al., 2022 (SUPERB-SG), sec. 3; sizes and places of dropout as in
s3prl/downstream/enhancement_stft/model.py, whose weights it can carry
(tests/tasks/test_se_head.py). It sits straight on the features, without a projection.
"""

import torch
from torch import Tensor, nn

from .rnn import blstm, new_blstm

ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid}


class MaskBLSTM(nn.Module):
    """
    Args:
        dim: features a frame.
        bins: frequencies of a mask, n_fft / 2 + 1.
        hidden, layers: of the LSTM, `hidden` in each direction. Without layers the mask is linear
            in the features before its activation, as a probe wants it.
        dropout: between the layers, and once more on the output.
        activation: relu leaves a mask unbounded above, sigmoid keeps it within 0..1.
        sources: 1 for enhancement, 2 for two talkers.

    Shape:
        (B, T, D) and (B,) valid frames -> (B, T, bins), or (B, sources, T, bins) where there are
        several.
    """

    def __init__(
        self,
        dim: int,
        bins: int,
        hidden: int = 896,
        layers: int = 3,
        dropout: float = 0.5,
        activation: str = "relu",
        sources: int = 1,
    ):
        super().__init__()
        self.lstm = new_blstm(dim, hidden, layers, dropout)
        self.dropout = nn.Dropout(dropout)
        width = 2 * hidden if layers else dim
        self.to_mask = nn.ModuleList(nn.Linear(width, bins) for _ in range(sources))
        self.activation = ACTIVATIONS[activation]

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:
        hidden = self.dropout(blstm(self.lstm, features, frames))
        masks = torch.stack([self.activation(linear(hidden)) for linear in self.to_mask], dim=1)
        return masks[:, 0] if len(self.to_mask) == 1 else masks
