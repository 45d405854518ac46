"""What the upstreams of published encoders share: HuBERT, wav2vec 2.0, WavLM, data2vec.

They are one network whose differences are a shape's numbers, so each is a subclass that names its
shapes and where its weights are.
"""

import copy
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...benchmark.contract import Upstream, UpstreamCard
from ...benchmark.errors import UsageError, did_you_mean
from ...benchmark.registry import spelled
from . import hubert_weights
from .checkpoint_shape import PROMISED
from .hubert_shape import HubertShape, frame_counts, macs_to

RANDOM_BLOCKS = "random-blocks"  # as weights: the control that tells what the blocks learned
FRONTS = {
    "block_input": (
        "what enters block 1: after the positional convolution (state 0 of s3prl and transformers)"
    ),
    "projection": "the projected convolution output, before it (state 0 of DAISY's released code)",
}
TAPS = {
    "block": "the block's output (the paper's hidden layer, and s3prl's)",
    "ffn": (
        "its feed-forward layer's output, before residual and layer-norm (the default of DAISY's "
        "released code)"
    ),
    "residual": (
        "the block's output, the last one's without the layer norm that ends a pre-norm model"
    ),
}


class PretrainedEncoder(Upstream):
    """
    Args:
        tag: one of `shapes`.
        weights: a source as `hubert_weights.load` takes it; "" = the published ones of the tag,
            or random ones where it has none, "random" = random weights of that shape,
            "random-blocks" = the published front-end of the tag (convolutions and projection)
            under random blocks.
        front: which state is depth 0, `block_input` or `projection`.
        tap: which state is depth k >= 1, one of TAPS; the next block always reads the block's
            output.
        seed: of random weights.
    Attributes:
        family: the upstream's name.
        shapes: by tag; published: by tag, where its weights are, as `hubert_weights.load` takes it.
        source, kind: of the card.
        promised: the fields of a shape that weights must have, see `checkpoint_shape.PROMISED`.
        own: options of a subclass, as `spelled` takes them; set before `__init__`.
    """

    family: ClassVar[str]
    shapes: ClassVar[Mapping[str, HubertShape]]
    published: ClassVar[Mapping[str, str]]
    source: ClassVar[str]
    kind: ClassVar[str] = ""
    promised: Sequence[str] = PROMISED
    own: Mapping[str, tuple[Any, Any]] = MappingProxyType({})
    stand_in = {"weights": "random"}

    def __init__(
        self,
        tag: str = "tiny",
        weights: str = "",
        front: str = "block_input",
        seed: int = 0,
        tap: str = "block",
    ):
        super().__init__()
        shape = self.shape_of(tag)
        for name, value, known in (("front", front, FRONTS), ("tap", tap, TAPS)):
            if value not in known:
                raise UsageError(f"{self.family}: {name} is {' or '.join(known)}, not {value!r}")
        self.front, self.tap = front, tap
        if tag not in self.published:
            weights = weights or "random"
        self.net, revision = self._load(tag, weights, shape, seed)
        shape = self.net.shape
        self.card = UpstreamCard(
            name=spelled(
                self.family,
                tag,
                weights=(weights, ""),
                front=(front, "block_input"),
                seed=(seed, 0),
                tap=(tap, "block"),
                **self.own,
            ),
            depth=shape.depth,
            dim=shape.dim,
            stride=shape.stride,
            # branches belong to what they were trained on
            revision=revision if tap == "block" else f"{revision}-{tap}",
            source=self.source,
            kind=self.kind,
        )

    @classmethod
    def shape_of(cls, tag: str) -> HubertShape:
        if tag not in cls.shapes:
            raise UsageError(f"{cls.family} has no tag {tag!r}: {did_you_mean(tag, cls.shapes)}")
        return cls.shapes[tag]

    @classmethod
    def depth_of(cls, tag: str) -> int:
        """The blocks that a tag has where no option says otherwise."""
        return cls.shape_of(tag).depth

    def _load(
        self, tag: str, weights: str, shape: HubertShape, seed: int
    ) -> tuple[hubert_weights.HubertNet, str]:
        if weights == RANDOM_BLOCKS and tag not in self.published:
            raise UsageError(
                f"{self.family}.{tag} has no trained weights whose front-end {RANDOM_BLOCKS} could "
                f"keep; choose {' or '.join(self.published)}, or weights=random"
            )
        source = self.published[tag] if weights in ("", RANDOM_BLOCKS) else weights
        net, revision = self._read(source, shape, seed)
        if weights == RANDOM_BLOCKS:
            net = hubert_weights.with_random_blocks(net, seed)
            revision = f"{revision}-{RANDOM_BLOCKS}-{seed}"
        return net, revision

    def _read(
        self, source: str, shape: HubertShape, seed: int
    ) -> tuple[hubert_weights.HubertNet, str]:
        """The network at `source`, and its revision; a subclass may make another one of it."""
        return hubert_weights.load(source, shape, seed, self.family, self.promised)

    def frames(self, lengths: Tensor) -> Tensor:
        return frame_counts(lengths, self.net.shape)

    def states(self, wavs: Tensor, lengths: Tensor) -> Generator[Tensor, Tensor | None, None]:
        taken = (self.front == "projection", self.tap == "ffn", self.tap == "residual")
        return self.net.states(wavs, lengths, *taken)

    @property
    def unit_count(self) -> int:
        return 0 if self.net.head is None else self.net.shape.units

    @torch.no_grad()
    def units(self, state: Tensor) -> Tensor | None:
        """The unit its self-supervised head finds nearest; a checkpoint without that head names
        none.
        """
        return None if self.net.head is None else self.net.head(state).argmax(-1)

    @property
    def naming(self) -> "PretrainedEncoder":
        if self.tap == "block":
            return self
        other = copy.copy(self)
        other.tap = "block"
        return other

    def with_blocks(self, blocks: Sequence[int]) -> "PretrainedEncoder":
        other = copy.copy(self)
        other._modules = dict(self._modules, net=self.net.with_blocks(blocks))
        name = f"{self.card.name}(blocks={'/'.join(map(str, blocks))})"
        other.card = replace(self.card, name=name, depth=len(blocks))
        return other

    def macs(self, samples: int, depth: int) -> int:
        return macs_to(self.net.shape, samples, depth, self.front == "projection")

    def reference_models(self, device: str):
        from ...benchmark.reference_models import reference_models

        return reference_models(self.net.shape, device)
