"""Train the heads of a run side by side, each on what its own exits let through.

All heads see the same batches of recorded states, each truncated at its own exit depths. Their
parameters, gradient norms and random streams are separate, so a head's numbers do not depend on
which others are trained beside it.
"""

import contextlib
import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import trainer
from ..contract import Example, Item, Metric, Protocol, Setup, Task
from ..errors import UsageError
from ..exiting import TruncatedWeightedSum
from ..metrics import Failure, mean
from ..report.result import FIX
from ..storage import atomic, locked, write_text
from .feature_cache import FeatureCache

SMALL = 2_000_000  # parameters of a head
MEMORY = 8 * 2**30  # bytes for the heads that are trained side by side


@dataclass(frozen=True)
class Plan:
    """One head to train."""

    name: str  # for people: "full", "rho 0.7"
    normalise: bool
    lr: float
    train: np.ndarray  # (n,) exit depth of every training utterance
    dev: np.ndarray  # (n,) of every dev utterance, by the same rule

    def key(self, *context) -> str:
        """A hash of all that the trained numbers depend on."""
        digest = hashlib.sha256(
            json.dumps([self.normalise, self.lr, *context], sort_keys=True, default=str).encode()
        )
        digest.update(self.train.astype(np.int64).tobytes() + self.dev.astype(np.int64).tobytes())
        return digest.hexdigest()[:16]


class Downstream(nn.Module):
    """Weighted sum and head, the trainable part of one row."""

    def __init__(self, task: Task, setup: Setup, blocks: int, normalise: bool):
        super().__init__()
        self.mix = TruncatedWeightedSum(blocks + 1, normalise)
        self.head = task.head(setup)

    def forward(self, states: Tensor, depth: Tensor, frames: Tensor, samples: Tensor) -> Tensor:
        """(L', B, T, D) states, layer-normed already if this readout asks for it -> a prediction a
        row.
        """
        return self.head(self.mix.weighted(states, depth), frames, samples)


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
    """Train what is missing of `plans` (by key); <folder>/<key>.safetensors and .json hold each
    result.

    A head whose training scored no dev utterance (a learning rate that diverges) leaves a
    JSON and no weights.
    """
    together = side_by_side(task, setup, train.upstream.card.depth)
    while missing := dict(
        islice(
            ((key, plan) for key, plan in plans.items() if not (folder / f"{key}.json").exists()),
            together,
        )
    ):
        with _claimed(missing, folder) as mine:
            if mine:
                _train(
                    {key: missing[key] for key in mine},
                    task,
                    setup,
                    train,
                    dev,
                    folder,
                    seed,
                    device,
                )
    _clear(folder)


def side_by_side(task: Task, setup: Setup, blocks: int) -> int:
    """How many heads MEMORY holds at a time: parameter, gradient and Adam's two moments take 16
    bytes.
    """
    return max(1, MEMORY // (16 * parameters(task, setup, blocks)))


def small(task: Task, setup: Setup, blocks: int) -> bool:
    """Whether a head has so little to do in one step that threads would wait for each other."""
    return parameters(task, setup, blocks) < SMALL


def parameters(task: Task, setup: Setup, blocks: int) -> int:
    """How many a head has; none is made."""
    with torch.device("meta"):
        return sum(p.numel() for p in Downstream(task, setup, blocks, True).parameters())


@contextlib.contextmanager
def _claimed(missing: Mapping[str, Plan], folder: Path) -> Iterator[list[str]]:
    """Of the missing heads, those that no other process is training; where all are taken, the first
    as soon as it is free.
    """
    with contextlib.ExitStack() as stack:
        mine = [
            key
            for key in missing
            if stack.enter_context(locked(folder / f"{key}.lock", wait=False))
        ]
        if not mine:
            first = next(iter(missing))
            stack.enter_context(locked(folder / f"{first}.lock", f"the head {missing[first].name}"))
            mine = [first]
        yield [key for key in mine if not (folder / f"{key}.json").exists()]


def _train(
    missing: Mapping[str, Plan],
    task: Task,
    setup: Setup,
    train: FeatureCache,
    dev: FeatureCache,
    folder: Path,
    seed: int,
    device: str,
) -> None:
    protocol, blocks, readouts = setup.protocol, train.upstream.card.depth, nn.ModuleDict()
    for key, plan in missing.items():
        torch.manual_seed(seed)
        readouts[key] = Downstream(task, setup, blocks, plan.normalise)
    readouts.to(device)
    metric = task.metrics[0]
    buckets = (
        in_buckets([item.samples for item in train.items], protocol.bucket)
        if protocol.bucket
        else []
    )

    def loss(i: int) -> Tensor:
        rows = (
            buckets[batch_rows(len(buckets), 1, seed, i)[0]]
            if buckets
            else batch_rows(len(train.items), protocol.batch, seed, i)
        )
        examples, batch = [example(task, train.items[r]) for r in rows], train.batch(rows)
        total = torch.zeros((), device=device)
        for key, plan in missing.items():
            torch.manual_seed(
                trainer.step_seed(seed, i)
            )  # the same dropout whoever else is trained
            prediction = readouts[key](
                batch.states[plan.normalise],
                torch.from_numpy(plan.train[rows]),
                batch.frames,
                batch.samples,
            )
            total = total + task.loss(prediction, examples, batch.frames, setup)
        return total

    def look() -> dict[str, float]:
        values: dict[str, list] = {key: [] for key in missing}
        for row, item in enumerate(dev.items):
            compared, batch = example(task, item), dev.batch([row])
            for key, plan in missing.items():
                prediction = readouts[key](
                    batch.states[plan.normalise],
                    torch.from_numpy(plan.dev[[row]]),
                    batch.frames,
                    batch.samples,
                )
                value = (task.select or task.score)(
                    prediction[0], compared, int(batch.frames[0]), setup
                )[metric.name]
                if not isinstance(value, Failure):
                    values[key].append(value)
        return {key: mean(v) if v else float("nan") for key, v in values.items()}

    group = hashlib.sha256("".join(sorted(missing)).encode()).hexdigest()[:16]
    work = folder / f"unfinished-{group}"
    write_text(work / "heads", "\n".join(sorted(missing)) + "\n", FIX)
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if device == "cpu" and small(task, setup, blocks) else threads)
    rates = [{"params": readouts[key].parameters(), "lr": plan.lr} for key, plan in missing.items()]
    schedule = trainer.Schedule(
        protocol.steps, protocol.eval_every, protocol.accumulate, protocol.clip
    )
    done = trainer.train(
        readouts,
        loss,
        _optimiser(protocol, rates),
        schedule,
        folder=work,
        seed=seed,
        device=device,
        look=look,
        keep=dict.fromkeys(missing, metric.higher_is_better),
        what=f"{task.name} heads: " + ", ".join(plan.name for plan in missing.values()),
    )
    torch.set_num_threads(threads)
    for (key, plan), skipped in zip(missing.items(), done.skipped, strict=True):
        _save_best(
            folder,
            key,
            plan,
            work,
            metric,
            {
                "steps": protocol.steps,
                "seed": seed,
                "updates_skipped": skipped,
                "protocol": asdict(replace(protocol, lr=plan.lr)),
            },
        )


def _save_best(
    folder: Path, key: str, plan: Plan, work: Path, metric: Metric, known: Mapping[str, Any]
) -> None:
    """The best model of one head, and then the JSON that says it is finished."""
    looks = {
        line["step"]: line[key]
        for line in map(json.loads, (work / "log.jsonl").read_text().splitlines())
    }
    scores = {step: value if math.isfinite(value) else None for step, value in looks.items()}
    best = max(
        ((step, value) for step, value in scores.items() if value is not None),
        key=lambda at: at[1] if metric.higher_is_better else -at[1],
        default=(None, None),
    )
    if best[0] is not None:
        _save(
            folder / f"{key}.safetensors",
            {k.removeprefix(f"{key}."): v for k, v in trainer.best(work, key).items()},
        )
    write_text(
        folder / f"{key}.json",
        json.dumps(
            {
                "name": plan.name,
                "chosen_step": best[0],
                f"dev_{metric.name}": best[1],
                "dev_by_step": scores,
                **known,
            },
            indent=1,
        )
        + "\n",
        FIX,
    )


def choose(folder: Path, keys: Mapping[float, str], task: Task) -> tuple[str, dict[str, Any]]:
    """Of heads that differ in their learning rate alone, the key of the one the dev split likes
    best, and how all of them did.
    """
    metric = task.metrics[0]
    dev = {
        lr: json.loads((folder / f"{key}.json").read_text())[f"dev_{metric.name}"]
        for lr, key in keys.items()
    }
    scored = {
        lr: value if metric.higher_is_better else -value
        for lr, value in dev.items()
        if value is not None
    }
    if not scored:
        raise UsageError(
            f"{task.name}: no dev utterance could be scored ({metric.name} failed on all of them "
            f"at learning rate {', '.join(f'{lr:g}' for lr in dev)}), so no checkpoint can be "
            "chosen; check the dev split, or try another --lr"
        )
    best = max(scored, key=scored.get)
    return keys[best], {
        "metric": metric.name,
        "grid": list(dev),
        "dev": list(dev.values()),
        "chosen": best,
    }


def _clear(folder: Path) -> None:
    """Remove resume points of which every head is finished, here or by somebody else."""
    for heads in folder.glob("unfinished-*/heads"):
        if all((folder / f"{key}.json").exists() for key in heads.read_text().split()):
            shutil.rmtree(heads.parent, ignore_errors=True)


def load(
    folder: Path, key: str, normalise: bool, task: Task, setup: Setup, blocks: int
) -> tuple[Downstream, dict]:
    """A trained readout and what is known of its training."""
    from safetensors.torch import load_file

    readout = Downstream(task, setup, blocks, normalise)
    readout.load_state_dict(load_file(folder / f"{key}.safetensors"))
    return readout.eval(), json.loads((folder / f"{key}.json").read_text())


def batch_rows(n: int, batch: int, seed: int, i: int) -> list[int]:
    """Micro-batch i as row numbers: every epoch a fresh order, a function of
    seed and epoch alone.
    """
    epoch, j = divmod(i, -(-n // batch))
    return np.random.default_rng([seed, epoch]).permutation(n)[j * batch : (j + 1) * batch].tolist()


def in_buckets(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Row numbers, longest first, in batches of half a bucket; the last bucket, if it is not full,
    stays whole or is too small to count.

    s3prl/downstream/asr/dataset.py halves every full bucket: it compares samples with a
    limit meant for frames.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    full, half = len(order) // size * size, size // 2
    batches = [
        batch
        for j in range(0, full, size)
        for batch in (order[j : j + half], order[j + half : j + size])
        if batch
    ]
    return batches + ([order[full:]] if len(order) - full > 1 or not full else [])


def example(task: Task, item: Item) -> Example:
    """What loss and score compare with; no audio is opened for a task that needs none of it."""
    return Example(item.id, torch.empty(0), task.target(item)) if task.target else task.load(item)


def _optimiser(protocol: Protocol, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """s3prl/optimizers.py: torch's Adam, or its own AdamW, whose defaults are eps 1e-7 and no
    decay.
    """
    if protocol.optimiser not in ("adam", "adamw"):
        raise UsageError(
            f"protocol {protocol.name}: optimiser is adam or adamw, not {protocol.optimiser!r}"
        )
    return torch.optim.Adam(groups, eps=1e-8 if protocol.optimiser == "adam" else 1e-7)


def _save(path: Path, state: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save

    with atomic(path, FIX, durable=True) as beside:
        beside.write_bytes(save({k: v.contiguous() for k, v in state.items()}))
