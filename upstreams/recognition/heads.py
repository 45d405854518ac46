"""What turns an exit's states into scores of symbols: one kind a system, and any of them on any.

    linear     one map, as fairseq's and transformers' models for CTC have (Wright et al., 2024)
    dnn        two maps with a leaky ReLU between them (Zaiem et al., 2023, their experiments' code)
    attention  HuBERT-EE (Yoon et al., 2024, sec. 2.1): a map to 512, post-norm self-attention
               blocks of four heads, a map to the symbols

A head is a function of one utterance: keys behind its end are masked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...benchmark.errors import UsageError
from ...benchmark.masking import valid_mask
from ..backbones.hubert_shape import HubertShape
from ..backbones.transformer import Block


@dataclass(frozen=True)
class HeadShape:
    """
    Attributes:
        kind: linear, dnn or attention.
        width, heads, ffn, blocks: of the self-attention.
        widens: after it a map back to the states' width, before that to the symbols.
    """

    kind: str = "linear"
    width: int = 512
    heads: int = 4
    ffn: int = 2048
    blocks: int = 1
    widens: bool = False


class Head(nn.Module):
    """(B, T, D) states, (B,) valid frames -> (B, T, symbols) logits.

    Attributes:
        shape: its kind and sizes.
        symbols: how many it tells apart.
    """

    def __init__(self, shape: HeadShape, symbols: int):
        super().__init__()
        self.shape, self.symbols = shape, symbols

    def forward(self, states: Tensor, frames: Tensor) -> Tensor:
        raise NotImplementedError

    def macs(self, frames: int) -> int:
        """Multiply-accumulates of so many frames of one utterance."""
        raise NotImplementedError


class Linear(Head):
    def __init__(self, shape: HeadShape, dim: int, symbols: int):
        super().__init__(shape, symbols)
        self.out = nn.Linear(dim, symbols)

    def forward(self, states: Tensor, frames: Tensor) -> Tensor:
        return self.out(states)

    def macs(self, frames: int) -> int:
        return frames * self.out.in_features * self.symbols


class DNN(Head):
    def __init__(self, shape: HeadShape, dim: int, symbols: int):
        super().__init__(shape, symbols)
        self.hidden, self.out = nn.Linear(dim, dim), nn.Linear(dim, symbols)

    def forward(self, states: Tensor, frames: Tensor) -> Tensor:
        return self.out(nn.functional.leaky_relu(self.hidden(states)))

    def macs(self, frames: int) -> int:
        dim = self.hidden.in_features
        return frames * dim * (dim + self.symbols)


class Attention(Head):
    """The paper does not say how large a branch is beyond its width and its share of about 22 M
    parameters, so `shape` does."""

    def __init__(self, shape: HeadShape, dim: int, symbols: int):
        super().__init__(shape, symbols)
        block = HubertShape(dim=shape.width, heads=shape.heads, ffn=shape.ffn)
        self.enter = nn.Linear(dim, shape.width)
        self.blocks = nn.ModuleList(Block(block) for _ in range(shape.blocks))
        self.widen = nn.Linear(shape.width, dim) if shape.widens else nn.Identity()
        self.out = nn.Linear(dim if shape.widens else shape.width, symbols)

    def forward(self, states: Tensor, frames: Tensor) -> Tensor:
        x = self.enter(states)
        mask = None
        # whoever calls with one utterance and no padding says so, without waiting for a device
        if len(states) > 1 or states.device.type != "cpu" or int(frames[0]) < states.shape[1]:
            mask = valid_mask(frames.to(states.device), states.shape[1])[:, None, None]
        for block in self.blocks:
            x = block(x, mask)
        return self.out(self.widen(x))

    def macs(self, frames: int) -> int:
        shape, dim = self.shape, self.enter.in_features
        block = frames * (4 * shape.width**2 + 2 * shape.width * shape.ffn)
        block += 2 * frames * frames * shape.width
        widen = shape.width * dim if shape.widens else 0
        ends = dim * shape.width + widen + self.out.in_features * self.symbols
        return frames * ends + shape.blocks * block


KINDS: Mapping[str, Callable[[HeadShape, int, int], Head]] = {
    "linear": Linear,
    "dnn": DNN,
    "attention": Attention,
}


def new(
    shapes: Mapping[int, HeadShape], dim: int, symbols: int, seed: int = 0, tied: bool = False
) -> nn.ModuleDict:
    """Random heads by their depth, as text. The global random state is neither used nor moved.

    Args:
        shapes: of each, by depth.
        tied: all are one and the same.
    Raises: UsageError: heads of different shapes cannot be one.
    """
    if tied and len(set(shapes.values())) > 1:
        raise UsageError("heads of different shapes cannot be tied: name one head for all exits")
    made: dict[str, Head] = {}
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the accelerators
        torch.default_generator.manual_seed(seed)
        for depth, shape in sorted(shapes.items()):
            if not made or not tied:
                head = KINDS[shape.kind](shape, dim, symbols)
            made[str(depth)] = head
    return nn.ModuleDict(made)


def are_tied(heads: nn.ModuleDict) -> bool:
    """Whether several exits read one and the same head."""
    return len({id(head) for head in heads.values()}) < len(heads)
