"""The SUPERB-SG head of enhancement and separation: a bidirectional LSTM that paints one
spectral mask a source.

Tsai et al., 2022 (SUPERB-SG), sec. 3; sizes and places of dropout as in
s3prl/downstream/enhancement_stft/model.py, whose weights it can carry (tests/test_se.py). It sits
straight on the features, without a projection.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid}


class MaskBLSTM(nn.Module):
    """
    Args:
        dim: features a frame.
        bins: frequencies of a mask, n_fft / 2 + 1.
        hidden, layers: of the LSTM, `hidden` in each direction.
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
        self.lstm = nn.LSTM(
            dim,
            hidden,
            layers,
            batch_first=True,
            bidirectional=True,
            # torch warns of a dropout between one layer
            dropout=dropout if layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(dropout)
        self.to_mask = nn.ModuleList(nn.Linear(2 * hidden, bins) for _ in range(sources))
        self.activation = ACTIVATIONS[activation]

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:
        hidden = self.dropout(blstm(self.lstm, features, frames))
        masks = torch.stack([self.activation(linear(hidden)) for linear in self.to_mask], dim=1)
        return masks[:, 0] if len(self.to_mask) == 1 else masks


def blstm(lstm: nn.LSTM, x: Tensor, frames: Tensor) -> Tensor:
    """A bidirectional `lstm` read so that no row hears its padding: (B, T, D), (B,) -> (B, T, 2H),
    zeros behind a row's end.

    That is what packed sequences are for, and on a GPU they are used. On a CPU torch steps through
    packed sequences one frame at a time; whole padded ones go to oneDNN, six times faster in
    training. Forward, padding cannot be heard before it comes; for the way back each row is turned
    round within its own length, so that there too it comes last.
    """
    if x.is_cuda:
        packed = nn.utils.rnn.pack_padded_sequence(
            x, frames.cpu(), batch_first=True, enforce_sorted=False
        )
        return nn.utils.rnn.pad_packed_sequence(
            lstm(packed)[0], batch_first=True, total_length=x.shape[1]
        )[0]
    frames, time = frames[:, None].to(x.device), torch.arange(x.shape[1], device=x.device)
    valid = time < frames
    turned = torch.where(valid, frames - 1 - time, time)[..., None]  # (B, T, 1): its own inverse
    start = x.new_zeros(1, x.shape[0], lstm.hidden_size)

    def one_way(x: Tensor, which: str) -> Tensor:
        weights = [
            getattr(lstm, f"{name}_{which}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        # has biases, layers, dropout, training, bidirectional, batch first; what
        # nn.LSTM.forward calls
        return torch.lstm(x, (start, start), weights, True, 1, 0.0, lstm.training, False, True)[0]

    for layer in range(lstm.num_layers):
        ahead = one_way(x, f"l{layer}")
        back = one_way(x.gather(1, turned.expand_as(x)), f"l{layer}_reverse")
        x = torch.cat([ahead, back.gather(1, turned.expand_as(back))], dim=-1)
        if layer < lstm.num_layers - 1:
            x = F.dropout(x, lstm.dropout, lstm.training)
    return torch.where(valid[..., None], x, 0.0)
