"""A model of another library that computes all of its depths at once, as a static upstream.

Its depths are the states that the library gives, in that order; frames, stride and cost are
measured (measuring.py). Every utterance runs by itself and without padding, so it has the states
that the library gives it alone, whatever else is in the batch. Leaving early saves nothing: every
depth costs what the last one does.
"""

import re
from collections.abc import Generator, Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...benchmark.contract import Upstream, UpstreamCard
from ...benchmark.errors import BenchmarkError, UsageError, first_line
from .hubert_weights import content_hash
from .measuring import SHORTEST, frame_rule, products


def label(text: str) -> str:
    """A folder's or a file's name as a row can have it: letters, digits, dots and hyphens."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-") or "model"


class WholeModel(Upstream):
    """A subclass writes `all_states`.

    Args:
        net: the library's model, weights loaded.
        name, source, tuned_on: of the card.
        frames: (stride, offset) where the model's frames are known, see `measuring.frame_rule`.
        heard: samples that the model fills every utterance up to; 0 = none.
    Attributes:
        repeats_last: where the library gives fewer frames than the length promises, the last one
            is repeated; else that is an error.
    """

    repeats_last = False

    def __init__(
        self,
        net: nn.Module,
        name: str,
        source: str,
        tuned_on: str = "",
        frames: tuple[int, int] | None = None,
        heard: int = 0,
    ):
        super().__init__()
        self.net, self.heard = net.eval().requires_grad_(False), heard
        self.said: str = name  # what sentences begin with
        self._products: dict[int, int] = {}
        stride, self.offset = frames or self.frame_rule()
        states = self._some(SHORTEST)
        self.card = UpstreamCard(
            name,
            depth=len(states) - 1,
            dim=states[0].shape[1],
            stride=stride,
            revision=content_hash(net),
            source=source,
            tuned_on=tuned_on,
            stepped=False,
        )

    def all_states(self, wav: Tensor) -> Sequence[Tensor]:
        """What the library gives.

        Args:
            wav: (N,) 16 kHz audio, N at least SHORTEST.
        Returns: (1, T, D) of every depth.
        """
        raise NotImplementedError

    def frame_rule(self) -> tuple[int, int]:
        """(stride, offset), see `measuring.frame_rule`."""
        return frame_rule(lambda samples: len(self._some(samples)[0]), self.said)

    def frames(self, lengths: Tensor) -> Tensor:
        heard = lengths.clamp(min=SHORTEST) + self.offset
        return (heard // self.card.stride).clamp(min=1)

    def states(self, wavs: Tensor, lengths: Tensor) -> Generator[Tensor, Tensor | None, None]:
        counts = self.frames(lengths).tolist()
        given = zip(wavs, lengths.tolist(), counts, strict=True)
        rows = [self._fitted(self._alone(wav[:n]), n, count) for wav, n, count in given]
        longest = max(counts)
        for depth in range(self.card.depth + 1):
            padded = [F.pad(row[depth], (0, 0, 0, longest - len(row[depth]))) for row in rows]
            keep = yield torch.stack(padded)
            if keep is not None:
                rows = [rows[i] for i in keep.tolist()]

    def macs(self, samples: int, depth: int) -> int:
        """Of the whole model at every depth, counted on a forward pass at that length."""
        length = self.heard or max(samples, SHORTEST)
        if length not in self._products:
            wav = self._noise(length)
            self._products[length] = products(lambda: self.all_states(wav))
        return self._products[length]

    @torch.no_grad()
    def _alone(self, wav: Tensor) -> list[Tensor]:
        """(N,) -> (T, D) of every depth, held against the contract."""
        given = self.all_states(F.pad(wav, (0, max(0, SHORTEST - len(wav)))))
        if not (isinstance(given, (list, tuple)) and given and all(map(torch.is_tensor, given))):
            raise UsageError(f"{self.said}: its states are no list of tensors")
        shapes = {tuple(state.shape) for state in given}
        if len(shapes) > 1 or given[0].ndim != 3 or given[0].shape[0] != 1:
            raise UsageError(
                f"{self.said}: its states of one utterance have the shapes {sorted(shapes)}, where "
                "a weighted sum needs all to be (1, T, D)"
            )
        return [state[0].float() for state in given]

    def _fitted(self, states: list[Tensor], samples: int, count: int) -> list[Tensor]:
        """The states with as many frames as `frames` says; UsageError where they cannot be."""
        there = len(states[0])
        if len(states) == self.card.depth + 1 and there == count:
            return states
        if len(states) != self.card.depth + 1 or not (self.repeats_last and there < count):
            raise UsageError(
                f"{self.said} gives {len(states)} states of {there} frames for {samples} samples, "
                f"where {self.card.depth + 1} of {count} were measured: it cannot be used"
            )
        return [torch.cat([s, s[-1:].expand(count - there, -1)]) for s in states]

    def _some(self, samples: int) -> list[Tensor]:
        """Every depth of some noise; UsageError where the model cannot hear it."""
        try:
            return self._alone(self._noise(samples))
        except (BenchmarkError, MemoryError):
            raise
        except Exception as error:  # other models than meant fail in any way
            why = f"{type(error).__name__}: {first_line(error)}"
            raise UsageError(f"{self.said} fails on {samples} samples of audio ({why})") from error

    def _noise(self, samples: int) -> Tensor:
        """(N,), seeded, where the model is."""
        placed = chain(self.net.parameters(), self.net.buffers())
        device = next((tensor.device for tensor in placed), torch.device("cpu"))
        draw = torch.Generator().manual_seed(0)
        return 0.1 * torch.randn(samples, generator=draw).to(device)
