"""An exit that spells with a decoder: scores of frames for CTC beside a Transformer decoder
(Watanabe et al., 2017, hybrid CTC/attention; Wright et al., 2023, sec. 3, Conformer-AED)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.transformer_decoder import Decoder, DecoderShape, decoding_macs

IGNORED = -100  # where a transcript is padded


class DecoderHead(nn.Module):
    """(B, T, D) states, (B,) valid frames -> (B, T, symbols) logits, CTC's.

    Args:
        shape: of the decoder; blank: CTC's, which stands for the ends of a transcript, too.
    Attributes:
        shape: as given; symbols: how many it tells apart.
    """

    def __init__(self, shape: DecoderShape, blank: int):
        super().__init__()
        self.shape, self.symbols = shape, shape.symbols
        self.out = nn.Linear(shape.dim, shape.symbols)
        self.decoder = Decoder(shape, blank)

    def forward(self, states: Tensor, frames: Tensor) -> Tensor:
        return self.out(states)

    def macs(self, frames: int) -> int:
        """Multiply-accumulates of CTC's scores of so many frames."""
        return frames * self.shape.dim * self.symbols

    def decoding_macs(self, frames: int, symbols: int, count: int = 1) -> int:
        """Of a transcript of so many symbols, and its end; of a search for it among `count`."""
        return decoding_macs(self.shape, frames, symbols + 1, count)

    def cross_entropy(
        self, states: Tensor, frames: Tensor, targets: Sequence[Sequence[int]]
    ) -> Tensor:
        """(B,): -log of the probability that the decoder writes each target and its end, every
        symbol given the true ones before it (eq. 4's second term)."""
        end, device = self.decoder.end, states.device
        rows = [torch.tensor([end, *target, end]) for target in targets]
        pad = nn.utils.rnn.pad_sequence
        written = pad([row[:-1] for row in rows], batch_first=True, padding_value=end)
        wanted = pad([row[1:] for row in rows], batch_first=True, padding_value=IGNORED)
        scores = self.decoder(written.to(device), states, frames).float()
        losses = F.cross_entropy(
            scores.mT, wanted.to(device), ignore_index=IGNORED, reduction="none"
        )
        return losses.sum(1)

    def transcripts(self, states: Tensor, frames: Tensor) -> list[Tensor]:
        """What the decoder writes, the best symbol each time: (U,) int64 a row, at most one symbol
        a frame (SpeechBrain's max_decode_ratio of 1)."""
        return self.decoder.greedy(states, frames)

    def rescored(
        self, states: Tensor, count: int, score: Callable[[Tensor], float]
    ) -> tuple[Tensor, float]:
        """Of the `count` best hypotheses of one utterance's (1, T, D) that whose log-probability
        and `score` of its (U,) symbols are the largest in sum; and that sum."""
        found = self.decoder.hypotheses(states, count)
        return max(((ids, own + score(ids)) for ids, own in found), key=lambda each: each[1])


def new(places: Sequence[int], shape: DecoderShape, blank: int, seed: int, tied: bool = False):
    """Random heads by depth as text. The global random state is neither used nor moved.

    Args:
        tied: all are one.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the accelerators
        torch.default_generator.manual_seed(seed)
        first = DecoderHead(shape, blank)
        rest = [first if tied else DecoderHead(shape, blank) for _ in places[1:]]
    return nn.ModuleDict({str(k): head for k, head in zip(places, [first, *rest], strict=True)})
