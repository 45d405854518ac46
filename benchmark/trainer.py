"""The one training loop, on Lightning Fabric: a killed run ends like an undisturbed one.

Micro-batch i of a training is a pure function of (seed, i), dropout included, so no random state
needs saving. Fabric places the model, takes gradients and steps. The resume point is written at
each validation, the whole log in it: log.jsonl is for people. One that is damaged, or not of this
training, is set aside, and the training begins anew.
"""

import logging
import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import distributed, resume_points
from .errors import require


def step_seed(seed: int, i: int) -> int:
    """One seed a micro-batch; a large odd factor keeps the streams of neighbouring seeds apart."""
    return (seed * 1_000_003 + i) % 2**63


@dataclass(frozen=True)
class Schedule:
    """How far a training goes, and in which steps.

    Attributes:
        steps: optimiser updates in all.
        every: updates between two validations; there is another validation at the end.
        accumulate: micro-batches of an update, whose gradients are averaged.
        clip: the norm to which each part of the optimiser is clipped by itself: a parameter group,
            or those that name the same `part`.
        factor: update number from 0 -> factor of the learning rates; None = 1.
        annealed: the lines of the log so far -> a further factor for each part of the
            optimiser, asked after every validation (NewBob); None = 1.
    """

    steps: int
    every: int
    accumulate: int = 1
    clip: float = math.inf
    factor: Callable[[int], float] | None = None
    annealed: Callable[[Sequence[Mapping[str, float]]], Sequence[float]] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a training did.

    Attributes:
        resumed: the update it resumed from; 0 = a new training.
        skipped: of each part of the optimiser, the updates that were left out because
            its gradient was not finite.
        log: a line for each validation.
        best: of each name of `save_best` that was ever a number, the update of the best model.
    """

    resumed: int
    skipped: tuple[int, ...]
    log: Sequence[Mapping[str, float]] = ()
    best: Mapping[str, int] = field(default_factory=dict)


def train(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    folder: Path,
    seed: int,
    what: str,
    device: str = "cpu",
    validate: Callable[[], Mapping[str, float]] = dict,
    save_best: Mapping[str, bool] | None = None,
) -> Outcome:
    """Train `model` in `folder`, resuming from what is there.

    Args:
        loss: micro-batch number -> () tensor. Its randomness is seeded before each call.
        folder: of the resume point last.ckpt, the best models, and log.jsonl with a line for each
            validation. What is damaged there is set aside and made again.
        what: is trained, as the progress bar names it.
        validate: called without gradients, in evaluation mode; its numbers go to the log.
        save_best: names among validate()'s numbers -> whether higher is better; best-<name>.ckpt
            holds the best model by that number, or, of a model with a part of that name, that part
            alone.

    Raises:
        MachineError: lightning-fabric is not installed, or `folder` cannot be written.
        UsageError: the processes of a torchrun cannot share a batch equally.
    """
    fabric = _fabric(device)
    resume_points.prepare(folder)
    training = _Training(
        fabric=fabric,
        model=fabric.to_device(model),
        loss=loss,
        optimiser=optimiser,
        schedule=schedule,
        folder=folder,
        seed=seed,
        validate=validate,
        save_best=save_best or {},
    )
    resumed = training.resume(what)
    if resumed < schedule.steps:
        model.train()
        training.run(what)
        model.eval()
    best = {name: step for name, (step, _) in training.best.items()}
    return Outcome(resumed, tuple(training.skipped), training.log, best)


@dataclass
class _Training:
    """One training: what it is made of, and how far it has come."""

    fabric: Any  # lightning_fabric.Fabric
    model: nn.Module
    loss: Callable[[int], Tensor]
    optimiser: torch.optim.Optimizer
    schedule: Schedule
    folder: Path
    seed: int
    validate: Callable[[], Mapping[str, float]]
    save_best: Mapping[str, bool]
    step: int = 0  # optimiser updates done, of this run and the ones before it
    best: dict[str, tuple[int, float]] = field(default_factory=dict)  # name -> update, number
    log: list[dict[str, float]] = field(default_factory=list)
    last_loss: float | Tensor = math.nan
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        groups = self.optimiser.param_groups
        # an optimiser may cut a part, whose gradients are clipped together, into several groups
        self.part_of = [group.get("part", number) for number, group in enumerate(groups)]
        self.parts: list[list[nn.Parameter]] = [[] for _ in range(max(self.part_of) + 1)]
        for part, group in zip(self.part_of, groups, strict=True):
            self.parts[part] += group["params"]
        self.skipped = [0] * len(self.parts)
        self.annealing = [1.0] * len(self.parts)
        factors = [partial(self.factor, part) for part in self.part_of]
        self.rates = torch.optim.lr_scheduler.LambdaLR(self.optimiser, factors)

    def factor(self, part: int, step: int) -> float:
        """Of the learning rate of a part."""
        planned = self.schedule.factor(step) if self.schedule.factor else 1.0
        return planned * self.annealing[part]

    def anneal(self) -> None:
        """Take the factors that follow from the log, which the first process alone has."""
        if self.schedule.annealed is None:
            return
        told = torch.tensor(self.schedule.annealed(self.log), dtype=torch.float64)
        self.annealing = distributed.from_leader(told.to(self.fabric.device)).tolist()
        for number, lr in enumerate(self.rates.base_lrs):
            self.optimiser.param_groups[number]["lr"] = lr * self.factor(
                self.part_of[number], self.step
            )

    @property
    def made_of(self) -> dict[str, float]:
        """What a resume point of this training has in common with it."""
        planned = self.schedule
        names = ("steps", "every", "accumulate", "clip")
        return {"seed": self.seed, **{name: getattr(planned, name) for name in names}}

    def resume(self, what: str) -> int:
        """Load the last resume point, if there is a sound one; returns its update number."""
        point = resume_points.last(
            self.folder, self.made_of, self.model, self.optimiser, self.save_best, what
        )
        if point is not None:
            self.rates.load_state_dict(point["scheduler"])
            self.model.load_state_dict(point["model"])
            self.step, self.skipped, self.log = point["step"], point["skipped"], point["log"]
            self.best = {name: tuple(of) for name, of in point["best"].items()}
            if distributed.is_leader():
                resume_points.write_log(self.folder, self.log)
            self.anneal()
        return self.step

    def run(self, what: str) -> None:
        """Train to the end, with a progress bar on stderr."""
        from tqdm import tqdm

        steps, style = self.schedule.steps, {"unit": "step", "dynamic_ncols": True}
        stepper, tell = (
            self.fabric.setup_optimizers(self.optimiser),
            resume_points.Teller(self.folder),
        )
        with tqdm(
            total=steps, initial=self.step, desc=what, file=sys.stderr, mininterval=1, **style
        ) as bar:
            while self.step < steps:
                self.update(stepper)
                if self.step % 10 == 0:
                    bar.set_postfix(loss=f"{float(self.last_loss):.4g}", refresh=False)
                bar.update(1)
                tell(self.step)
                if self.step % self.schedule.every == 0 or self.step == steps:
                    self.validate_now()
                    self.anneal()

    def update(self, stepper: torch.optim.Optimizer) -> None:
        """One update of the optimiser, from the mean gradient of its micro-batches."""
        each = self.schedule.accumulate
        stepper.zero_grad()
        for i in range(self.step * each, (self.step + 1) * each):
            torch.manual_seed(step_seed(self.seed, i))
            value = self.loss(i)
            self.fabric.backward(value / each)
            self.last_loss = value.detach()
        self.clip_gradients()
        stepper.step()
        self.rates.step()
        self.step += 1

    def clip_gradients(self) -> None:
        distributed.average_gradients(parameter for part in self.parts for parameter in part)
        for number, part in enumerate(self.parts):
            norm = nn.utils.clip_grad_norm_(part, self.schedule.clip)
            if not bool(torch.isfinite(norm)):
                self.skipped[number] += 1
                for parameter in part:
                    parameter.grad = None

    def validate_now(self) -> None:
        """Validate, save the best models, write a line of the log and the resume point.

        One process does it for all.
        """
        if not distributed.is_leader():
            return
        self.model.eval()
        with torch.no_grad():
            scores = {name: float(value) for name, value in self.validate().items()}
        self.model.train()
        for name, higher in self.save_best.items():
            self._save_if_best(name, scores[name], higher)
        line = {
            "step": self.step,
            "loss": round(float(self.last_loss), 5),
            "skipped": max(self.skipped),
            "seconds": round(time.monotonic() - self.started, 1),
            **{k: round(v, 5) for k, v in scores.items()},
        }
        self.log.append(line)
        resume_points.write_log(self.folder, self.log)
        # Last of all: a process killed before this repeats these updates and finds the same best.
        point = {
            "made_of": self.made_of,
            "step": self.step,
            "skipped": self.skipped,
            "best": {name: list(of) for name, of in self.best.items()},
            "log": self.log,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scheduler": self.rates.state_dict(),
        }
        resume_points.save(point, self.folder / resume_points.LAST)

    def _save_if_best(self, name: str, value: float, higher: bool) -> None:
        _, best = self.best.get(name, (0, -math.inf if higher else math.inf))
        better = value > best if higher else value < best
        if better:
            self.best[name] = (self.step, value)
            whole = self.model.state_dict()
            part = {k: v for k, v in whole.items() if k.startswith(f"{name}.")}
            model = {"step": self.step, "value": value, "parameters": part or whole}
            resume_points.save(model, resume_points.best_path(self.folder, name))


def _fabric(device: str) -> Any:
    """Lightning Fabric on one device. It imports torchmetrics to learn its version, which takes
    seconds, for a feature that is not used here: so torchmetrics is hidden from it."""
    hidden = {} if "torchmetrics" in sys.modules else {"torchmetrics": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.modules.update(hidden)
        try:
            lightning = require("lightning_fabric", "training", "train")
        finally:
            for name in hidden:
                del sys.modules[name]
    # it advises TF32 on every GPU, which a run here does without (engine/precision.py)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if device.startswith("cuda"):
        return lightning.Fabric(accelerator="cuda", devices=[torch.device(device).index or 0])
    return lightning.Fabric(accelerator="cpu", devices=1)
