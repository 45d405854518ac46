"""Layer removal (Zaiem et al., 2023, arXiv:2303.06740): blocks 1..k of a model, the rest removed.

Static. As it is, the same states as leaving the whole model at depth k (and as `block_plan`); tuned
afterwards (`run_benchmark.py train layer_removal.<tag> --teacher hubert.<tag> --set keep=k`), the
last block that is left stands for the last one of the whole model. Zaiem et al. fine-tune on
transcripts; here, for every task, the kept blocks are distilled to the whole model's last state.
"""

from ..benchmark.contract import Training, TrainingData, TrainingRun
from ..benchmark.errors import UsageError
from ..benchmark.registry import upstreams
from .backbones.hubert import HubertNet
from .backbones.hubert_shape import HubertShape
from .backbones.kept_blocks import load_kept
from .backbones.pretrained import PretrainedEncoder
from .hubert import SHAPES, WEIGHTS
from .training.distillation_recipe import LAYER_REMOVAL, DistillationRecipe

KEEP = 6  # half of the blocks of a Base


def kept(depth: int, keep: int) -> tuple[int, ...]:
    if not 1 <= keep <= depth:
        raise UsageError(f"layer_removal: keep is 1 to {depth} blocks, not {keep}")
    return tuple(range(1, keep + 1))


def train(recipe: DistillationRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Distil the blocks that are kept from the whole model; see `Training.train`."""
    from .training import distillation

    shape = LayerRemoval.shape_of(run.tag)
    blocks = kept(shape.depth, int(run.options.get("keep", KEEP)))
    distillation.train(recipe, data, run, distillation.Pupil(blocks), shape)


@upstreams.register("layer_removal")
class LayerRemoval(PretrainedEncoder):
    """
    Args:
        tag: tiny, base or large, as `hubert`.
        weights: of the whole model, as `hubert` takes them ("" = the tag's, not tuned afterwards),
            or what a training wrote of the kept blocks.
        keep: how many blocks are left.
        seed: of random weights.
    """

    family, shapes, published = "layer_removal", SHAPES, WEIGHTS
    kind = "pruned"
    source = "Zaiem et al., 2023, arXiv:2303.06740"
    compared = ({},)
    trained_by = Training(
        about="the first blocks of a HuBERT, which learn to give its last state",
        presets=LAYER_REMOVAL,
        train=train,
        options=("keep",),
        labels="optional",
        teacher="needed",
    )

    def __init__(self, tag: str = "tiny", weights: str = "", keep: int = KEEP, seed: int = 0):
        self.blocks = kept(self.shape_of(tag).depth, keep)  # before the weights are loaded
        self.own = {"keep": (keep, KEEP)}
        super().__init__(tag, weights, seed=seed)

    @classmethod
    def depth_of(cls, tag: str) -> int:
        return len(kept(cls.shape_of(tag).depth, KEEP))

    def _read(self, source: str, shape: HubertShape, seed: int) -> tuple[HubertNet, str]:
        return load_kept(source, shape, self.blocks, seed, self.family)
