"""The recipe by which a small HuBERT is pre-trained within a few CPU hours."""

from dataclasses import dataclass

from ...benchmark.contract import Recipe, setting


@dataclass(frozen=True)
class HubertRecipe(Recipe):
    """Stage by stage, see `masked_prediction.py`; the defaults made the hubert.tiny of version
    0.1.0, and the settings of docs/training.md the shipped one from it.

    Hsu et al. (2021) train Base otherwise, in ways that have no field here: the convolutions learn
    with the blocks, which have dropout and layer drop, from scratch in each iteration, 250,000 and
    400,000 steps of 47 minutes of speech. So there is no preset of that name: it would be another
    recipe, for many GPUs, whose result is published.
    """

    warm: str = setting(
        "", "weights to go on from: units of that model, then the block stage alone"
    )
    units_from: str = setting("", "weights whose block names the units instead of those of warm")
    front_steps: int = setting(
        1500, "stage 1, convolutions that tell the log-mel spectrum: updates"
    )
    front_lr: float = setting(2e-3, "peak learning rate of AdamW")
    mfcc_steps: int = setting(900, "stage 2, blocks that predict units of MFCCs: updates")
    mfcc_units: int = setting(100, "k-means units")
    mfcc_carry: float = setting(0.0, "as block_carry")
    mfcc_unmasked: float = setting(
        1.0,
        "weight of the loss on frames that are not masked (HuBERT: 0); 1 leaves the first plateau",
    )
    block_steps: int = setting(
        2000, "stage 3, blocks that predict units of a middle block: updates"
    )
    block_carry: float = setting(
        2.0,
        "weight of the error with which the last block (carry_all: every one) tells the clean "
        "convolution output",
    )
    carry_all: bool = setting(False, "every block must tell it, not the last alone; the mean error")
    block_units: int = setting(256, "k-means units")
    block_layer: int = setting(
        7, "the block whose states are clustered: of stage 2's model, of warm's or units_from's"
    )
    block_unmasked: float = setting(
        0.1, "as mfcc_unmasked; the mean is over all open frames, those without units too"
    )
    block_deep: float = setting(
        0.0,
        "weight of the same prediction by earlier blocks, block k of L with k / L times this, each "
        "by a head of its own that is dropped afterwards; 0: by the last block alone",
    )
    level: float = setting(
        0.0, "weight of the squared log of state 0's mean square, which keeps it at 1; 0 = free"
    )
    lr: float = setting(1e-3, "peak learning rate of AdamW in stages 2 and 3")
    batch: int = setting(24, "crops a step; twice as many short ones in stage 1")
    frames: int = setting(125, "of a crop: 2.5 s")
    mask_start: float = setting(0.08, "probability that a frame starts a masked span")
    mask_span: int = setting(10, "frames of a span")
    noisy: float = setting(0.5, "share of a batch heard with noise")
    noisy_units: bool = setting(
        True,
        "crops heard with noise are masked, too; no: they tell the clean convolution output "
        "alone, so that noise leaves the units unsure",
    )
    warmup: float = setting(
        0.08, "share of the steps in which the rate rises; then it falls linearly"
    )
    every: int = setting(250, "steps between two looks at held-out speech")


TINY = HubertRecipe(
    source="Hsu et al., 2021, HuBERT, sec. III and IV for masks, MFCC units and optimiser; this "
    "project for the rest: upstreams/hubert.tiny.json says what came out"
)
PRESETS = {"tiny": TINY}
