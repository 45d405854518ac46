"""A Transformer decoder that spells an utterance symbol by symbol from an encoder's states.

Vaswani et al., 2017 (arXiv:1706.03762), with the layer norms first, as the decoders of the
early-exit Conformers have them (augustgw/early-exit-transformer: models/model/early_exit.py). Block
and norm are torch.nn.TransformerDecoder's, whose parameter names these are.

One symbol stands for both ends of a transcript, the CTC blank, which no transcript holds. Keys and
values of what is written already, and of the encoder's states, are kept from symbol to symbol.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .conformer_block import Attention
from .hubert import valid_frames
from .positions import sinusoids


@dataclass(frozen=True)
class DecoderShape:
    """
    Attributes:
        symbols: that it tells apart, the blank included; dim: of the encoder's states and its own.
        depth: blocks; heads: of attention; ffn: width of the feed-forward.
        dropout: while it is trained.
    """

    symbols: int
    dim: int = 144
    depth: int = 4
    heads: int = 4
    ffn: int = 1024
    dropout: float = 0.1


Kept = tuple[Tensor, Tensor]  # keys and values, (B, H, S, D / H) each


class DecoderBlock(nn.Module):
    """Attention over what is written, attention over the encoder's states, feed-forward."""

    def __init__(self, shape: DecoderShape):
        super().__init__()
        self.self_attn = Attention(shape.dim, shape.heads, shape.dropout)
        self.multihead_attn = Attention(shape.dim, shape.heads, shape.dropout)
        self.linear1 = nn.Linear(shape.dim, shape.ffn)
        self.linear2 = nn.Linear(shape.ffn, shape.dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(shape.dim) for _ in range(3))
        self.dropout = nn.Dropout(shape.dropout)

    def forward(
        self, x: Tensor, heard: Kept, past: Kept | None, order: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, Kept]:
        """(B, U, D) -> (B, U, D), and the keys and values of all that is written by now.

        Args:
            heard: of the encoder's states; past: of the symbols before these U, None at the start.
            order: (U, U), True on the symbols that one may read; None = on all.
            mask: (B, 1, 1, T), True on each row's own frames; None where nothing is padded.
        """
        own = self.norm1(x)
        written = self.self_attn.keys_and_values(own)
        if past is not None:
            pairs = zip(past, written, strict=True)
            written = tuple(torch.cat([before, now], 2) for before, now in pairs)
        x = x + self.dropout(self.self_attn.over(own, *written, order))
        x = x + self.dropout(self.multihead_attn.over(self.norm2(x), *heard, mask))
        inner = self.dropout(F.relu(self.linear1(self.norm3(x))))
        return x + self.dropout(self.linear2(inner)), written


class Decoder(nn.Module):
    """
    Args:
        shape: its sizes; weights are random.
        end: the number of the symbol that stands for both ends of a transcript.
    """

    def __init__(self, shape: DecoderShape, end: int = 0):
        super().__init__()
        self.shape, self.end = shape, end
        self.embedding = nn.Embedding(shape.symbols, shape.dim)
        self.dropout = nn.Dropout(shape.dropout)
        self.layers = nn.ModuleList(DecoderBlock(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.dim)
        self.output = nn.Linear(shape.dim, shape.symbols)

    def forward(self, written: Tensor, states: Tensor, frames: Tensor | None = None) -> Tensor:
        """The scores of every next symbol, of transcripts that are known (teacher forcing).

        Args:
            written: (B, U) symbols, the first one `end`; what stands behind a row's own ones is
                read by none before it.
            states: (B, T, D) of the encoder; frames: (B,) valid ones, None = all.
        Returns: (B, U, symbols), before the softmax; score u is of the symbol behind u.
        """
        count = written.shape[1]
        order = torch.ones(count, count, dtype=torch.bool, device=states.device).tril()
        x, _ = self._through(written, 0, self.heard(states), None, order, mask_of(states, frames))
        return self.output(x)

    def heard(self, states: Tensor) -> list[Kept]:
        """Every block's keys and values of the encoder's states (B, T, D)."""
        return [layer.multihead_attn.keys_and_values(states) for layer in self.layers]

    @torch.no_grad()
    def greedy(
        self, states: Tensor, frames: Tensor | None = None, limits: Sequence[int] = ()
    ) -> list[Tensor]:
        """The transcripts that take the best symbol each time, without their ends.

        Args:
            states: (B, T, D) of the encoder; frames: (B,) valid ones, None = all.
            limits: the most symbols of each row; () = as many as it has frames.
        Returns: (U,) int64 symbols a row.
        """
        counts = [states.shape[1]] * len(states) if frames is None else frames.tolist()
        limits = limits or counts
        heard, mask, past = self.heard(states), mask_of(states, frames), None
        last = torch.full((len(states), 1), self.end, device=states.device)
        written, open_ = [last[:, :0]], torch.ones_like(last, dtype=torch.bool)
        for place in range(max(limits)):
            x, past = self._through(last, place, heard, past, None, mask)
            last = self.output(x).argmax(-1)
            written.append(last)
            open_ = open_ & (last != self.end)
            if not bool(open_.any()):
                break
        rows = zip(torch.cat(written, 1), limits, strict=True)
        return [until(row[:limit], self.end) for row, limit in rows]

    @torch.no_grad()
    def hypotheses(self, states: Tensor, count: int) -> list[tuple[Tensor, float]]:
        """The best transcripts of one utterance that a beam search finds, the best first.

        Those that ended stay in the beam, among those that go on; at most one symbol a frame is
        written, as by `greedy`, which this is with a beam of one.

        Args:
            states: (1, T, D) of the encoder; count: hypotheses kept, and given, at most.
        Returns: (U,) int64 symbols without their end, and the log-probability of both.
        """
        heard, past = self.heard(states), None
        last = torch.full((1, 1), self.end, device=states.device)
        written, scores, done = last[:, :0], states.new_zeros(1), []
        for place in range(states.shape[1]):
            beside = [tuple(kept.expand(len(last), -1, -1, -1) for kept in pair) for pair in heard]
            x, past = self._through(last, place, beside, past, None, None)
            grown = scores[:, None] + self.output(x)[:, -1].float().log_softmax(-1)
            scores, found = grown.flatten().topk(min(count, grown.numel()))
            rows, last = found // self.shape.symbols, found[:, None] % self.shape.symbols
            written = torch.cat([written[rows], last], 1)
            ends = (last[:, 0] == self.end).tolist()
            closed = [i for i, is_end in enumerate(ends) if is_end]
            done = best(done + [(written[i, :-1], float(scores[i])) for i in closed], count)
            # a log-probability only falls: what is behind `count` that ended stays behind them
            least = done[-1][1] if len(done) == count else -torch.inf
            open_ = [i for i, s in enumerate(scores.tolist()) if not ends[i] and s > least]
            if not open_:
                return done
            keep = torch.tensor(open_, device=states.device)
            written, scores, last = written[keep], scores[keep], last[keep]
            past = [tuple(kept[rows[keep]] for kept in pair) for pair in past]
        return best(done + list(zip(written, scores.tolist(), strict=True)), count)

    def _through(
        self,
        written: Tensor,
        place: int,
        heard: Sequence[Kept],
        past: Sequence[Kept] | None,
        order: Tensor | None,
        mask: Tensor | None,
    ) -> tuple[Tensor, list[Kept]]:
        """(B, U) symbols, the first of which is number `place` -> (B, U, D), and what is kept."""
        x = self.embedding(written)
        x = self.dropout(x + sinusoids(written.shape[1], x, place))
        kept = []
        for number, layer in enumerate(self.layers):
            before = None if past is None else past[number]
            x, now = layer(x, heard[number], before, order, mask)
            kept.append(now)
        return self.norm(x), kept


def mask_of(states: Tensor, frames: Tensor | None) -> Tensor | None:
    """(B, 1, 1, T), True on each row's own frames of (B, T, D); None where nothing is padded."""
    if frames is None or bool((frames == states.shape[1]).all()):
        return None
    return valid_frames(states, frames)[:, None, None]


def until(row: Tensor, end: int) -> Tensor:
    """(U,) -> what stands before the first `end`."""
    return row[: int((row != end).long().cumprod(0).sum())]


def best(found: list[tuple[Tensor, float]], count: int) -> list[tuple[Tensor, float]]:
    """The `count` hypotheses of the largest scores, the best first."""
    return sorted(found, key=lambda each: -each[1])[:count]


def decoding_macs(shape: DecoderShape, frames: int, symbols: int, count: int = 1) -> int:
    """Multiply-accumulates of `Decoder.greedy` that writes `symbols` symbols, the end included,
    from `frames` states; of `Decoder.hypotheses` at most, where `count` are written side by side.
    """
    dim = shape.dim
    heard = frames * 2 * dim**2  # once for all hypotheses
    each = 6 * dim**2 + 2 * dim * shape.ffn + 2 * frames * dim
    over_written = dim * symbols * (symbols + 1)  # 1, 2, ..., symbols of them, keys and values
    block = heard + count * (symbols * each + over_written)
    return shape.depth * block + count * symbols * dim * shape.symbols
