"""Training DAISY's branches (Lin, Lee and Tang, 2024, sec. 3.1) on any backbone.

The backbone is frozen, in evaluation mode, and its input is not masked. Every block's branch learns
to name, frame by frame, the unit that the backbone names at the end (`Upstream.units`): the cross
entropy over all frames, summed over blocks, which are independent. A backbone without units (the
Hugging Face and torchaudio checkpoints of HuBERT lack the head) gets k-means units of a middle
block instead, and the card says so.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...benchmark import distributed, trainer
from ...benchmark.contract import TrainingData, TrainingRun, Upstream
from ..backbones import entropy_branches
from .daisy_frames import Batch, DrawnFrames, WholeUtterances, frozen_backbone
from .daisy_recipe import BranchRecipe
from .pretraining_data import Pool
from .schedules import warm_then_linear
from .utterances import Utterances, of_folders


def train(recipe: BranchRecipe, data: TrainingData, run: TrainingRun, backbone: Upstream) -> None:
    """Branches on `backbone`, in `run.weights` with their card; goes on from what is there."""
    backbone = backbone.to(run.device).eval().requires_grad_(False)
    audio = _audio(recipe, data, run)
    frozen = frozen_backbone(backbone, audio, recipe, run)
    torch.manual_seed(run.seed)
    branches = entropy_branches.new(backbone, frozen.units).to(run.device)
    frames: WholeUtterances | DrawnFrames
    if isinstance(audio, Utterances):
        frames = WholeUtterances(audio, frozen)
    else:
        frames = DrawnFrames(recipe, audio, frozen, run.seed)
    mean, spread = frames.moments()

    def loss(i: int) -> Tensor:
        """Summed over the blocks, mean over the step's frames, whichever process has them."""
        states, units, together = frames.step(i)
        x = (states.float() - mean) / spread
        every = (F.cross_entropy(b(x[k]), units, reduction="sum") for k, b in enumerate(branches))
        return sum(every) * distributed.rank_and_size()[1] / together

    optimiser = torch.optim.AdamW(
        branches.parameters(),
        recipe.lr,
        betas=(0.9, 0.98),
        eps=1e-6,
        weight_decay=recipe.weight_decay,
    )
    folder = run.work / "branches"
    trainer.train(
        branches,
        loss,
        optimiser,
        _schedule(recipe),
        folder=folder,
        seed=run.seed,
        device=run.device,
        what=f"{run.name} branches",
        validate=lambda: _look(branches, frames.held_out(), mean, spread),
    )
    _fold(branches, mean, spread)
    if distributed.is_leader():
        last = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
        entropy_branches.save(
            branches.cpu(),
            run.weights,
            backbone,
            {
                "targets": frozen.said,
                "recipe": asdict(recipe),
                "seed": run.seed,
                "hours": {name: round(hours, 3) for name, hours in audio.sources.items()},
                "held_out_clean": last,
            },
        )


def _audio(recipe: BranchRecipe, data: TrainingData, run: TrainingRun) -> Pool | Utterances:
    if recipe.whole:
        return of_folders(data.speech, recipe.seconds, recipe.batch, run.seed)
    return Pool(data.speech, data.noise, recipe.seconds)


def _schedule(recipe: BranchRecipe) -> trainer.Schedule:
    factor = warm_then_linear(recipe.steps, recipe.warmup, recipe.floor)
    return trainer.Schedule(recipe.steps, recipe.every, clip=recipe.clip, factor=factor)


@torch.no_grad()
def _look(
    branches: nn.ModuleList, heard: Iterator[Batch], mean: Tensor, spread: Tensor
) -> dict[str, float]:
    """Entropy (nats per frame) and agreement by depth, on held-out clean speech."""
    entropy, right, batches = np.zeros(len(branches)), np.zeros(len(branches)), 0
    for states, units in heard:
        batches += 1
        x = (states - mean) / spread
        for k, branch in enumerate(branches):
            logits = branch(x[k])
            entropy[k] += float(torch.special.entr(logits.softmax(-1)).sum(-1).mean())
            right[k] += float((logits.argmax(-1) == units).float().mean())
    means = {f"entropy@{k}": total / batches for k, total in enumerate(entropy, 1)}
    return means | {f"agreement@{k}": total / batches for k, total in enumerate(right, 1)}


@torch.no_grad()
def _fold(branches: nn.ModuleList, mean: Tensor, spread: Tensor) -> None:
    """Branches on standardised states become the same branches on states as they are."""
    for k, branch in enumerate(branches):
        branch.weight /= spread[k]
        branch.bias -= branch.weight @ mean[k, 0]
