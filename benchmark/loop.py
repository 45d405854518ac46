"""The one training loop: PyTorch Lightning's, set up so that a killed run ends with the numbers of an undisturbed one.

Micro-batch i of a training is a pure function of (seed, i), dropout included, so no random state needs saving. Lightning
steps, accumulates, clips and casts. The resume point is ours, a plain dictionary written at each look at the dev split
(beside its place, then renamed; read with weights_only), because Lightning's own restarts inside an epoch repeat batches.
"""
import contextlib
import json
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import ranks
from .errors import MachineError, need


def step_seed(seed: int, i: int) -> int:
    """One seed a micro-batch; a large odd factor keeps the streams of neighbouring seeds apart."""
    return (seed * 1_000_003 + i) % 2**63


def train(model: nn.Module, loss: Callable[[int], Tensor], optimiser: torch.optim.Optimizer, *, steps: int, every: int,
          folder: Path, seed: int, what: str, look: Callable[[], Mapping[str, float]] = dict,
          keep: Mapping[str, bool] | None = None, accumulate: int = 1, clip: float = math.inf,
          clip_groups: Sequence[Sequence[nn.Parameter]] | None = None, schedule: Callable[[int], float] | None = None,
          precision: str = "32-true", device: str = "cpu") -> dict[str, Any]:
    """Train `model` in `folder`, going on from what is there.

    Args:
        loss: micro-batch number -> scalar. Its randomness is seeded before each call.
        steps, every: optimiser updates in all, and between two looks.
        look: called every `every` updates and at the end; its numbers go to log.jsonl.
        keep: names among look()'s numbers -> whether higher is better; best-<name>.ckpt holds that best model, or of a model
            with a part of that name that part alone.
        clip, clip_groups: each group of parameters is clipped to this norm by itself (default: all in one group);
            a group whose gradient is not finite sits that update out, and is counted.
        schedule: update number -> factor on the learning rate.
    Returns: {"skipped": updates that each group sat out, "resumed": the update it went on from}
    """
    lightning = _lightning()
    folder.mkdir(parents=True, exist_ok=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule or (lambda _: 1.0))
    course = _Course(model, loss, optimiser, scheduler, folder, seed, look, keep or {}, accumulate, clip,
                     clip_groups or [list(model.parameters())])
    resumed = course.resume()
    if resumed < steps:
        model.train()
        cuda = device.startswith("cuda")
        trainer = lightning.Trainer(
            max_steps=steps - resumed, max_epochs=-1, accumulate_grad_batches=accumulate, precision=precision,
            accelerator="gpu" if cuda else "cpu", devices=[torch.device(device).index or 0] if cuda else 1,
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[_watch(lightning, course, steps, every, what)])
        trainer.fit(_module(lightning, course, steps))
        model.eval()
    return {"skipped": course.skipped, "resumed": resumed}


@dataclass
class _Course:
    """One training: what it is made of, and how far it has come."""
    model: nn.Module
    loss: Callable[[int], Tensor]
    optimiser: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LambdaLR
    folder: Path
    seed: int
    look: Callable[[], Mapping[str, float]]
    keep: Mapping[str, bool]
    accumulate: int
    clip: float
    groups: Sequence[Sequence[nn.Parameter]]
    step: int = 0                   # optimiser updates done, of this run and the ones before it
    skipped: list[int] = field(default_factory=list)    # updates that each group sat out
    best: dict[str, float] = field(default_factory=dict)
    last_loss: float | Tensor = math.nan
    started: float = field(default_factory=time.monotonic)

    def resume(self) -> int:
        """Take up the last resume point, if there is one; the update it stands at."""
        self.skipped = [0] * len(self.groups)
        last = self.folder / "last.ckpt"
        if last.exists():
            point = torch.load(last, map_location="cpu", weights_only=True)
            for name in ("model", "optimiser", "scheduler"):
                getattr(self, name).load_state_dict(point[name])
            self.step, self.skipped, self.best = point["step"], point["skipped"], point["best"]
        return self.step

    def value(self, i: int) -> Tensor:
        torch.manual_seed(step_seed(self.seed, i))
        value = self.loss(i)
        self.last_loss = value.detach()
        return value

    def clip_gradients(self) -> None:
        ranks.average_gradients(parameter for group in self.groups for parameter in group)
        for number, group in enumerate(self.groups):
            norm = nn.utils.clip_grad_norm_(group, self.clip)
            if not bool(torch.isfinite(norm)):
                self.skipped[number] += 1
                for parameter in group:
                    parameter.grad = None

    def look_now(self) -> None:
        """A look at the dev split, the best models, a line of the log and the resume point; one process does it for all."""
        if not ranks.leads():
            return
        self.model.eval()
        with torch.no_grad():
            looked = {name: float(value) for name, value in self.look().items()}
        self.model.train()
        for name, higher in self.keep.items():
            so_far = self.best.get(name, -math.inf if higher else math.inf)
            if looked[name] > so_far if higher else looked[name] < so_far:
                self.best[name] = looked[name]
                whole = self.model.state_dict()
                save({k: v for k, v in whole.items() if k.startswith(f"{name}.")} or whole, self.folder / f"best-{name}.ckpt")
        line = {"step": self.step, "loss": round(float(self.last_loss), 5), "skipped": sum(self.skipped),
                "seconds": round(time.monotonic() - self.started, 1), **{k: round(v, 5) for k, v in looked.items()}}
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        # last of all: whoever is killed before this line repeats the stretch and finds the same best again
        save({"step": self.step, "skipped": self.skipped, "best": self.best, "model": self.model.state_dict(),
              "optimiser": self.optimiser.state_dict(), "scheduler": self.scheduler.state_dict()}, self.folder / "last.ckpt")


def _module(lightning, course: _Course, steps: int):
    """The training as Lightning wants to see it."""
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = course.model

        def train_dataloader(self):
            return torch.utils.data.DataLoader(range(course.step * course.accumulate, steps * course.accumulate), batch_size=None)

        def training_step(self, i, _):
            return course.value(int(i))

        def configure_gradient_clipping(self, *_, **__):
            course.clip_gradients()

        def configure_optimizers(self):
            return [course.optimiser], [{"scheduler": course.scheduler, "interval": "step"}]
    return Module()


def _watch(lightning, course: _Course, steps: int, every: int, what: str):
    """A bar with ETA on stderr, and a look every `every` updates and at the end."""
    resumed = course.step

    class Watch(lightning.Callback):
        def on_train_start(self, *_):
            from tqdm import tqdm
            self.bar = tqdm(total=steps, initial=resumed, desc=what, file=sys.stderr, unit="step", dynamic_ncols=True, mininterval=1)

        def on_train_batch_end(self, trainer, *_):
            step = resumed + trainer.global_step
            if step == course.step:
                return
            course.step = step
            if step % 10 == 0:
                self.bar.set_postfix(loss=f"{float(course.last_loss):.4g}", refresh=False)
            self.bar.update(1)
            if step % every == 0 or step == steps:
                course.look_now()

        def on_train_end(self, *_):
            self.bar.close()
    return Watch()


def best(folder: Path, name: str) -> dict[str, Tensor]:
    """The parameters of best-<name>.ckpt."""
    return torch.load(folder / f"best-{name}.ckpt", map_location="cpu", weights_only=True)


def save(state: Mapping, path: Path) -> None:
    """Plain data and tensors to `path`, whole or not at all."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        torch.save(state, beside)
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        with contextlib.suppress(OSError):
            beside.unlink()
        raise MachineError(f"{path} cannot be written ({error}); free some space or choose another folder and repeat the "
                           "command: it goes on from the last checkpoint") from error


def _lightning():
    """The library, without its tips and its dependencies' deprecations on our users' terminals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lightning = need("pytorch_lightning", "training", "pip install -c constraints.txt pytorch-lightning")
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return lightning
