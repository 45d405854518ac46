"""HuBERT (Hsu et al., 2021) without exits: the backbone, and the baseline every adaptive upstream
is compared with.

Tags: `tiny` (trained here by `run_benchmark.py train hubert.tiny`, shipped), `base`, `large`
(published weights: a Hugging Face folder or id, a torchaudio bundle or state dict, an s3prl or
fairseq checkpoint).
"""

import copy
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..benchmark.contract import Training, TrainingData, TrainingRun, Upstream, UpstreamCard
from ..benchmark.errors import UsageError, did_you_mean
from ..benchmark.registry import spelled, upstreams
from .backbones import hubert_weights
from .backbones.hubert_shape import STRIDE, HubertShape, frame_counts, macs_to
from .training.hubert_recipe import PRESETS, HubertRecipe

SHAPES = {
    "tiny": HubertShape(dim=192, heads=3, ffn=768, conv_dim=128, units=500, unit_dim=128),
    "base": HubertShape(),
    "large": HubertShape(
        dim=1024,
        depth=24,
        heads=16,
        ffn=4096,
        conv_norm="layer",
        conv_bias=True,
        pre_norm=True,
        normalise_wav=True,
        unit_dim=768,
    ),
}
WEIGHTS = {
    "tiny": str(Path(__file__).with_name("hubert.tiny.safetensors")),
    "base": "facebook/hubert-base-ls960",
    "large": "facebook/hubert-large-ll60k",
}
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
}


def shape_of(tag: str) -> HubertShape:
    if tag not in SHAPES:
        raise UsageError(f"hubert has no tag {tag!r}: {did_you_mean(tag, SHAPES)}")
    return SHAPES[tag]


def train(recipe: HubertRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Pre-train the shape of a tag; see `Training.train`."""
    from .training import masked_prediction

    masked_prediction.train(recipe, data, run, shape_of(run.tag))


@upstreams.register("hubert")
class Hubert(Upstream):
    """
    Args:
        tag: tiny, base or large.
        weights: a source as `backbones/hubert_weights.py` takes it; "" = the published ones of the
            tag, "random" = random weights of that shape, "random-blocks" = the published front-end
            of the tag (convolutions and projection) under random blocks.
        front: which state is depth 0, `block_input` or `projection`.
        tap: which state is depth k >= 1, `block` or `ffn`; the next block always reads the block's
            output.
        seed: of random weights.
    """

    stand_in = {"weights": "random"}
    compared = ({},)
    trained_by = Training(
        about=(
            "the whole network, by masked prediction of k-means units, from speech without labels"
        ),
        presets=PRESETS,
        train=train,
    )

    def __init__(
        self,
        tag: str = "tiny",
        weights: str = "",
        front: str = "block_input",
        seed: int = 0,
        tap: str = "block",
    ):
        super().__init__()
        shape = shape_of(tag)
        if front not in FRONTS:
            raise UsageError(f"hubert: front is {' or '.join(FRONTS)}, not {front!r}")
        if tap not in TAPS:
            raise UsageError(f"hubert: tap is {' or '.join(TAPS)}, not {tap!r}")
        self.front, self.tap = front, tap
        published = weights in ("", RANDOM_BLOCKS)
        self.net, revision = hubert_weights.load(
            WEIGHTS[tag] if published else weights, shape, seed
        )
        if weights == RANDOM_BLOCKS:
            self.net = hubert_weights.with_random_blocks(self.net, seed)
            revision = f"{revision}-{RANDOM_BLOCKS}-{seed}"
        shape = self.net.shape
        self.card = UpstreamCard(
            name=spelled(
                "hubert",
                tag,
                weights=(weights, ""),
                front=(front, "block_input"),
                seed=(seed, 0),
                tap=(tap, "block"),
            ),
            depth=shape.depth,
            dim=shape.dim,
            stride=STRIDE,
            # branches belong to what they were trained on
            revision=revision if tap == "block" else f"{revision}-{tap}",
            source="Hsu et al., 2021, HuBERT, IEEE/ACM TASLP 29, doi:10.1109/TASLP.2021.3122291",
        )

    def frames(self, lengths: Tensor) -> Tensor:
        return frame_counts(lengths)

    def states(self, wavs: Tensor, lengths: Tensor) -> Generator[Tensor, Tensor | None, None]:
        return self.net.states(wavs, lengths, self.front == "projection", self.tap == "ffn")

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
    def naming(self) -> "Hubert":
        if self.tap == "block":
            return self
        other = copy.copy(self)
        other.tap = "block"
        return other

    def with_blocks(self, blocks: Sequence[int]) -> "Hubert":
        other = copy.copy(self)
        other._modules = dict(self._modules, net=self.net.with_blocks(blocks))
        name = f"{self.card.name}(blocks={'/'.join(map(str, blocks))})"
        other.card = replace(self.card, name=name, depth=len(blocks))
        return other

    def macs(self, samples: int, depth: int) -> int:
        return macs_to(self.net.shape, samples, depth, self.front == "projection")

    def reference_models(self, device: str):
        from ..benchmark.reference_models import reference_models

        return reference_models(self.net.shape, device)
