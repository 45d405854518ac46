"""DAISY (Lin, Lee and Tang, Interspeech 2024): exit at the first block that predicts HuBERT's units
with an entropy below a threshold.

Every block has one linear branch that guesses, frame by frame, the unit HuBERT's self-supervised
head names at the end. Its mean frame entropy (eq. 2) against tau = rho (Emax + Emin) / 2 (eq. 3)
decides. The branches are trained once, without any task's labels, by `run_benchmark.py train
daisy.<tag>` (training/daisy.py).
"""

import inspect
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..benchmark.calibration import midpoint
from ..benchmark.contract import Training, TrainingData, TrainingRun, Upstream
from ..benchmark.contract.wrapper import ExitRule, stepping
from ..benchmark.errors import UsageError
from ..benchmark.masking import masked_mean
from ..benchmark.registry import build_upstream, spelled, upstream_class, upstreams
from .backbones import entropy_branches
from .training.daisy_recipe import PRESETS, BranchRecipe

BRANCHES = {"tiny": str(Path(__file__).with_name("daisy.tiny.safetensors"))}


def backbone_of(tag: str, backbone: str = "", **options: Any) -> Upstream:
    """hubert.<tag>, or any other upstream, with those of the options that it takes."""
    known = inspect.signature(upstream_class(backbone or "hubert")).parameters
    taken = {name: value for name, value in options.items() if name in known}
    return stepping(build_upstream(backbone or f"hubert.{tag}", taken))


def train(recipe: BranchRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Train the branches on the backbone of a tag; see `Training.train`."""
    from .training import daisy

    backbone = backbone_of(run.tag, seed=run.seed, **run.options)
    daisy.train(recipe, data, run, backbone)


@upstreams.register("daisy")
class Daisy(ExitRule):
    """
    Args:
        tag, weights, seed: of the backbone, as `hubert` takes them.
        branches: a safetensors file of trained branches; "" = the tag's own, "random" = random
            ones.
        front: depth 0, `projection` as in DAISY's released code (hubert's own default is
            s3prl's `block_input`).
        tap: the state that branches and heads read, `block` or `ffn`, as hubert takes it.
        backbone: any upstream instead of hubert.<tag>; weights, front, tap and seed go to it
            where it takes them.
    """

    knob, knob_values, spans = "rho", (0.7,), ("mean", "threshold", "min-max")
    stand_in = {"weights": "random", "branches": "random"}
    trained_by = Training(
        about="a linear branch a block that names the backbone's own units; the backbone is frozen",
        presets=PRESETS,
        train=train,
        options=("backbone", "weights", "tap"),
    )

    def __init__(
        self,
        tag: str = "tiny",
        weights: str = "",
        branches: str = "",
        front: str = "projection",
        seed: int = 0,
        backbone: str = "",
        tap: str = "block",
    ):
        inner = backbone_of(tag, backbone, weights=weights, front=front, seed=seed, tap=tap)
        shipped = "" if backbone else BRANCHES.get(tag, "")
        branches = branches or ("random" if weights.startswith("random") else shipped)
        loaded, revision = entropy_branches.load(branches, inner, seed)
        super().__init__(
            inner,
            name=spelled(
                "daisy",
                "" if backbone else tag,
                backbone=(backbone, ""),
                weights=(weights, ""),
                branches=("" if branches in BRANCHES.values() else branches, ""),
                front=(front, "projection"),
                seed=(seed, 0),
                tap=(tap, "block"),
            ),
            source="Lin, Lee and Tang, 2024, DAISY, arXiv:2406.05464",
            evidence="mean frame entropy of the block's branch, nats per frame",
            revision=f"{inner.card.revision}+{revision}",
        )
        self.branches = loaded

    def evidence(self, depth: int, state: Tensor, previous: Tensor, frames: Tensor) -> Tensor:
        branch = self.branches[depth - 1]
        # each utterance by itself, as its states were computed: no branch runs on padding
        if state.device.type == "cpu":
            rows = zip(state, frames.tolist(), strict=True)
            return torch.stack([entropy(branch(row[:n])).mean() for row, n in rows])
        return masked_mean(entropy(branch(state)), frames)

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

    def evidence_macs(self, samples: int, depth: int) -> int:
        branch: nn.Linear = self.branches[depth - 1]
        frames = int(self.inner.frames(torch.tensor(samples)))
        return frames * branch.in_features * branch.out_features


def entropy(logits: Tensor) -> Tensor:
    """(..., units) -> (...), nats, in float32. As -sum p log p of a log-softmax it is 0 where p is
    0, never nan, and takes no second logarithm.
    """
    # autocast would round the products, and with them the evidence, to eight bits
    device = logits.device.type
    known = torch.amp.is_autocast_available(device)
    with torch.autocast(device, enabled=False) if known else nullcontext():
        log_p = logits.float().log_softmax(-1)
        return -torch.linalg.vecdot(log_p.exp(), log_p)
