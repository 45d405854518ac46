"""DistilHuBERT (Chang, Yang and Lee, 2022, arXiv:2110.01900): the front-end and first blocks of a
HuBERT, distilled from the states of its blocks 4, 8 and 12 (sec. 3).

A static small model: what a system that exits must beat. Tags: `tiny` (2 blocks distilled from
hubert.tiny, shipped), `base` (2 blocks, 23.49 M parameters, as published), `base8` (8 blocks, the
baseline of HuBERT-EE, arXiv:2204.06328, table 3; no weights were published). `run_benchmark.py
train distilhubert.<tag>` (training/distillation.py) makes them.
"""

from dataclasses import replace
from pathlib import Path

from ..benchmark.contract import Training, TrainingData, TrainingRun, Upstream, UpstreamCard
from ..benchmark.errors import UsageError, did_you_mean
from ..benchmark.registry import spelled, upstreams
from . import hubert
from .backbones import hubert_weights
from .backbones.hubert_shape import STRIDE, HubertShape
from .training.distillation_recipe import DISTILHUBERT, DistillationRecipe

SHAPES = {
    "tiny": replace(hubert.SHAPES["tiny"], depth=2),
    "base": replace(hubert.SHAPES["base"], depth=2),
    "base8": replace(hubert.SHAPES["base"], depth=8),
}
WEIGHTS = {
    "tiny": str(Path(__file__).with_name("distilhubert.tiny.safetensors")),
    "base": "ntu-spml/distilhubert",
}


def shape_of(tag: str) -> HubertShape:
    if tag not in SHAPES:
        raise UsageError(f"distilhubert has no tag {tag!r}: {did_you_mean(tag, SHAPES)}")
    return SHAPES[tag]


def train(recipe: DistillationRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Distil the tag's blocks from a teacher of its sizes; see `Training.train`."""
    from .training import distillation

    shape = shape_of(run.tag)
    distillation.train(recipe, data, run, distillation.Pupil(range(1, shape.depth + 1)), shape)


@upstreams.register("distilhubert")
class DistilHubert(hubert.Hubert):
    """
    Args:
        tag: tiny, base or base8.
        weights: as `hubert` takes them, s3prl's checkpoints of its distiller included; "" = the
            shipped or published ones of the tag.
        front: which state is depth 0, `block_input` or `projection` (s3prl's).
        seed: of random weights.
    """

    stand_in = {"weights": "random"}
    trained_by = Training(
        about="a HuBERT's first blocks, which learn to tell the states of its deeper ones",
        presets=DISTILHUBERT,
        train=train,
        teacher="needed",
    )

    def __init__(
        self, tag: str = "tiny", weights: str = "", front: str = "block_input", seed: int = 0
    ):
        Upstream.__init__(self)
        shape = shape_of(tag)
        if front not in hubert.FRONTS:
            raise UsageError(f"distilhubert: front is {' or '.join(hubert.FRONTS)}, not {front!r}")
        source = weights or WEIGHTS.get(tag, "")
        if not source:
            raise UsageError(
                f"distilhubert.{tag}: no weights of it were published; train them: "
                f"run_benchmark.py train distilhubert.{tag} --teacher hubert.base --data DIR --out "
                "DIR, and name the file with --set weights=FILE"
            )
        self.front, self.tap = front, "block"
        self.net, revision = hubert_weights.load(source, shape, seed)
        self.card = UpstreamCard(
            name=spelled(
                "distilhubert",
                tag,
                weights=(weights, ""),
                front=(front, "block_input"),
                seed=(seed, 0),
            ),
            depth=shape.depth,
            dim=shape.dim,
            stride=STRIDE,
            revision=revision,
            source="Chang, Yang and Lee, 2022, DistilHuBERT, arXiv:2110.01900",
            kind="distilled",
        )
