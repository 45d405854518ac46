"""Heads on disk: <folder>/<key>.safetensors has the parameters, <key>.json says how they came.

The JSON is written last: where it is, the head is finished. It has a digest of itself and one of
the parameters; a head that is not what they say, or has none, is set aside and trained again
(`older_heads.py` writes those of heads that an older version finished). A head whose training
scored no dev utterance (a learning rate that diverges) has a JSON and no parameters.
"""

import contextlib
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import resume_points
from ..contract import Metric, Setup, Task
from ..errors import MachineError, UsageError
from ..report.result import FIX
from ..soundness import file_digest, is_file, reading, remove, sealed, set_aside, unsealed
from ..storage import atomic, write_text
from ..trainer import Outcome
from .heads import Downstream

PARAMETERS = "parameters_digest"  # in the JSON; null where there are none


def finished(folder: Path, key: str) -> bool:
    """Whether a head is there, undamaged."""
    return _known(folder, key) is not None


def forget(folder: Path, key: str) -> None:
    """Have a head trained again."""
    remove(about_path(folder, key))


def set_damaged_aside(folder: Path, key: str) -> None:
    """Make way for a head that is not finished; the caller holds its lock."""
    about, parameters = about_path(folder, key), parameters_path(folder, key)
    if os.path.lexists(about) and not finished(folder, key):
        sound = PARAMETERS in (unsealed(about) or {})
        hurt, beside = (parameters, about) if sound else (about, parameters)
        set_aside(hurt, "is damaged, or is an older version's that does not fit")
        set_aside(beside, f"belongs to {hurt.name}")
    elif os.path.lexists(parameters) and not is_file(parameters):
        set_aside(parameters, "is no file")


def _known(folder: Path, key: str) -> dict[str, Any] | None:
    """What the JSON of a finished head says; None where there is none or it is damaged."""
    about = unsealed(about_path(folder, key))
    if about is None or PARAMETERS not in about:
        return None
    digest, path = about.pop(PARAMETERS), parameters_path(folder, key)
    return about if digest is None or digest == _digest_of(path) else None


def _expected(folder: Path, key: str) -> dict[str, Any]:
    """The same of a head that was finished a moment ago."""
    known = _known(folder, key)
    if known is None:
        raise MachineError(
            f"the head {about_path(folder, key)} was removed or damaged while it was in use; "
            "repeat the command, which trains it again"
        )
    return known


def _digest_of(path: Path) -> str:
    if not is_file(path):
        return ""
    with reading(path):
        stat = path.stat()
    return _remembered(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)  # one command asks for the same heads dozens of times
def _remembered(path: Path, *stat: int) -> str:
    return file_digest(path)


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

    known = _expected(folder, key)
    head = Downstream(task, setup, blocks, normalise, alone)
    head.load_state_dict(load_file(parameters_path(folder, key)))
    return head.eval(), known


def save_best(
    folder: Path,
    key: str,
    name: str,
    work: Path,
    metric: Metric,
    done: Outcome,
    known: Mapping[str, Any],
) -> None:
    """Store the head of the best validation, and then the JSON that says it is finished.

    Args:
        name: of the head, for people.
        work: the folder it was trained in, with a checkpoint of the best validation.
        done: its training, with a line for each validation.
        known: more of its training for the JSON.
    """
    values = {int(line["step"]): line[key] for line in done.log}
    scores = {step: value if math.isfinite(value) else None for step, value in values.items()}
    step = done.best.get(key)
    if step is not None:
        parameters = resume_points.best(work, key)
        named = {path.removeprefix(f"{key}."): p for path, p in parameters.items()}
        _save(parameters_path(folder, key), named)
    about = {
        "name": name,
        "chosen_step": step,
        f"dev_{metric.name}": None if step is None else scores[step],
        "dev_by_step": scores,
        **known,
        PARAMETERS: None if step is None else file_digest(parameters_path(folder, key)),
    }
    write_text(about_path(folder, key), sealed(about), FIX)


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
        dev[lr] = _expected(folder, key)[f"dev_{metric.name}"]
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


def work_folder(folder: Path, keys: Sequence[str]) -> Path:
    """Where heads are trained side by side: the folder of their resume points."""
    digest = hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()
    return folder / f"unfinished-{digest[:16]}"


def begin(folder: Path, keys: Sequence[str]) -> Path:
    """The same, made, with the list of its heads in it."""
    work = work_folder(folder, keys)
    resume_points.prepare(work)
    listed = work / "heads"
    if os.path.lexists(listed) and not listed.is_file():
        set_aside(listed, "is no file")
    write_text(listed, "\n".join(sorted(keys)) + "\n", FIX)
    return work


def clear_finished(folder: Path) -> None:
    """Remove resume points of which every head is finished, here or by another process."""
    for work in folder.glob("unfinished-*"):
        heads = work / "heads"
        try:
            keys = heads.read_text("utf-8").split() if heads.is_file() else []
        except (OSError, ValueError):
            continue
        # a list that was cut speaks of fewer heads
        whole = bool(keys) and work.name.startswith(work_folder(folder, keys).name)
        if whole and all(finished(folder, key) for key in keys):
            _remove(work, heads)
        elif not keys:
            with contextlib.suppress(OSError):  # empty: its removal or its beginning was cut short
                work.rmdir()


def _remove(work: Path, heads: Path) -> None:
    """The list last of all: a process that is killed here leaves a folder that says what it is."""
    with contextlib.suppress(OSError, MachineError):
        for path in [*(path for path in work.iterdir() if path != heads), heads]:
            remove(path)
        work.rmdir()


def _best(
    scores: Mapping[float, float | None], metric: Metric
) -> tuple[float, float] | tuple[None, None]:
    """The first of the best (learning rate, score); None where none was scored."""
    scored = [(at, value) for at, value in scores.items() if value is not None]
    if not scored:
        return None, None
    sign = 1 if metric.higher_is_better else -1
    return max(scored, key=lambda pair: sign * pair[1])


def about_path(folder: Path, key: str) -> Path:
    return folder / f"{key}.json"


def parameters_path(folder: Path, key: str) -> Path:
    return folder / f"{key}.safetensors"


def _save(path: Path, state: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save

    with atomic(path, FIX, durable=True) as beside:
        beside.write_bytes(save({name: p.contiguous() for name, p in state.items()}))
