"""The recipes of DAISY's branches."""

from dataclasses import dataclass

from ...benchmark.contract import Recipe, setting
from ...benchmark.errors import UsageError


@dataclass(frozen=True)
class BranchRecipe(Recipe):
    """The defaults are for a tiny backbone and a few hours of speech; see PRESETS."""

    steps: int = setting(2400, "optimiser updates")
    lr: float = setting(5e-3, "peak learning rate of AdamW (betas 0.9 and 0.98, eps 1e-6)")
    weight_decay: float = setting(0.0, "of AdamW")
    warmup: float = setting(
        0.08, "share of the steps in which the rate rises; then it falls linearly"
    )
    floor: float = setting(0.01, "share of the peak rate below which it does not fall")
    clip: float = setting(10.0, "gradient norm")
    batch: int = setting(16, "crops or utterances that the backbone hears together")
    seconds: float = setting(2.505, "of a crop; with whole, of which a longer utterance is cropped")
    whole: bool = setting(
        False,
        "a step hears a batch of whole utterances from disk; else it draws from frames of crops",
    )
    frames: int = setting(4096, "of a step, drawn from those last heard; not with whole", True)
    heard: int = setting(48, "batches heard at a time; not with whole", True)
    every: int = setting(600, "steps from look to look, and unless whole from hearing to hearing")
    noisy: float = setting(0.0, "share of the crops heard with noise; not with whole")
    fallback_units: int = setting(500, "k-means units, where the backbone has none of its own")
    fallback_block: int = setting(
        0, "the block whose states are clustered then; 0 = 7 of 12, or as far up another backbone"
    )

    def __post_init__(self) -> None:
        if self.whole and self.noisy:
            raise UsageError("train daisy: whole utterances are heard clean; add --set noisy=0")
        if not self.whole and min(self.frames, self.heard) < 1:
            raise UsageError(
                "train daisy: with whole=no a step draws frames from batches heard before; say how "
                "many: --set frames=4096 heard=48"
            )


TINY = BranchRecipe(
    source="this project: made for hubert.tiny and its hours; upstreams/daisy.tiny.json says what "
    "came out. Noise would leave the branches unsure, and the paper's hear clean speech"
)
PAPER = BranchRecipe(
    source="Lin, Lee and Tang, 2024, sec. 4: steps, batch, lr, LibriSpeech's 960 hours, no "
    "dropout; all else is HuBERT's, so from fairseq's hubert_base_librispeech.yaml: betas, eps, "
    "weight_decay, warmup, floor (linear to 0), clip, seconds (250,000 samples; below 2 s is left "
    "out). Neither says, so chosen here: no masking, batches in random order, every, the fallback",
    steps=88_000,
    lr=5e-5,
    weight_decay=0.01,
    floor=0.0,
    batch=32,
    seconds=15.625,
    whole=True,
    frames=0,
    heard=0,
    every=4000,
)
PRESETS = {"tiny": TINY, "paper": PAPER}
