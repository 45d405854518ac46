"""An upstream around another: the same states at the same cost, with exit evidence of its own."""
from collections.abc import Generator

from torch import Tensor

from ..benchmark.contract import Upstream


class Wrapping(Upstream):
    """Set `inner` and `card` in the constructor; write `evidence`, `tau` and `evidence_macs`."""
    inner: Upstream

    @property
    def backbone(self) -> Upstream:
        return self.inner

    def frames(self, lengths: Tensor) -> Tensor:
        return self.inner.frames(lengths)

    def states(self, wavs: Tensor, lengths: Tensor) -> Generator[Tensor, Tensor | None, None]:
        return self.inner.states(wavs, lengths)

    def macs(self, samples: int, depth: int) -> int:
        return self.inner.macs(samples, depth)
