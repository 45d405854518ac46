"""Training a filter that shortens the input, and the backbone behind it.

The teacher is the same backbone at the full rate, frozen. Its frames are pooled to those of the
shortened input, and every depth must give them again: the mean squared difference of states under
a layer-norm without affine, which is how a weighted sum of depths reads them. 0 is a perfect copy;
two unrelated states are 2 apart. The blocks see nothing of a task.
"""

import copy
import json
from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...benchmark import distributed, trainer
from ...benchmark.contract import TrainingData, TrainingRun, Upstream
from ...benchmark.contract.wrapper import WaveformTransform
from ...benchmark.errors import UsageError
from ...benchmark.masking import valid_mask
from ...benchmark.storage import write_text
from ..backbones.hubert_weights import content_hash, write
from ..backbones.waveform_filters import PARTS
from .downsampling_recipe import DownsamplingRecipe
from .schedules import warm_then_linear
from .utterances import Utterances, of_folders

CONVOLUTIONS = "feature_extractor"  # of a backbone, in the name of its parameters


def train(
    recipe: DownsamplingRecipe, data: TrainingData, run: TrainingRun, student: WaveformTransform
) -> None:
    """The filter, and with `recipe.tune` the backbone, in `run.weights` with their card."""
    learner = _learner(recipe, run, student)
    speech = of_folders(data.speech, recipe.seconds, recipe.batch, run.seed)
    teacher = copy.deepcopy(student.inner).to(run.device).eval().requires_grad_(False)
    pair = _Pair(student.to(run.device).eval(), teacher, run.device)

    def loss(i: int) -> Tensor:
        """Mean over the step's frames, whichever process has them."""
        wavs, lengths, of_all = speech.batch(i)
        together = int(pair.frames(of_all).sum())
        errors = pair.errors(wavs, lengths).mean(0).sum()
        return errors * distributed.rank_and_size()[1] / together

    def look() -> dict[str, float]:
        return pair.look(speech)

    with torch.no_grad():
        before = look()
    taps, of_backbone = _groups(learner)
    rates = [{"params": taps, "lr": recipe.lr}] if taps else []
    if of_backbone:
        rates.append({"params": of_backbone, "lr": recipe.backbone_lr})
    outcome = trainer.train(
        learner,
        loss,
        torch.optim.AdamW(rates, weight_decay=0.0),
        _schedule(recipe),
        folder=run.work / "steps",
        seed=run.seed,
        device=run.device,
        what=run.name,
        validate=look,
    )
    if distributed.is_leader():
        _save(learner, student, recipe, run, speech, {"before": before, "last": outcome.log[-1]})


class _Pair:
    """The shortened upstream and its teacher at the full rate, on one device."""

    def __init__(self, student: WaveformTransform, teacher: Upstream, device: str):
        self.student, self.teacher, self.device = student, teacher, device
        self.factor = student.card.stride // teacher.card.stride

    def frames(self, lengths: Tensor) -> Tensor:
        """(B,) samples -> (B,) frames that both have."""
        whole = self.teacher.frames(lengths) // self.factor
        return torch.minimum(self.student.frames(lengths), whole)

    def errors(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """(B, N), (B,) -> (L + 1, frames): of every depth and frame of the batch."""
        wavs, frames = wavs.to(self.device), self.frames(lengths).to(self.device)
        with torch.no_grad():
            wanted = [self._pooled(state) for state in self.teacher.states(wavs, lengths)]
        found = []
        for told, asked in zip(self.student.states(wavs, lengths), wanted, strict=True):
            time = min(told.shape[1], asked.shape[1])
            error = (_normal(told)[:, :time] - asked[:, :time]).square().mean(-1)
            found.append(error[valid_mask(frames, time)])
        return torch.stack(found)

    def look(self, speech: Utterances) -> dict[str, float]:
        """The mean error over held-out speech, and that of each depth."""
        batches = range(speech.held_out_batches())
        found = torch.cat([self.errors(*speech.held_out_batch(i)) for i in batches], 1).mean(1)
        by_depth = {f"error@{depth}": float(error) for depth, error in enumerate(found)}
        return {"error": float(found.mean()), **by_depth}

    def _pooled(self, state: Tensor) -> Tensor:
        """(B, T, D) -> (B, T // factor, D): means of as many neighbours, normalised."""
        return _normal(F.avg_pool1d(state.mT, self.factor).mT)


def _normal(state: Tensor) -> Tensor:
    return F.layer_norm(state, state.shape[-1:])


def _learner(
    recipe: DownsamplingRecipe, run: TrainingRun, student: WaveformTransform
) -> nn.ModuleDict:
    """What learns, and goes into the file; the rest of the student takes no gradient."""
    student.inner.requires_grad_(False)
    parts = {PARTS[0]: student.shorten}
    if recipe.tune:
        parts[PARTS[1]] = student.inner
        for name, parameter in student.inner.named_parameters():
            parameter.requires_grad_(CONVOLUTIONS not in name)
    learner = nn.ModuleDict(parts)
    if not any(_groups(learner)):
        raise UsageError(
            f"train {run.name}: the filter has nothing to learn, and the backbone is frozen; add "
            "--set tune=yes, or train a convolution: downsampled.conv2"
        )
    return learner


def _groups(learner: nn.ModuleDict) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those that learn, of the filter and of the backbone."""
    of = [learner[part].parameters() if part in learner else () for part in PARTS]
    taps, rest = ([p for p in parameters if p.requires_grad] for parameters in of)
    return taps, rest


def _schedule(recipe: DownsamplingRecipe) -> trainer.Schedule:
    factor = warm_then_linear(recipe.steps, recipe.warmup)
    return trainer.Schedule(recipe.steps, recipe.every, clip=recipe.clip, factor=factor)


def _save(
    learner: nn.ModuleDict,
    student: WaveformTransform,
    recipe: DownsamplingRecipe,
    run: TrainingRun,
    speech: Utterances,
    held_out: dict[str, dict[str, float]],
) -> None:
    """The weights, which name what they are for, and a JSON card beside them."""
    backbone, kind = student.inner.card, run.tag
    write(learner, run.weights, torch.float32, kind=kind, backbone=backbone.revision)
    card = {
        "name": run.weights.stem,
        "revision": content_hash(learner),
        "backbone": backbone.name,
        "backbone_revision": backbone.revision,
        "recipe": asdict(recipe),
        "seed": run.seed,
        "hours": {name: round(hours, 3) for name, hours in speech.sources.items()},
        "held_out": held_out,
    }
    write_text(run.weights.with_suffix(".json"), json.dumps(card, indent=1) + "\n")
