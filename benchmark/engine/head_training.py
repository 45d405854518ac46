"""Train the heads of a run side by side, each on what its own exits let through.

All heads see the same batches of stored states, each truncated at its own exit depths. Their
parameters, gradient norms and random streams are separate, so a head's numbers do not depend on
which others are trained beside it.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import trainer
from ..contract import Protocol, Setup, Task
from ..errors import UsageError
from ..metrics import Failure, mean
from ..storage import locked
from .feature_cache import Batch, FeatureCache
from .head_batches import batches
from .head_files import begin, clear_finished, finished, save_best, set_damaged_aside
from .heads import Downstream, Plan, example, side_by_side, small
from .standardise import statistics
from .threads import one_thread
from .timing import hardware


def fit(
    plans: Mapping[str, Plan],
    task: Task,
    setup: Setup,
    train: FeatureCache,
    dev: FeatureCache,
    folder: Path,
    seed: int,
    device: str = "cpu",
) -> None:
    """Train what is missing of `plans` (by key) and store it in `folder`; see `head_files`.

    Other processes may work on the same heads: each is trained by one of them.

    Raises:
        UsageError: the protocol names an unknown optimiser.
        MachineError: the folder cannot be written.
    """
    most = side_by_side(task, setup, train.upstream.card.depth)

    def missing() -> dict[str, Plan]:
        left = ((key, plan) for key, plan in plans.items() if not finished(folder, key))
        return dict(islice(left, most))

    while group := missing():
        with _claimed(group, folder) as mine:
            if mine:
                claimed = {key: group[key] for key in mine}
                _train(HeadGroup(claimed, task, setup, train, dev, seed, device), folder)
    clear_finished(folder)


@dataclass(frozen=True)
class HeadGroup:
    """Heads that are trained side by side, and what they are trained on.

    Attributes:
        plans: by key.
        train, dev: features of the splits.
    """

    plans: Mapping[str, Plan]
    task: Task
    setup: Setup
    train: FeatureCache
    dev: FeatureCache
    seed: int
    device: str

    @property
    def blocks(self) -> int:
        return self.train.upstream.card.depth

    @cached_property
    def heads(self) -> nn.ModuleDict:
        """New heads by key, each from the same seed."""
        made = nn.ModuleDict()
        for key, plan in self.plans.items():
            torch.manual_seed(self.seed)
            made[key] = Downstream(self.task, self.setup, self.blocks, plan.normalise, plan.alone)
            if self.setup.protocol.standardise_states:
                made[key].standardise.measure(statistics(self.train)[plan.normalise])
        return made.to(self.device)

    @property
    def name(self) -> str:
        return f"{self.task.name} heads: " + ", ".join(plan.name for plan in self.plans.values())

    def prepared(self, features: FeatureCache, rows: Sequence[int]) -> Batch:
        """A batch as the heads want it, each kind of its states prepared once for all of them."""
        batch = features.batch(rows)
        readers = {plan.normalise: self.heads[key] for key, plan in self.plans.items()}
        states = {kind: head.prepared(batch.states[kind]) for kind, head in readers.items()}
        return replace(batch, states=states)

    def predict(self, key: str, batch: Batch, depth: np.ndarray) -> Tensor:
        """Predictions of one head.

        Args:
            batch: `prepared`; depth: (B,) exit depths.
        """
        states = batch.states[self.plans[key].normalise]
        return self.heads[key](states, torch.from_numpy(depth), batch.frames, batch.samples)

    def loss(self, i: int, rows: list[int]) -> Tensor:
        """The sum of all heads' losses on micro-batch i; each head's gradient is its own."""
        examples = [example(self.task, self.train.items[row]) for row in rows]
        batch = self.prepared(self.train, rows)
        total = torch.zeros((), device=self.device)
        for key, plan in self.plans.items():
            # the same dropout whichever heads are trained beside it
            torch.manual_seed(trainer.step_seed(self.seed, i))
            prediction = self.predict(key, batch, plan.depths(rows))
            total = total + self.task.loss(prediction, examples, batch.frames, self.setup)
        return total

    def validate(self) -> dict[str, float]:
        """Each head's mean dev score by the task's first metric; NaN where none was scored."""
        score = self.task.select or self.task.score
        values: dict[str, list[Any]] = {key: [] for key in self.plans}
        for row, item in enumerate(self.dev.items):
            compared, batch = example(self.task, item), self.prepared(self.dev, [row])
            frames = int(batch.frames[0])
            for key, plan in self.plans.items():
                prediction = self.predict(key, batch, plan.dev[[row]])
                scores = score(prediction[0], compared, frames, self.setup)
                value = scores[self.task.metrics[0].name]
                if not isinstance(value, Failure):
                    values[key].append(value)
        return {key: mean(v) if v else float("nan") for key, v in values.items()}


@contextlib.contextmanager
def _claimed(missing: Mapping[str, Plan], folder: Path) -> Iterator[list[str]]:
    """Of the missing heads, those that no other process is training; where all are taken, the first
    as soon as it is free.
    """
    with contextlib.ExitStack() as stack:
        mine = []
        for key in missing:
            if stack.enter_context(locked(folder / f"{key}.lock", wait=False)):
                mine.append(key)
        if not mine:
            first = next(iter(missing))
            stack.enter_context(locked(folder / f"{first}.lock", f"the head {missing[first].name}"))
            mine = [first]
        mine = [key for key in mine if not finished(folder, key)]
        for key in mine:
            set_damaged_aside(folder, key)
        yield mine


def _train(group: HeadGroup, folder: Path) -> None:
    """Train a group to its end and store its heads in `folder`."""
    protocol, metric = group.setup.protocol, group.task.metrics[0]
    work = begin(folder, list(group.plans))
    rows = batches(group.train.items, protocol, group.seed)
    few = small(group.task, group.setup, group.blocks)
    with one_thread(group.device, few):
        done = trainer.train(
            group.heads,
            lambda i: group.loss(i, rows(i)),
            _optimiser(group),
            _schedule(protocol),
            folder=work,
            seed=group.seed,
            device=group.device,
            validate=group.validate,
            save_best=dict.fromkeys(group.plans, metric.higher_is_better),
            what=group.name,
        )
    skipped = np.reshape(done.skipped, (len(group.plans), -1)).max(1).tolist()
    for (key, plan), count in zip(group.plans.items(), skipped, strict=True):
        known = {
            "steps": protocol.steps,
            "seed": group.seed,
            "device": hardware(group.device),
            "updates_skipped": count,
            "protocol": asdict(replace(protocol, lr=plan.lr)),
        }
        save_best(folder, key, plan.name, work, metric, done, known)


def _schedule(protocol: Protocol) -> trainer.Schedule:
    def left(step: int) -> float:
        return 1 - step / protocol.steps

    return trainer.Schedule(
        protocol.steps,
        protocol.eval_every,
        protocol.accumulate,
        protocol.clip,
        left if protocol.decay else None,
    )


def _optimiser(group: HeadGroup) -> torch.optim.Optimizer:
    """As many parameter groups for each head as `_parameter_groups` makes of it.

    s3prl/optimizers.py: torch's Adam, or its own AdamW, whose defaults are eps 1e-7 and no decay.
    """
    protocol = group.setup.protocol
    if protocol.optimiser not in ("adam", "adamw"):
        raise UsageError(
            f"protocol {protocol.name}: optimiser is adam or adamw, not {protocol.optimiser!r}"
        )
    parameters = [
        part
        for key, plan in group.plans.items()
        for part in _parameter_groups(group.heads[key], plan.lr, protocol.sum_lr)
    ]
    return torch.optim.Adam(parameters, eps=1e-8 if protocol.optimiser == "adam" else 1e-7)


def _parameter_groups(head: Downstream, lr: float, sum_lr: float) -> list[dict[str, Any]]:
    """All of a head at its learning rate, as published; or its weighted sum by itself."""
    if sum_lr == 1:
        return [{"params": head.parameters(), "lr": lr}]
    return [
        {"params": head.head.parameters(), "lr": lr},
        {"params": head.featurizer.parameters(), "lr": lr * sum_lr},
    ]
