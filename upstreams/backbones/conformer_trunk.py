"""A Conformer encoder as an upstream: states that recognisers put their heads on."""

from collections.abc import Generator

import torch
from torch import Tensor

from ...benchmark.contract import Upstream, UpstreamCard
from .conformer import ConformerNet
from .conformer_shape import ConformerShape, frame_counts, macs_to


class ConformerTrunk(Upstream):
    """Depth 0 is what enters block 1, depth k the output of block k.

    Args:
        shape: its sizes; name: of the card.
        seed: of its random weights. The global random state is neither used nor changed.
    """

    def __init__(self, shape: ConformerShape, name: str, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would also reseed the accelerators
            torch.default_generator.manual_seed(seed)
            self.net = ConformerNet(shape)
        self.card = UpstreamCard(
            name,
            depth=shape.depth,
            dim=shape.dim,
            stride=shape.stride,
            revision=f"random-{seed}",
            source="Gulati et al., 2020, Conformer, arXiv:2005.08100",
        )

    def frames(self, lengths: Tensor) -> Tensor:
        return frame_counts(lengths, self.net.shape)

    def states(self, wavs: Tensor, lengths: Tensor) -> Generator[Tensor, Tensor | None, None]:
        return self.net.states(wavs, lengths)

    def macs(self, samples: int, depth: int) -> int:
        return macs_to(self.net.shape, samples, depth)
