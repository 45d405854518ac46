"""What a feature cache stores of a split: which pieces of audio, rows of which shape, and in
which batches and shards they are computed.

Nothing here runs the upstream, so the size of a feature cache is known before anything is spent.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from ..contract import SAMPLE_RATE, Item, Upstream
from ..exiting import layer_normed
from ..masking import masked_mean

BATCH_SECONDS = 60.0  # of audio, padding included, in one batch of the pass
SHARD_BYTES = 2**30  # of states in a shard, about; what a killed pass has to repeat
SHARD_SECONDS = 3600  # of audio in a shard without states

Batches = Sequence[Sequence[int]]  # piece numbers, batch by batch


@dataclass(frozen=True)
class Layout:
    """How the rows of a feature cache are shaped.

    Attributes:
        pieces: the different pieces of audio of a split; see `pieces`.
        deepest: the last depth that is computed.
        keep: beside the evidence of every exit: the "states" of every depth, their "means" over
            time alone, the "answers" at every depth that can be left at, or nothing ("evidence").
    """

    upstream: Upstream
    pieces: Sequence[Item]
    deepest: int
    keep: str

    @property
    def has_rows(self) -> bool:
        """Whether rows of one shape are stored, in one plain array a shard."""
        return self.keep in ("states", "means")

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of one row: (depths, D) of a frame, (2, depths, D) of a piece's means."""
        frame = (self.deepest + 1, self.upstream.card.dim)
        return (2, *frame) if self.keep == "means" else frame

    @cached_property
    def rows(self) -> np.ndarray:
        """(pieces,) how many rows each piece has: its frames, or one where means are stored."""
        samples = torch.tensor([piece.samples for piece in self.pieces])
        frames = self.upstream.frames(samples).numpy()
        return np.ones_like(frames) if self.keep == "means" else frames

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32 if self.keep == "means" else np.float16)

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.row)) * self.dtype.itemsize if self.has_rows else 0

    def bytes_of(self, numbers: Sequence[int]) -> int:
        """Bytes that the rows of some pieces take."""
        return int(self.rows[list(numbers)].sum()) * self.row_bytes

    def seconds_of(self, numbers: Iterable[int]) -> int:
        """Seconds of audio in some pieces, rounded."""
        return seconds(self.pieces[i] for i in numbers)

    def shards(self) -> Iterator[list[list[int]]]:
        """The batches of the pass, one shard's worth at a time."""
        shard: list[list[int]] = []
        full = 0.0
        for batch in by_length(self.pieces):
            shard.append(batch)
            full += self.bytes_of(batch) / SHARD_BYTES
            if not self.has_rows:
                full += self.seconds_of(batch) / SHARD_SECONDS
            if full >= 1:
                yield shard
                shard, full = [], 0.0
        if shard:
            yield shard


def pieces(items: Sequence[Item]) -> tuple[list[Item], list[int]]:
    """The different pieces of audio among `items`, and the number of each item's piece.

    Items that share file, start and length share a piece, which is computed once.
    """
    first: dict[tuple, Item] = {}
    for item in items:
        first.setdefault(_place(item), item)
    number = {place: n for n, place in enumerate(first)}
    return list(first.values()), [number[_place(item)] for item in items]


def size(upstream: Upstream, items: Sequence[Item], keep: str = "states") -> int:
    """Bytes that a feature cache of `items` takes, known before anything runs; 0 for answers."""
    layout = Layout(upstream, pieces(items)[0], upstream.card.depth, keep)
    return layout.bytes_of(range(len(layout.pieces)))


def by_length(items: Sequence[Item]) -> Iterator[list[int]]:
    """Row numbers in batches of similar length and at most BATCH_SECONDS, longest first: the first
    batch is the largest.
    """
    rows: list[int] = []
    for i in sorted(range(len(items)), key=lambda i: -items[i].samples):
        if rows and (len(rows) + 1) * items[rows[0]].samples > BATCH_SECONDS * SAMPLE_RATE:
            yield rows
            rows = []
        rows.append(i)
    if rows:
        yield rows


def flat(batches: Batches) -> list[int]:
    """The pieces of all batches in one list."""
    return list(chain(*batches))


def padded(wavs: Sequence[Tensor], device: str) -> tuple[Tensor, Tensor]:
    """Waveforms of unequal length, zero-padded.

    Returns: (B, N) float32 on `device`, and (B,) samples on the host.
    """
    batch = torch.nn.utils.rnn.pad_sequence(list(wavs), batch_first=True)
    return batch.to(device), torch.tensor([len(wav) for wav in wavs])


def means(state: Tensor, frames: Tensor) -> Tensor:
    """(B, T, D) and (B,) -> (2, B, D): the masked mean of the state as it is, and layer-normed."""
    return torch.stack([masked_mean(s, frames) for s in (state, layer_normed(state))])


def seconds(items: Iterable[Item]) -> int:
    """Seconds of audio in some items, rounded."""
    return round(sum(item.samples for item in items) / SAMPLE_RATE)


def _place(item: Item) -> tuple:
    return item.path, item.start, item.samples
