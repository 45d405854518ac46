"""The SUPERB head of speech recognition: a projection, bidirectional LSTMs, and one score a
symbol and frame, for CTC.

Yang et al., 2021 (SUPERB), sec. 3; sizes and places of dropout as in
s3prl/downstream/asr/{config.yaml,model.py}, whose weights it can carry
(tests/tasks/test_asr_head.py).
"""

from torch import Tensor, nn

from .rnn import blstm, new_blstm


class BLSTMCTC(nn.Module):
    """
    Args:
        dim: features a frame. symbols: outputs, the blank among them.
        hidden, layers: of the LSTM, `hidden` in each direction; the projection before it is as
            wide. Without layers the head is linear, as a probe wants it.
        dropout: after every layer.
        join: neighbouring frames read as one; a remainder at the end is left out.
        outputs: scores that a frame gives, one after the other, where frames are too few for CTC
            (Zaiem et al., 2023, arXiv:2303.06740, behind a shortened input).

    Shape:
        (B, T, D) and (B,) valid frames -> (B, T // join * outputs, symbols), of which a row's first
        frames // join * outputs mean something.
    """

    def __init__(
        self,
        dim: int,
        symbols: int = 32,
        hidden: int = 1024,
        layers: int = 2,
        dropout: float = 0.2,
        join: int = 1,
        outputs: int = 1,
    ):
        super().__init__()
        self.join, self.outputs = join, outputs
        self.project = nn.Linear(dim, hidden)
        self.lstm = new_blstm(join * hidden, hidden, layers, dropout)
        self.dropout = nn.Dropout(dropout)
        self.to_symbols = nn.Linear(2 * hidden if layers else join * hidden, outputs * symbols)

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:
        rows, time = features.shape[0], features.shape[1] // self.join
        x = self.project(features[:, : time * self.join]).reshape(rows, time, -1)
        scores = self.to_symbols(self.dropout(blstm(self.lstm, x, frames // self.join)))
        return scores.reshape(rows, time * self.outputs, -1)
