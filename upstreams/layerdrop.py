"""LayerDrop (Fan, Grave and Joulin, 2020, arXiv:1909.11556): a model trained with blocks left out
at random stays whole when some are removed.

Pruned by the paper's every-other rule (sec. 3.2): of the blocks d = 1..L those are dropped for
which d mod floor(1/p) = 0. Static. `run_benchmark.py train layerdrop.tiny --teacher hubert.tiny`
goes on from a trained model: it learns its own last state with blocks left out with probability
`drop`. Not by masked prediction, which would need units and would move every state; so it needs no
labels, no units and no self-supervised head, and works for any HuBERT.
"""

import math
from pathlib import Path

from ..benchmark.contract import Training, TrainingData, TrainingRun
from ..benchmark.errors import UsageError
from ..benchmark.registry import upstreams
from .backbones.hubert import HubertNet
from .backbones.hubert_shape import HubertShape
from .backbones.kept_blocks import load_kept
from .backbones.pretrained import PretrainedEncoder
from .hubert import SHAPES, WEIGHTS
from .training.distillation_recipe import LAYERDROP, LayerDropRecipe

RATE = 0.5  # every other block


def kept(depth: int, p: float) -> tuple[int, ...]:
    """The blocks of 1..depth that pruning at rate p leaves; UsageError where it leaves none."""
    if not 0 <= p <= 0.5:
        raise UsageError(
            f"layerdrop: p is a rate from 0 to 0.5, not {p:g}; the every-other rule drops block d "
            "where d mod floor(1/p) = 0, and above 0.5 these are all"
        )
    if p * depth < 1 - 1e-9:  # the first block that the rule names lies beyond
        return tuple(range(1, depth + 1))
    every = math.floor(1 / p + 1e-9)  # 1 / (1 / 49) is just below 49
    return tuple(d for d in range(1, depth + 1) if d % every)


def train(recipe: LayerDropRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Go on from a teacher with blocks left out at random; see `Training.train`."""
    from .training import distillation

    shape = LayerDrop.shape_of(run.tag)
    left = kept(shape.depth, recipe.prune)
    pupil = distillation.Pupil(range(1, shape.depth + 1), recipe.drop, left)
    distillation.train(recipe, data, run, pupil, shape)


@upstreams.register("layerdrop")
class LayerDrop(PretrainedEncoder):
    """
    Args:
        tag: tiny (shipped: the six blocks that p 0.5 leaves), base or large (HuBERT's published
            weights, trained with rates of 0.05 and 0).
        weights: of a model trained with layer drop, as `hubert` takes them: of all blocks, or what
            a training wrote.
        p: the rate at which it is pruned.
        seed: of random weights.
    """

    family, kind = "layerdrop", "pruned"
    shapes = SHAPES
    published = WEIGHTS | {"tiny": str(Path(__file__).with_name("layerdrop.tiny.safetensors"))}
    source = "Fan, Grave and Joulin, 2020, LayerDrop, arXiv:1909.11556"
    compared = ({},)
    trained_by = Training(
        about="a whole HuBERT, which learns its own last state with blocks left out at random",
        presets=LAYERDROP,
        train=train,
        labels="optional",
        teacher="needed",
    )

    def __init__(self, tag: str = "tiny", weights: str = "", p: float = RATE, seed: int = 0):
        self.blocks = kept(self.shape_of(tag).depth, p)  # before the weights are loaded
        self.own = {"p": (p, RATE)}
        super().__init__(tag, weights, seed=seed)

    @classmethod
    def depth_of(cls, tag: str) -> int:
        return len(kept(cls.shape_of(tag).depth, RATE))

    def _read(self, source: str, shape: HubertShape, seed: int) -> tuple[HubertNet, str]:
        return load_kept(source, shape, self.blocks, seed, self.family)
