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

from ..benchmark.contract import Training, TrainingData, TrainingRun, Upstream, UpstreamCard
from ..benchmark.errors import UsageError
from ..benchmark.registry import spelled, upstreams
from . import hubert
from .backbones.hubert_shape import STRIDE
from .backbones.kept_blocks import load_kept
from .training.distillation_recipe import LAYERDROP, LayerDropRecipe

WEIGHTS = hubert.WEIGHTS | {"tiny": str(Path(__file__).with_name("layerdrop.tiny.safetensors"))}


def kept(depth: int, p: float) -> tuple[int, ...]:
    """The blocks of 1..depth that pruning at rate p leaves; UsageError where it leaves none."""
    if not 0 <= p <= 0.5:
        raise UsageError(
            f"layerdrop: p is a rate from 0 to 0.5, not {p:g}; the every-other rule drops block d "
            "where d mod floor(1/p) = 0, and above 0.5 these are all"
        )
    every = math.floor(1 / p + 1e-9) if p else 0  # 1 / (1 / 49) is just below 49
    return tuple(d for d in range(1, depth + 1) if not every or d % every)


def train(recipe: LayerDropRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Go on from a teacher with blocks left out at random; see `Training.train`."""
    from .training import distillation

    shape = hubert.shape_of(run.tag)
    left = kept(shape.depth, recipe.prune)
    pupil = distillation.Pupil(range(1, shape.depth + 1), recipe.drop, left)
    distillation.train(recipe, data, run, pupil, shape)


@upstreams.register("layerdrop")
class LayerDrop(hubert.Hubert):
    """
    Args:
        tag: tiny (shipped: the six blocks that p 0.5 leaves), base or large, whose published
            weights were trained with a rate of 0.05 and 0.
        weights: of a model trained with layer drop, as `hubert` takes them: of all blocks, or what
            a training wrote.
        p: the rate at which it is pruned.
        seed: of random weights.
    """

    stand_in = {"weights": "random"}
    trained_by = Training(
        about="a whole HuBERT, which learns its own last state with blocks left out at random",
        presets=LAYERDROP,
        train=train,
        teacher="needed",
    )

    def __init__(self, tag: str = "tiny", weights: str = "", p: float = 0.5, seed: int = 0):
        Upstream.__init__(self)
        shape = hubert.shape_of(tag)
        blocks = kept(shape.depth, p)
        self.front, self.tap = "block_input", "block"
        self.net, revision = load_kept(
            weights or WEIGHTS[tag], shape, blocks, seed, f"layerdrop.{tag}"
        )
        self.card = UpstreamCard(
            name=spelled("layerdrop", tag, weights=(weights, ""), p=(p, 0.5), seed=(seed, 0)),
            depth=len(blocks),
            dim=shape.dim,
            stride=STRIDE,
            revision=revision,
            source="Fan, Grave and Joulin, 2020, LayerDrop, arXiv:1909.11556",
            kind="pruned",
        )
