"""A bidirectional LSTM that reads padded batches row by row, for the heads that have one."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def new_blstm(dim: int, hidden: int, layers: int, dropout: float) -> nn.LSTM | None:
    """`layers` with dropout between them, batch first; None for no layer at all."""
    if not layers:
        return None
    return nn.LSTM(
        dim,
        hidden,
        layers,
        batch_first=True,
        bidirectional=True,
        # torch warns of a dropout between one layer
        dropout=dropout if layers > 1 else 0.0,
    )


def blstm(lstm: nn.LSTM | None, x: Tensor, frames: Tensor) -> Tensor:
    """A bidirectional `lstm` over padded rows, none of which reads its padding; `x` without one.

    Shape: (B, T, D) and (B,) valid frames -> (B, T, 2H), zeros in the padding.

    That is what packed sequences are for, and on a GPU they are used. On a CPU torch steps through
    packed sequences one frame at a time; whole padded ones go to oneDNN, six times faster in
    training. Forward, padding comes last; for the backward direction each row is reversed within
    its valid length, so that it comes last there, too.
    """
    if lstm is None:
        return x
    if x.is_cuda:
        packed = nn.utils.rnn.pack_padded_sequence(
            x, frames.cpu(), batch_first=True, enforce_sorted=False
        )
        return nn.utils.rnn.pad_packed_sequence(
            lstm(packed)[0], batch_first=True, total_length=x.shape[1]
        )[0]
    frames, time = frames[:, None].to(x.device), torch.arange(x.shape[1], device=x.device)
    valid = time < frames
    turned = torch.where(valid, frames - 1 - time, time)[
        ..., None
    ]  # (B, T, 1), its inverse is itself
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
