"""DistilHuBERT (Chang, Yang and Lee, 2022, arXiv:2110.01900): the front-end and first blocks of a
HuBERT, distilled from the states of its blocks 4, 8 and 12 (sec. 3).

A static small model: what a system that exits must beat. Tags: `tiny` (2 blocks distilled from
hubert.tiny, shipped), `base` (2 blocks, 23.49 M parameters, as published), `base8` (8 blocks, the
baseline of HuBERT-EE, arXiv:2204.06328, table 3; no weights were published), `tiny8` (the same of
hubert.tiny, not shipped), `own` (whatever sizes its weights have: other distilled models whose
architecture is a HuBERT's). `run_benchmark.py train distilhubert.<tag>` (training/distillation.py)
makes all but the last.
"""

from dataclasses import replace
from pathlib import Path

from ..benchmark.contract import Training, TrainingData, TrainingRun
from ..benchmark.errors import UsageError
from ..benchmark.registry import upstreams
from .backbones import hubert_weights
from .backbones.checkpoint_shape import PROMISED
from .backbones.hubert import HubertNet
from .backbones.hubert_shape import HubertShape
from .backbones.pretrained import PretrainedEncoder
from .hubert import SHAPES
from .training.distillation_recipe import DISTILHUBERT, DistillationRecipe

OWN = "own"
# the published student has no layer-norm before its projection; one trained here has its teacher's
EITHER = tuple(name for name in PROMISED if name != "feature_norm")
PUBLISHED = replace(SHAPES["base"], depth=2, units=0, feature_norm=False)


def train(recipe: DistillationRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Distil the tag's blocks from a teacher of its sizes; see `Training.train`."""
    from .training import distillation

    shape = DistilHubert.shape_of(run.tag)
    if run.tag == OWN:
        raise UsageError(
            f"train {run.name}: a student has the sizes of a tag; choose tiny, tiny8, base or base8"
        )
    distillation.train(recipe, data, run, distillation.Pupil(range(1, shape.depth + 1)), shape)


@upstreams.register("distilhubert")
class DistilHubert(PretrainedEncoder):
    """Its options are those of `PretrainedEncoder`. Checkpoints of s3prl's distiller are among the
    weights; its hidden state 0 is `front=projection`."""

    family, kind = "distilhubert", "distilled"
    shapes = {
        "tiny": replace(SHAPES["tiny"], depth=2, units=0),
        "tiny8": replace(SHAPES["tiny"], depth=8, units=0),
        "base": PUBLISHED,
        "base8": replace(PUBLISHED, depth=8),
        OWN: PUBLISHED,
    }
    published = {
        "tiny": str(Path(__file__).with_name("distilhubert.tiny.safetensors")),
        "base": "ntu-spml/distilhubert",
    }
    source = "Chang, Yang and Lee, 2022, DistilHuBERT, arXiv:2110.01900"
    compared = ({},)
    trained_by = Training(
        about="a HuBERT's first blocks, which learn to tell the states of its deeper ones",
        presets=DISTILHUBERT,
        train=train,
        labels="optional",
        teacher="needed",
    )

    def __init__(
        self, tag: str = "tiny", weights: str = "", front: str = "block_input", seed: int = 0
    ):
        if tag == OWN and not weights:
            raise UsageError(
                "distilhubert.own has the sizes of its weights; name them: --set weights=FILE"
            )
        self.promised = () if tag == OWN else EITHER  # before the weights are loaded
        super().__init__(tag, weights, front, seed)

    @classmethod
    def depth_of(cls, tag: str) -> int:
        if tag == OWN:
            raise UsageError(
                "distilhubert.own has the sizes of its weights, and a backbone is named before "
                "they are read; name a tag with sizes: distilhubert.base8"
            )
        return super().depth_of(tag)

    def _read(self, source: str, shape: HubertShape, seed: int) -> tuple[HubertNet, str]:
        return hubert_weights.load(source, shape, seed, "hubert", self.promised)
