"""DAISY (Lin, Lee and Tang, Interspeech 2024): exit at the first block that predicts HuBERT's units
with an entropy below a threshold.

Every block has one linear branch that guesses, frame by frame, the unit HuBERT's self-supervised
head names at the end. Its mean frame entropy (eq. 2) against tau = rho (Emax + Emin) / 2 (eq. 3)
decides. The branches are trained once, without any task's labels, by `run_benchmark.py train
daisy.<tag>` (training/daisy.py).
"""

import numpy as np
import torch
from torch import Tensor

from ..benchmark.calibration import midpoint
from ..benchmark.contract import Training, TrainingData, TrainingRun
from ..benchmark.errors import UsageError
from ..benchmark.registry import upstreams
from .backbones.branched import Branched, backbone_of, no_autocast
from .training.daisy_recipe import PRESETS, BranchRecipe


def train(recipe: BranchRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Train the branches on the backbone of a tag; see `Training.train`."""
    from .training import daisy

    backbone = backbone_of(run.tag, seed=run.seed, **run.options)
    daisy.train(recipe, data, run, backbone)


@upstreams.register("daisy")
class Daisy(Branched):
    called = "daisy"
    paper = "Lin, Lee and Tang, 2024, DAISY, arXiv:2406.05464"
    measures = "mean frame entropy of the block's branch, nats per frame"
    knob, knob_values, spans = "rho", (0.7,), ("mean", "threshold", "min-max")
    # with s3prl's depth 0, so that one curve of fixed depths serves all systems on this backbone
    compared = ({"front": "block_input", "span": "mean"},)
    trained_by = Training(
        about="a linear branch a block that names the backbone's own units; the backbone is frozen",
        presets=PRESETS,
        train=train,
        options=("backbone", "weights", "tap"),
    )

    def unsure(self, logits: Tensor) -> Tensor:
        return entropy(logits)

    def tau(self, evidence: np.ndarray, value: float) -> float:
        return midpoint(evidence, value)

    def check_knob(self, value: float) -> str:
        if value < 0:
            raise UsageError(f"rho is a ratio from 0 (never exit early) upwards, not {value:g}")
        if value > 1:
            return (
                f"rho {value:g} is above 1, where the paper stops: nearly everything may leave at "
                "the first depth"
            )
        return ""


def entropy(logits: Tensor) -> Tensor:
    """(..., units) -> (...), nats, in float32. As -sum p log p of a log-softmax it is 0 where p is
    0, never nan, and takes no second logarithm.
    """
    # else the products, and with them the evidence, would be rounded to eight bits
    with no_autocast(logits):
        log_p = logits.float().log_softmax(-1)
        return -torch.linalg.vecdot(log_p.exp(), log_p)
