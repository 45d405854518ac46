"""Heads on disk: <folder>/<key>.safetensors has the parameters, <key>.json says how they came.

The JSON is written last: where it is, the head is finished. A head whose training scored no dev
utterance (a learning rate that diverges) has a JSON and no parameters.
"""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import trainer
from ..contract import Metric, Setup, Task
from ..errors import UsageError
from ..report.result import FIX
from ..storage import atomic, write_text
from .heads import Downstream


def finished(folder: Path, key: str) -> bool:
    return _about(folder, key).exists()


def load(
    folder: Path,
    key: str,
    normalise: bool,
    task: Task,
    setup: Setup,
    blocks: int,
    alone: bool = False,
) -> tuple[Downstream, dict[str, Any]]:
    """A trained head in evaluation mode, and what is known of its training."""
    from safetensors.torch import load_file

    head = Downstream(task, setup, blocks, normalise, alone)
    head.load_state_dict(load_file(_parameters(folder, key)))
    return head.eval(), json.loads(_about(folder, key).read_text())


def save_best(
    folder: Path, key: str, name: str, work: Path, metric: Metric, known: Mapping[str, Any]
) -> None:
    """Store the head of the best validation, and then the JSON that says it is finished.

    Args:
        name: of the head, for people.
        work: the folder it was trained in, with a log line and a checkpoint of each validation.
        known: more of its training for the JSON.
    """
    lines = map(json.loads, (work / "log.jsonl").read_text().splitlines())
    values = {line["step"]: line[key] for line in lines}
    scores = {step: value if math.isfinite(value) else None for step, value in values.items()}
    step, value = _best(scores, metric)
    if step is not None:
        parameters = trainer.best(work, key)
        named = {path.removeprefix(f"{key}."): p for path, p in parameters.items()}
        _save(_parameters(folder, key), named)
    about = {
        "name": name,
        "chosen_step": step,
        f"dev_{metric.name}": value,
        "dev_by_step": scores,
        **known,
    }
    write_text(_about(folder, key), json.dumps(about, indent=1) + "\n", FIX)


def choose(folder: Path, keys: Mapping[float, str], task: Task) -> tuple[str, dict[str, Any]]:
    """Of heads that differ in their learning rate alone, the one with the best dev score.

    Args:
        keys: learning rate -> key of its head.
    Returns: the key of the best, and for the row the scores of all.
    Raises: UsageError: none of them scored a dev utterance.
    """
    metric = task.metrics[0]
    dev: dict[float, float | None] = {}
    for lr, key in keys.items():
        dev[lr] = json.loads(_about(folder, key).read_text())[f"dev_{metric.name}"]
    best, _ = _best(dev, metric)
    if best is None:
        rates = ", ".join(f"{lr:g}" for lr in dev)
        raise UsageError(
            f"{task.name}: no dev utterance could be scored ({metric.name} failed on all of them "
            f"at learning rate {rates}), so no checkpoint can be chosen; check the dev split, or "
            "try another --lr"
        )
    tried = {"metric": metric.name, "grid": list(dev), "dev": list(dev.values()), "chosen": best}
    return keys[best], tried


def clear_finished(folder: Path) -> None:
    """Remove resume points of which every head is finished, here or by another process."""
    for heads in folder.glob("unfinished-*/heads"):
        if all(finished(folder, key) for key in heads.read_text().split()):
            shutil.rmtree(heads.parent, ignore_errors=True)


def _best(
    scores: Mapping[float, float | None], metric: Metric
) -> tuple[float, float] | tuple[None, None]:
    """The first of the best (step or learning rate, score); None where none was scored."""
    scored = [(at, value) for at, value in scores.items() if value is not None]
    if not scored:
        return None, None
    sign = 1 if metric.higher_is_better else -1
    return max(scored, key=lambda pair: sign * pair[1])


def _about(folder: Path, key: str) -> Path:
    return folder / f"{key}.json"


def _parameters(folder: Path, key: str) -> Path:
    return folder / f"{key}.safetensors"


def _save(path: Path, state: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save

    with atomic(path, FIX, durable=True) as beside:
        beside.write_bytes(save({name: p.contiguous() for name, p in state.items()}))
