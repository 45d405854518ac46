"""An upstream run in bfloat16: torch's autocast around each of its steps. Its name and revision say so, so its rows, traces and
heads never mix with those of full precision. States and evidence come out as float32 again."""
from collections.abc import Generator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .contract import Upstream
from .errors import UsageError

PRECISIONS = ("fp32", "bf16")


def at_precision(upstream: Upstream, precision: str) -> Upstream:
    """`upstream` as it is, or lowered."""
    if precision not in PRECISIONS:
        raise UsageError(f"--precision is {' or '.join(PRECISIONS)}, not {precision!r}")
    return upstream if precision == "fp32" else Lowered(upstream)


class Lowered(Upstream):
    def __init__(self, inner: Upstream):
        super().__init__()
        self.inner, self.knob, self.knob_values, self.spans = inner, inner.knob, inner.knob_values, inner.spans
        self.card = replace(inner.card, name=f"{inner.card.name}(bf16)", revision=f"{inner.card.revision}.bf16")

    def _lowered(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16)

    @property
    def backbone(self) -> Upstream:
        return Lowered(self.inner.backbone)

    def frames(self, lengths: Tensor) -> Tensor:
        return self.inner.frames(lengths)

    def states(self, wavs: Tensor, lengths: Tensor) -> Generator[Tensor, Tensor | None, None]:
        walk, keep = self.inner.states(wavs, lengths), None
        try:
            while True:
                with self._lowered(wavs):           # left before each yield: whoever takes the state is not lowered
                    state = walk.send(keep)
                keep = yield state.float()
        except StopIteration:
            return
        finally:
            walk.close()

    def evidence(self, depth: int, state: Tensor, previous: Tensor, frames: Tensor) -> Tensor:
        with self._lowered(state):
            return self.inner.evidence(depth, state, previous, frames).float()

    def tau(self, evidence: np.ndarray, value: float) -> float:
        return self.inner.tau(evidence, value)

    def macs(self, samples: int, depth: int) -> int:
        return self.inner.macs(samples, depth)

    def evidence_macs(self, samples: int, depth: int) -> int:
        return self.inner.evidence_macs(samples, depth)
