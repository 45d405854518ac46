"""Every number of fine-tuning a system that spells: what learns from which exits' losses, how fast,
and how its input is disturbed."""

import math
from dataclasses import dataclass

from ...benchmark.contract import Recipe, setting
from ...benchmark.errors import UsageError, did_you_mean
from . import schedules

OPTIMISERS = ("adam", "adamw", "adadelta")
MEANS = ("utterance", "symbol", "batch")
CHOICES = {
    "strategy": ("joint", "two_stage"),
    "optimiser": OPTIMISERS,
    "head_optimiser": (*OPTIMISERS, ""),
    "second_optimiser": (*OPTIMISERS, ""),
    "schedule": schedules.NAMES,
    "per": MEANS,
    "decayed": ("all", "weights"),
    "best": ("last", "mean"),
    "order": ("random", "ascending"),
    "precision": ("bf16", "full"),
}
SHARES = ("kd", "ctc", "mask_prob", "channel_prob", "rho")
DROPPED = (
    *("layerdrop", "projection_dropout", "dropout"),
    *("attention_dropout", "activation_dropout", "head_dropout"),
)


@dataclass(frozen=True)
class RecognitionRecipe(Recipe):
    """The defaults are for a tiny backbone and minutes; see the presets of each system."""

    # ---- what learns from which loss
    strategy: str = setting(
        "joint",
        "joint: the backbone and all exits together; two_stage: the backbone by the last exit, "
        "then, frozen, the other exits",
    )
    lambda_: float = setting(1.0, "weight of the sum of the exits' losses beside the last one's")
    kd: float = setting(
        0.0,
        "share of an exit's loss that takes the last exit's greedy transcript for the truth; "
        "Wright et al.'s code: 0.7",
    )
    ctc: float = setting(1.0, "share of CTC in an exit's loss, the rest is its decoder's")
    per: str = setting(
        "utterance",
        "a CTC loss is a mean over the utterances of an update (fairseq), over those of a "
        "micro-batch each by symbol (torch's mean), or their sum (transformers' sum)",
    )
    alphabet: str = setting(
        "", "characters, letters, bpe:N learned from the transcripts, FILE.model; else the system's"
    )
    # ---- how long, from how much
    steps: int = setting(1000, "optimiser updates, of each stage")
    second_steps: int = setting(0, "of two_stage: updates of the second stage; 0: as steps")
    batch: int = setting(8, "most utterances of a micro-batch; 0: seconds alone limits it", True)
    seconds: float = setting(0.0, "most audio of it, padding included; 0: batch alone limits it")
    accumulate: int = setting(1, "micro-batches of an update")
    order: str = setting(
        "random", "of batches: random, or ascending, by length and the same every epoch"
    )
    longest: float = setting(0.0, "seconds; longer utterances are left out; 0: none is")
    most: int = setting(0, "characters; longer transcripts are left out; 0: none is")
    every: int = setting(250, "updates from look to look at the dev split")
    dev_limit: int = setting(0, "utterances of it that are looked at; 0: all")
    best: str = setting(
        "last", "the weights kept are best on dev by the WER of the last exit, or the mean of all"
    )
    # ---- how fast
    optimiser: str = setting("adamw", "adam, adamw or adadelta")
    head_optimiser: str = setting("", "of the heads, where it is another one")
    lr: float = setting(1e-4, "peak learning rate of the backbone")
    head_lr: float = setting(1e-3, "of the heads")
    second_lr: float = setting(0.0, "of two_stage: of the heads in the second stage; 0: as head_lr")
    second_optimiser: str = setting("", "and by which they learn there, where it is another one")
    second_last: bool = setting(
        False, "of two_stage: the last exit, too, has a new head in the second stage"
    )
    betas: tuple[float, ...] = setting((0.9, 0.98), "of adam and adamw")
    eps: float = setting(1e-8, "of the optimiser")
    rho: float = setting(0.95, "of adadelta")
    weight_decay: float = setting(0.0, "of the optimiser")
    decayed: str = setting("all", "all parameters, or weights: no biases and norms (transformers)")
    clip: float = setting(1.0, "gradient norm, of backbone and heads each; 0: not clipped")
    schedule: str = setting("linear", "tri_stage, noam, linear, newbob or constant")
    warmup: int = setting(0, "updates in which the rate rises, of tri_stage, noam and linear")
    hold: int = setting(0, "updates at the peak, of tri_stage")
    decay: int = setting(0, "updates in which it falls to floor, of tri_stage")
    floor: float = setting(0.05, "share of the peak, of tri_stage")
    width: int = setting(0, "with noam: D of D^-0.5, lr being 1; 0: lr is the peak")
    annealing: float = setting(0.9, "factor of newbob for the backbone")
    head_annealing: float = setting(0.8, "and for the heads")
    improvement: float = setting(0.0025, "share by which the dev loss must fall, of newbob")
    # ---- what is held, dropped and disturbed
    front: float = setting(0.0, "factor of the gradients of the convolutions; 0: they are frozen")
    freeze: int = setting(0, "first updates in which the heads alone learn")
    layerdrop: float = setting(0.0, "probability with which an update leaves a block out")
    projection_dropout: float = setting(0.0, "of the convolutions' projection, before masks")
    dropout: float = setting(0.0, "of what enters the blocks, behind attention and feed-forward")
    attention_dropout: float = setting(0.0, "of attention weights")
    activation_dropout: float = setting(0.0, "within the feed-forward")
    head_dropout: float = setting(0.0, "of what a head reads")
    mask_prob: float = setting(0.0, "share of frames in masked spans, where they do not overlap")
    mask_width: int = setting(10, "frames of a span")
    mask_least: int = setting(0, "spans that an utterance has at least; wav2vec 2.0: 2")
    channel_prob: float = setting(0.0, "share of features in spans that are set to 0")
    channel_width: int = setting(64, "features of such a span")
    speeds: tuple[float, ...] = setting((1.0,), "factors of the speed of speech, one is drawn")
    chunks: int = setting(0, "most pieces of 1000 to 2000 samples of an utterance set to 0")
    precision: str = setting("bf16", "where the hardware multiplies in it, or full")

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise UsageError(f"training: {name} {value!r}: {did_you_mean(value, known)}")
        if not self.batch and not self.seconds:
            raise UsageError(
                "training: nothing limits a micro-batch; say its utterances or its seconds: "
                "--set batch=8"
            )
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"training: {name} is a share from 0 to 1")
        for name in DROPPED:
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"training: {name} is a probability below 1")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError("training: betas are two numbers below 1, such as betas=0.9,0.98")
        if not self.speeds or not all(0.5 <= speed <= 2 for speed in self.speeds):
            raise UsageError(
                "training: speeds are factors from 0.5 to 2, such as speeds=0.95,1,1.05"
            )
        if self.schedule == "noam" and not self.warmup:
            raise UsageError("training: noam rises in warmup updates; add --set warmup=N")

    @property
    def updates(self) -> int:
        second = self.second_steps or self.steps
        return self.steps + (second if self.strategy == "two_stage" else 0)

    @property
    def clipped(self) -> float:
        return self.clip or math.inf

    def factor(self, steps: int) -> schedules.Factor | None:
        """The factor of the rates for a training of so many updates; None = 1."""
        if self.schedule == "tri_stage":
            return schedules.tri_stage(self.warmup, self.hold, self.decay, last=self.floor)
        if self.schedule == "noam":
            return schedules.noam(self.warmup, self.width)
        if self.schedule == "linear":
            return schedules.linear(steps, self.warmup)
        return None
