"""Upstreams around another upstream: an exit rule, a transform of the waveform, another precision.

    Wrapper            everything as the inner one does it; a subclass changes what it is about
    ExitRule           the same states at the same cost, with exit evidence of its own
    WaveformTransform  the inner one hears a changed, usually shorter, waveform

A block plan (skip, drop, reorder) needs a backbone that steps: `Upstream.with_blocks`.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from .upstream import Upstream


def stepping(inner: Upstream) -> Upstream:
    """`inner`; UsageError where it computes all its depths whatever the exit is."""
    if not inner.card.stepped:
        raise UsageError(
            f"{inner.card.name} computes all its depths at once, so leaving early would save "
            "nothing; name a backbone that steps, or take its static rows without an exit rule"
        )
    return inner


class Wrapper(Upstream):
    """Another upstream, its knob, exits and answers included.

    Args:
        inner: the upstream inside.
        name, revision: of the card, in the place of the inner one's; a wrapper that changes a
            number must change one of them, since caches and rows go by both.
    Attributes:
        passed_on: the class attributes that are the inner upstream's.
    """

    passed_on: ClassVar[tuple[str, ...]] = (
        "knob",
        "knob_values",
        "spans",
        "answers",
        "evidence_reads_answer",
        "compares_exits",
        "unit_count",
    )

    def __init__(self, inner: Upstream, name: str = "", revision: str = ""):
        super().__init__()
        self.inner = inner
        self.card = replace(
            inner.card,
            name=name or inner.card.name,
            revision=revision or inner.card.revision,
            recipe="" if revision else inner.card.recipe,  # which tells not what is around it
        )
        for attribute in self.passed_on:
            setattr(self, attribute, getattr(inner, attribute))

    @property
    def exits(self) -> tuple[int, ...]:
        return self.inner.exits

    @property
    def backbone(self) -> Upstream:
        """The inner backbone in the same wrapping; itself where nothing exits."""
        return self if self.inner.backbone is self.inner else self.around(self.inner.backbone)

    def around(self, inner: Upstream) -> Upstream:
        """The same wrapping around another upstream."""
        raise NotImplementedError(
            f"{type(self).__name__} does not say how it wraps another upstream"
        )

    def frames(self, lengths: Tensor) -> Tensor:
        return self.inner.frames(lengths)

    def states(self, wavs: Tensor, lengths: Tensor) -> Generator[Tensor, Tensor | None, None]:
        return self.inner.states(wavs, lengths)

    def evidence(
        self, depth: int, state: Tensor, previous: Tensor, frames: Tensor, **answer: Any
    ) -> Tensor:
        return self.inner.evidence(depth, state, previous, frames, **answer)

    def units(self, state: Tensor) -> Tensor | None:
        return self.inner.units(state)

    @property
    def naming(self) -> Upstream:
        of = self.inner.naming
        return self if of is self.inner else self.around(of)

    def answer(self, depth: int, state: Tensor, frames: Tensor) -> Sequence[Tensor]:
        return self.inner.answer(depth, state, frames)

    def decode(self, answer: Tensor, task: str) -> Any:
        return self.inner.decode(answer, task)

    def tau(self, evidence: np.ndarray, value: float) -> float:
        return self.inner.tau(evidence, value)

    def patience(self, value: float) -> int:
        return self.inner.patience(value)

    def check_knob(self, value: float) -> str:
        return self.inner.check_knob(value)

    def macs(self, samples: int, depth: int) -> int:
        return self.inner.macs(samples, depth)

    def evidence_macs(self, samples: int, depth: int) -> int:
        return self.inner.evidence_macs(samples, depth)

    def answer_macs(self, samples: int, depth: int) -> int:
        return self.inner.answer_macs(samples, depth)

    def decode_macs(self, samples: int, depth: int) -> int:
        return self.inner.decode_macs(samples, depth)


class ExitRule(Wrapper):
    """States as they are, exits of its own: a subclass names knob and card, and writes `evidence`,
    `tau` and `evidence_macs` (upstreams/daisy.py, upstreams/layer_similarity.py)."""

    passed_on = ("answers", "unit_count")

    def __init__(self, inner: Upstream, name: str, source: str, evidence: str, revision: str = ""):
        super().__init__(stepping(inner), name, revision)
        self.card = replace(self.card, source=source, evidence=evidence)

    @property
    def exits(self) -> tuple[int, ...]:
        """Every depth; where the inner upstream answers, those at which it does."""
        return self.inner.exits if self.answers else tuple(range(1, self.card.depth + 1))

    @property
    def backbone(self) -> Upstream:
        return self.inner.backbone

    def evidence_macs(self, samples: int, depth: int) -> int:
        return 0

    def patience(self, value: float) -> int:
        return 1

    def check_knob(self, value: float) -> str:
        return ""


class WaveformTransform(Wrapper):
    """The inner upstream hears `transform(wavs)`: a subclass writes that, `heard` and
    `transform_macs`, and gives the card the stride that follows."""

    def heard(self, lengths: Tensor) -> Tensor:
        """(B,) samples -> (B,) samples that the inner upstream hears."""
        raise NotImplementedError

    def transform(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """(B, N), (B,) -> (B, N'): the waveforms that it hears, zero-padded; no row may depend on
        another one or on padding."""
        raise NotImplementedError

    def transform_macs(self, samples: int) -> int:
        """Multiply-accumulates of the transform itself."""
        raise NotImplementedError

    def frames(self, lengths: Tensor) -> Tensor:
        return self.inner.frames(self.heard(lengths))

    def states(self, wavs: Tensor, lengths: Tensor) -> Generator[Tensor, Tensor | None, None]:
        return self.inner.states(self.transform(wavs, lengths), self.heard(lengths))

    def macs(self, samples: int, depth: int) -> int:
        return self.transform_macs(samples) + self.inner.macs(self._heard(samples), depth)

    def evidence_macs(self, samples: int, depth: int) -> int:
        return self.inner.evidence_macs(self._heard(samples), depth)

    def answer_macs(self, samples: int, depth: int) -> int:
        return self.inner.answer_macs(self._heard(samples), depth)

    def decode_macs(self, samples: int, depth: int) -> int:
        return self.inner.decode_macs(self._heard(samples), depth)

    def _heard(self, samples: int) -> int:
        return int(self.heard(torch.tensor([samples]))[0])
