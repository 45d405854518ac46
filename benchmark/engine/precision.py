"""The precision of a run: float32 in full, or the upstream in bfloat16.

bfloat16 is torch's autocast around each of the upstream's steps. Its name and revision say so, so
its rows, traces and heads never mix with those of full precision. States, evidence and
floating-point answers come out as float32 again; evidence that an upstream would give in bfloat16
is computed in float32, from the states as they are.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..contract import Upstream
from ..contract.wrapper import Wrapper
from ..errors import UsageError

PRECISIONS = ("fp32", "bf16")


def at_precision(upstream: Upstream, precision: str) -> Upstream:
    """`upstream` as it is, or lowered. What is float32, the heads too, this process computes in
    float32 from now on.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"--precision is {' or '.join(PRECISIONS)}, not {precision!r}")
    _without_tf32()
    return upstream if precision == "fp32" else LowerPrecision(upstream)


class LowerPrecision(Wrapper):
    """`inner` in bfloat16."""

    def __init__(self, inner: Upstream):
        card = inner.card
        super().__init__(inner, f"{card.name}(bf16)", f"{card.revision}.bf16")
        self.card = replace(self.card, recipe=card.recipe and f"{card.recipe}.bf16")
        self._in_float32: set[int] = set()  # depths

    def around(self, inner: Upstream) -> Upstream:
        return LowerPrecision(inner)

    def states(self, wavs: Tensor, lengths: Tensor) -> Generator[Tensor, Tensor | None, None]:
        walk, keep = self.inner.states(wavs, lengths), None
        try:
            while True:
                # left before each yield: whoever takes the state is not lowered
                with _autocast(wavs):
                    state = walk.send(keep)
                keep = yield state.float()
        except StopIteration:
            return
        finally:
            walk.close()

    def evidence(
        self, depth: int, state: Tensor, previous: Tensor, frames: Tensor, **answer: Any
    ) -> Tensor:
        given = (depth, state, previous, frames)
        if depth not in self._in_float32:
            with _autocast(state):
                evidence = self.inner.evidence(*given, **answer)
            if evidence.dtype != torch.bfloat16:
                return evidence.float()
            # its last steps, a mean among them, were rounded to eight bits: too few for a threshold
            self._in_float32.add(depth)
        return self.inner.evidence(*given, **answer).float()

    def answer(self, depth: int, state: Tensor, frames: Tensor) -> Sequence[Tensor]:
        with _autocast(state):
            answers = self.inner.answer(depth, state, frames)
        return [a.float() if a.is_floating_point() else a for a in answers]


def _without_tf32() -> None:
    """On a GPU torch rounds the factors of convolutions and LSTMs to TF32, ten bits, unless told
    otherwise. cuDNN then chooses its sums by the batch's shape, so an utterance would have other
    numbers in a batch than alone.
    """
    for part in (torch.backends.cudnn, torch.backends.cuda.matmul):
        part.allow_tf32 = False


def _autocast(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, torch.bfloat16)
