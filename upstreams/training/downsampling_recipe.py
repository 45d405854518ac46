"""The recipes of filters that shorten the input."""

from dataclasses import dataclass

from ...benchmark.contract import Recipe, setting


@dataclass(frozen=True)
class DownsamplingRecipe(Recipe):
    """Zaiem et al. (2023) fine-tune filter and backbone on transcripts (WavLM by Adam at 1e-4, 10
    to 25 epochs of 100 hours, batch 6, convolutions frozen). That would make a model for one task;
    here both learn without labels to give the states of the full rate, for any task.
    """

    steps: int = setting(60, "optimiser updates")
    lr: float = setting(1e-2, "peak learning rate of the filter's taps, AdamW without decay")
    tune: bool = setting(
        False, "the backbone learns, too, apart from its convolutions (feature_extractor)"
    )
    backbone_lr: float = setting(5e-4, "peak learning rate of the backbone's parameters")
    warmup: float = setting(
        0.08, "share of the steps in which the rates rise; then they fall linearly to 0"
    )
    clip: float = setting(1.0, "gradient norm, of the filter and of the backbone by themselves")
    batch: int = setting(4, "utterances a step")
    seconds: float = setting(2.5, "of which a longer utterance is cropped")
    every: int = setting(30, "steps between two looks at held-out speech")


TINY = DownsamplingRecipe(
    source="this project: made for hubert.tiny and three hours of speech; "
    "upstreams/downsampled.conv2.json says what came out"
)
BASE = DownsamplingRecipe(
    source="this project, not carried out: no publication matches states behind a shortened input. "
    "Steps, batch, seconds, warm-up and rate of a distillation of HuBERT Base's states (Chang et "
    "al., 2022, DistilHuBERT, arXiv:2110.01900), clip of s3prl's config of it",
    steps=200_000,
    lr=2e-4,
    tune=True,
    backbone_lr=2e-4,
    warmup=0.07,
    clip=5.0,
    batch=24,
    seconds=15.6,
    every=4000,
)
PRESETS = {"tiny": TINY, "base": BASE}
