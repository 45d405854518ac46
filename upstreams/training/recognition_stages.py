"""One stage of fine-tuning a recogniser: which losses are added up, who learns, and how the dev
split picks the best weights."""

import logging
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...benchmark import distributed, resume_points, trainer
from ...benchmark.contract import Example, TrainingRun
from ...benchmark.errors import UsageError
from ...benchmark.metrics import Failure, mean
from .optimisers import optimiser
from .recognition_data import Transcripts
from .recognition_learner import Learner
from .recognition_loss import total
from .recognition_recipe import RecognitionRecipe
from .schedules import newbob

log = logging.getLogger("earlyexit_superb")

BEST = "wer"  # of the numbers of a look, the one that picks the weights
PATIENCE = 100  # updates in a row whose loss may be no number
RATES = ("wer", "cer")


@dataclass(frozen=True)
class Stage:
    """A training within the training.

    Attributes:
        name: of its folder.
        steps: optimiser updates.
        weights: by depth, of the losses that are added up.
        backbone: whether it learns, with the heads of these depths; else they alone do.
        head_lr: peak learning rate of the heads; head_optimiser: theirs, "" = the backbone's.
        mean: whether the mean over its exits picks the best weights, not the last one.
    """

    name: str
    steps: int
    weights: Mapping[int, float]
    backbone: bool
    head_lr: float
    head_optimiser: str
    mean: bool


def stages_of(recipe: RecognitionRecipe, depths: Sequence[int]) -> list[Stage]:
    """Of a system with heads at these depths."""
    *exits, last = depths
    by_mean, heads = recipe.best == "mean", (recipe.head_lr, recipe.head_optimiser)
    if recipe.strategy == "joint" or not exits:
        each = dict.fromkeys(exits, recipe.lambda_) | {last: 1.0}
        return [Stage("joint", recipe.steps, each, True, *heads, by_mean)]
    steps, lr = recipe.second_steps or recipe.steps, recipe.second_lr or recipe.head_lr
    second = (lr, recipe.second_optimiser or recipe.head_optimiser)
    again = depths if recipe.second_last else exits
    return [
        Stage("backbone", recipe.steps, {last: 1.0}, True, *heads, by_mean),
        Stage("heads", steps, dict.fromkeys(again, 1.0), False, *second, True),
    ]


@dataclass(frozen=True)
class Progress:
    """What a stage did.

    Attributes:
        kept, last: the looks at which its weights were kept, and at its end.
        skipped: updates left out for a gradient that was no number, of backbone and heads.
    """

    kept: Mapping[str, float]
    last: Mapping[str, float]
    skipped: tuple[int, ...]


class StageTraining:
    """A stage at work, on the device of the run."""

    def __init__(
        self,
        stage: Stage,
        learner: Learner,
        speech: Transcripts,
        recipe: RecognitionRecipe,
        run: TrainingRun,
    ):
        self.stage, self.learner, self.speech = stage, learner, speech
        self.recipe, self.run = recipe, run
        self.lost = 0  # updates in a row without a number for a loss
        depths = set(stage.weights)
        # the last exit's transcript is what the others learn
        self.depths = sorted(depths | ({learner.last} if recipe.kd else set()))
        # made before any stage has trained: of a last exit that learns anew
        self.heads = {} if stage.backbone else deepcopy(self._learning().state_dict())

    def train(self) -> Progress:
        """Train it to its end and put the best weights into the learner."""
        stage = self.stage
        folder = self.run.work / stage.name
        self._hold()
        if self.heads:
            self._learning().load_state_dict(self.heads)
        done = trainer.train(
            self.learner,
            self.loss,
            self._optimiser(),
            self._schedule(),
            folder=folder,
            seed=self.run.seed,
            device=self.run.device,
            validate=self.look,
            save_best={BEST: False},
            what=f"{self.run.name}, {stage.name}: {self.speech.hours:.1f} h",
        )
        self._refuse_nothing_learned(done.skipped)
        with distributed.in_turn():  # the first process writes them
            self.learner.load_state_dict(resume_points.best(folder, BEST))
        if not done.log:  # of another process
            return Progress({}, {}, done.skipped)
        kept = next(line for line in done.log if line["step"] == done.best[BEST])
        return Progress(kept, done.log[-1], done.skipped)

    def _refuse_nothing_learned(self, skipped: Sequence[int]) -> None:
        """UsageError where no update of a part had a gradient that was a number; a notice where
        some had none."""
        left_out, steps = max(skipped, default=0), self.stage.steps
        if left_out >= steps:
            raise UsageError(
                f"train {self.run.name}: none of its {steps} updates had a gradient that was a "
                f"number (nan or infinite), so nothing was learned; {self._smaller}"
            )
        if left_out and distributed.is_leader():
            log.warning(
                f"{left_out} of {steps} updates of {self.run.name}, {self.stage.name}, were left "
                "out: their gradients were no numbers (nan or infinite)"
            )

    @property
    def _smaller(self) -> str:
        lr, head_lr = self.recipe.lr / 10, self.recipe.head_lr / 10
        return (
            f"begin anew with smaller rates, such as --set lr={lr:g} head_lr={head_lr:g}, or with "
            "precision=full"
        )

    def _learning(self) -> nn.ModuleDict:
        heads = self.learner.recogniser.heads
        return nn.ModuleDict({str(depth): heads[str(depth)] for depth in self.stage.weights})

    def _hold(self) -> None:
        """What does not learn in this stage takes no gradient."""
        learner, stage = self.learner, self.stage
        heads = learner.recogniser.heads
        learner.held = not stage.backbone
        if learner.held:
            for parameter in learner.backbone():
                parameter.requires_grad_(False)
        for depth, head in heads.items():
            head.requires_grad_(int(depth) in stage.weights)

    def _optimiser(self) -> torch.optim.Optimizer:
        stage, groups = self.stage, self.learner.groups()
        return optimiser(self.recipe, *groups, stage.head_lr, stage.head_optimiser)

    def _schedule(self) -> trainer.Schedule:
        recipe, steps = self.recipe, self.stage.steps

        def annealed(log: Sequence[Mapping[str, float]]) -> list[float]:
            factors = (recipe.annealing, recipe.head_annealing)[not self.stage.backbone :]
            return [newbob(log, "dev_loss", factor, recipe.improvement) for factor in factors]

        return trainer.Schedule(
            steps,
            recipe.every,
            recipe.accumulate,
            recipe.clip or math.inf,
            recipe.factor(steps),
            annealed if recipe.schedule == "newbob" else None,
        )

    def loss(self, i: int) -> Tensor:
        """Of micro-batch i. UsageError where it has been no number for long."""
        batch, recogniser = self.speech.batch(i), self.learner.recogniser
        update = i // self.recipe.accumulate
        frozen = not self.stage.backbone or update < self.recipe.freeze
        heard = self.learner.hear(batch, self.depths, self.run.device, frozen)
        value = total(self.recipe, heard, batch, recogniser, self.stage.weights)
        self.lost = 0 if bool(torch.isfinite(value)) else self.lost + 1
        if self.lost > PATIENCE * self.recipe.accumulate:
            raise UsageError(
                f"train {self.run.name}: the loss of {PATIENCE} updates in a row was no number "
                f"(nan or infinite), up to update {update}; {self._smaller}"
            )
        return value

    def look(self) -> dict[str, float]:
        """Of the dev split: the mean loss of an utterance, and every exit's error rates."""
        found: dict[str, list] = {f"{kind}@{k}": [] for k in self.stage.weights for kind in RATES}
        loss, count, recogniser = 0.0, 0, self.learner.recogniser
        for batch in self.speech.dev():
            heard = self.learner.hear(batch, self.depths, self.run.device)
            value = float(total(self.recipe, heard, batch, recogniser, self.stage.weights))
            loss += value * (1 if self.recipe.per == "batch" else batch.of_all)
            count += batch.of_all
            for depth in self.stage.weights:
                answers = recogniser.answer(depth, heard.states[depth].float(), heard.frames)
                for answer, text in zip(answers, batch.texts, strict=True):
                    told = recogniser.decode(answer.cpu(), "asr")
                    for kind, rate in self._judged(told, text).items():
                        found[f"{kind}@{depth}"].append(rate)
        rates = {name: mean(values) for name, values in found.items()}
        by_depth = [rates[f"wer@{depth}"] for depth in self.stage.weights]
        chosen = sum(by_depth) / len(by_depth) if self.stage.mean else by_depth[-1]
        return {BEST: chosen, "dev_loss": loss / count, **rates}

    def _judged(self, told: str, text: str) -> dict[str, Any]:
        task = self.speech.task
        known = Example("", torch.empty(0), text)
        judged = task.judge(told, known, task.protocols[task.default])
        return {kind: judged[kind] for kind in RATES if not isinstance(judged[kind], Failure)}
