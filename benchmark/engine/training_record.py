"""training.json: what the training in a folder is made of, so that no other training goes on there.

It is written before anything is trained and names the weights once they are finished.
"""

import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import distributed
from ..contract import Recipe, TrainingData, TrainingRun
from ..errors import UsageError
from ..storage import locked, write_text
from ..training_data import fingerprint

ELSEWHERE = ("preset", "finished")  # not what a training is made of
FLAGS = {
    "speech": "--data",
    "corpus": "--data",
    "noise": "--noise",
    "teacher": "--teacher",
    "seed": "--seed",
}


def made_of(preset: str, recipe: Recipe, data: TrainingData, run: TrainingRun) -> dict[str, Any]:
    """Everything that decides the weights, as plain JSON values; files by their content."""
    teacher = run.teacher and f"{run.teacher.card.name} {run.teacher.card.revision}"
    settings = {**asdict(recipe), **run.options}
    del settings["source"]  # a sentence about the numbers, not one of them
    return {
        "upstream": run.name,
        "preset": preset,
        "settings": {name: _identity(value) for name, value in settings.items()},
        "data": fingerprint(data) | ({"teacher": teacher} if teacher else {}),
        "seed": run.seed,
    }


@contextlib.contextmanager
def claimed(run: TrainingRun, made: Mapping[str, Any]) -> Iterator[bool]:
    """Hold the folder of a training while the block trains; yields whether it is finished already.

    Another process with the same training waits, and then finds it finished.

    Raises:
        UsageError: the folder holds a training that is made of something else.
    """
    file = run.work / "training.json"
    lock = locked(run.work / "lock", f"the training of {run.name} in {run.out}")
    with lock if distributed.is_leader() else contextlib.nullcontext():
        with distributed.in_turn():
            begun = json.loads(file.read_text()) if file.exists() else None
            if begun is None:
                begun = {**made, "finished": False}
                _write(file, begun)
            _refuse_another(begun, made, run)
        finished = begun["finished"] and run.weights.exists()
        yield finished
        if not finished and distributed.is_leader():
            _write(file, {**begun, "finished": True})


def _write(file: Path, content: Mapping[str, Any]) -> None:
    write_text(file, json.dumps(content, indent=1) + "\n")


def _refuse_another(begun: Mapping[str, Any], made: Mapping[str, Any], run: TrainingRun) -> None:
    there, asked = _flat(begun), _flat(json.loads(json.dumps(made)))
    for name in sorted(there.keys() | asked.keys()):
        if there.get(name) == asked.get(name):
            continue
        had, wants = (repr(d[name]) if name in d else "none" for d in (there, asked))
        flag = FLAGS.get(name, f"--set {name}")
        raise UsageError(
            f"{run.work} holds a training of {run.name} by the preset {begun['preset']} that "
            f"differs in {name} (there {had}, asked for {wants}; see {flag}); choose another "
            f"--out, or begin anew: rm -r {shlex.quote(str(run.work))}"
        )


def _flat(made: Mapping[str, Any]) -> dict[str, Any]:
    flat = {**made, **made["settings"], **made["data"]}
    return {k: v for k, v in flat.items() if k not in (*ELSEWHERE, "settings", "data")}


def _identity(value: Any) -> Any:
    """A file by its name and content, so it may lie elsewhere but not change; else the value."""
    if isinstance(value, str) and os.path.isfile(value):
        digest = hashlib.sha256(Path(value).read_bytes()).hexdigest()[:12]
        return f"{Path(value).name} sha256:{digest}"
    return value
