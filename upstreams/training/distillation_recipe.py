"""The recipes by which smaller models are distilled from a larger one."""

from dataclasses import dataclass, replace

from ...benchmark.contract import Recipe, setting
from ...benchmark.errors import UsageError


@dataclass(frozen=True)
class DistillationRecipe(Recipe):
    """The defaults are for a tiny teacher, a few hours of speech and minutes; see the presets."""

    layers: tuple[float, ...] = setting((4, 8, 12), "blocks of the teacher whose states are told")
    heads: bool = setting(
        True,
        "a head of two layers with GELU tells each from the student's last state and is dropped "
        "afterwards; no: the last state itself is to become the one of layers",
    )
    cosine: float = setting(1.0, "weight of -log sigmoid(cosine) beside the mean L1 distance")
    front: float = setting(
        0.0, "factor of the gradients of the convolutions; 0: they stay the teacher's"
    )
    blocks_alone: bool = setting(
        False, "nothing before the blocks learns: state 0 stays the teacher's, front or no"
    )
    steps: int = setting(300, "optimiser updates")
    lr: float = setting(1e-3, "peak learning rate of AdamW (betas 0.9 and 0.98, eps 1e-6)")
    weight_decay: float = setting(1e-6, "of AdamW")
    warmup: float = setting(
        0.07, "share of the steps in which the rate rises; then it falls linearly to 0"
    )
    clip: float = setting(5.0, "gradient norm")
    batch: int = setting(4, "crops or utterances a step")
    seconds: float = setting(2.505, "of a crop; with whole, of which a longer utterance is cropped")
    whole: bool = setting(False, "batches of whole utterances from disk; else crops from memory")
    every: int = setting(150, "steps between two looks at held-out speech")

    def __post_init__(self) -> None:
        asked = [number for number in self.layers if number != int(number) or number < 1]
        if asked or not self.layers:
            raise UsageError(
                "distillation: layers are numbers of blocks with commas between them, such as "
                f"4,8,12, not {','.join(f'{number:g}' for number in self.layers) or 'none'}"
            )
        if not self.heads and len(self.layers) > 1:
            raise UsageError(
                "distillation: without heads the student's last state becomes one state of the "
                f"teacher, not {len(self.layers)}; name one: --set layers=12"
            )

    @property
    def blocks(self) -> tuple[int, ...]:
        """`layers` as whole numbers: command lines know only tuples of floats."""
        return tuple(int(number) for number in self.layers)


@dataclass(frozen=True)
class LayerDropRecipe(DistillationRecipe):
    """Distillation to the network's own last state, with blocks left out at random."""

    drop: float = setting(0.5, "probability with which a step leaves a block out")
    prune: float = setting(
        0.5, "rate at which the written weights are pruned by the every-other rule; 0: not at all"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.drop < 1:
            raise UsageError(f"layerdrop: drop is a probability below 1, not {self.drop:g}")


DISTILHUBERT_TINY = DistillationRecipe(
    source="this project: made for hubert.tiny and minutes on one core, from the paper's loss, "
    "layers, optimiser, warm-up and clip; upstreams/distilhubert.tiny.json says what came out"
)
DISTILHUBERT_PAPER = DistillationRecipe(
    source="Chang, Yang and Lee, 2022, sec. 3, for loss, heads, start from the teacher and layers "
    "(as the published checkpoint's name has them; s3prl's configuration names 4 and 12); "
    "LibriSpeech's 960 hours; s3prl's pretrain/distiller/config_model.yaml and config_runner.yaml "
    "for cosine (lambda), steps, lr, warmup, weight_decay, betas, eps, clip, batch, seconds "
    "(250,000 samples), front (feature_grad_mult) and the mean over layers. Otherwise here: random "
    "batches, not buckets of alike lengths; means over valid frames, not over padding; no dropout "
    "(there 0.1); the layer-norms before the projection and the blocks begin as the teacher's, "
    "where the published student has none and a new one; chosen: every",
    layers=(4, 8, 12),
    heads=True,
    cosine=1.0,
    front=0.1,
    steps=200_000,
    lr=2e-4,
    weight_decay=1e-6,
    warmup=0.07,
    clip=5.0,
    batch=24,
    seconds=15.625,
    whole=True,
    every=4000,
)
DISTILHUBERT = {"tiny": DISTILHUBERT_TINY, "paper": DISTILHUBERT_PAPER}

OWN_LAST = {"layers": (12,), "heads": False, "blocks_alone": True, "lr": 5e-4}
LAYER_REMOVAL = {
    "tiny": replace(
        DISTILHUBERT_TINY,
        **OWN_LAST,
        source="this project: Zaiem et al., 2023, fine-tune the kept blocks on transcripts, which "
        "would be a backbone for one task; here they learn the whole model's last state by the "
        "loss of Chang, Yang and Lee, 2022, without labels",
    )
}
LAYERDROP = {
    "tiny": LayerDropRecipe(
        **OWN_LAST,
        steps=240,
        source="this project: Fan et al., 2020, sec. 3, for what is dropped and which blocks are "
        "kept (they train from scratch, p 0.2, and prune as deep as 1/2); here a trained model "
        "learns its own last state by the loss of Chang, Yang and Lee, 2022; "
        "upstreams/layerdrop.tiny.json says what came out",
    )
}
