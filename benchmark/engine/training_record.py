"""training.json: what the training in a folder is made of, so that no other training goes on there.

It is written before anything is trained and has a digest of the weights once they are finished. One
that was refused before it made anything stands in no other's way.
"""

import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from .. import distributed
from ..config import short_hash
from ..contract import Recipe, TrainingData, TrainingRun
from ..errors import UsageError
from ..soundness import SEAL, file_digest, read_object, sealed, set_aside, unsealed
from ..storage import locked, write_text
from ..training_data import fingerprint

RECORD = "training.json"
WEIGHTS = "weights_digest"  # of the finished file
ELSEWHERE = ("preset", "finished", WEIGHTS)  # not what a training is made of
FLAGS = {
    "speech": "--data",
    "corpus": "--data",
    "noise": "--noise",
    "teacher": "--teacher",
    "seed": "--seed",
}


def made_of(preset: str, recipe: Recipe, data: TrainingData, run: TrainingRun) -> dict[str, Any]:
    """Everything that decides the weights, as plain JSON values; files by their content.

    Of the recipe what is not usual, so that one is still itself where a later version has further
    fields.
    """
    teacher = run.teacher and f"{run.teacher.card.name} {run.teacher.card.revision}"
    known = usual(recipe)
    settings = {k: v for k, v in asdict(recipe).items() if k in known and v != known[k]}
    settings |= run.options
    return {
        "upstream": run.name,
        "preset": preset,
        "settings": {name: _identity(value) for name, value in settings.items()},
        "data": fingerprint(data) | ({"teacher": teacher} if teacher else {}),
        "seed": run.seed,
    }


def usual(recipe: Recipe) -> dict[str, Any]:
    """The default of every number; `source` is a sentence about them."""
    return {f.name: f.default for f in fields(recipe) if f.name != "source"}


def recipe_of(made: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """What trainings of several seeds have in common, as a short hash.

    Args:
        made: `made_of`; options: of its run. Weights that it begins with count as their own recipe,
            where they are of a training whose folder is still beside them.
    """
    behind = {name: _recipe_behind(Path(str(value))) for name, value in options.items()}
    settings = made["settings"] | {name: recipe for name, recipe in behind.items() if recipe}
    kept = {k: v for k, v in made.items() if k not in ("seed", "preset")}
    return short_hash(kept | {"settings": settings})


def _recipe_behind(weights: Path) -> str:
    """Of a file that a training wrote; "" where nobody can tell."""
    begun = unsealed(weights.with_suffix("") / RECORD) if weights.suffix == ".safetensors" else None
    if not begun or begun.get(WEIGHTS) != file_digest(weights):
        return ""
    return recipe_of({k: v for k, v in begun.items() if k not in ELSEWHERE}, {})


@contextlib.contextmanager
def claimed(
    run: TrainingRun, made: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Iterator[bool]:
    """Hold the folder of a training while the block trains; yields whether it is finished already.

    Another process with the same training waits, and then finds it finished.

    Args:
        made, defaults: `made_of` and `usual` of its recipe.
    Raises:
        UsageError: the folder holds a training that is made of something else.
    """
    file = run.work / RECORD
    lock = locked(run.work / "lock", f"the training of {run.name} in {run.out}")
    with lock if distributed.is_leader() else contextlib.nullcontext():
        with distributed.in_turn():
            begun = _read(file)
            if begun is None and distributed.is_leader():
                _set_unknown_aside(run, file)
            difference = "" if begun is None else _another(begun, made, defaults)
            if begun is None or (difference and _nothing_made(run)):
                begun, difference = {**made, "finished": False}, ""
                write_text(file, sealed(begun))
            if difference:
                raise UsageError(
                    f"{run.work} holds a training of {run.name} by the preset {begun['preset']} "
                    f"that differs in {difference}; choose another --out, or begin anew: rm -r "
                    f"{shlex.quote(str(run.work))}"
                )
            finished = _finished(begun, run)
        yield finished
        if not finished and distributed.is_leader():
            done = {"finished": True, WEIGHTS: file_digest(run.weights)}
            write_text(file, sealed({**begun, **done}))


def _read(file: Path) -> dict[str, Any] | None:
    """What a training was begun with; None where nobody can tell any more. One of an older version
    has no digest and is believed.
    """
    begun = unsealed(file)
    if begun is not None:
        return begun
    begun = read_object(file)
    if begun is None or SEAL in begun:
        return None
    parts = (begun.get("settings"), begun.get("data"))
    known = {"preset", "seed", "finished"} <= begun.keys()
    return begun if known and all(isinstance(part, dict) for part in parts) else None


def _set_unknown_aside(run: TrainingRun, file: Path) -> None:
    """Without training.json nobody knows what the resume points beside it are of."""
    for path in sorted(run.work.iterdir()):
        if path.name != "lock" and path.suffix not in (".damaged", ".part"):
            of = "it says no more what the training here is made of"
            lost = f"belongs to a training of which {file.name} is missing or damaged"
            set_aside(path, f"is damaged: {of}" if path == file else lost)


def _finished(begun: Mapping[str, Any], run: TrainingRun) -> bool:
    """Whether the weights are there, as they were written."""
    if not begun["finished"] or not os.path.lexists(run.weights):
        return False
    found = file_digest(run.weights)
    if found and found == begun.get(WEIGHTS, found):  # an older version wrote no digest
        return True
    if distributed.is_leader():
        set_aside(run.weights, "is not what the training wrote")
    return False


def _nothing_made(run: TrainingRun) -> bool:
    """Whether a training ended before it kept anything but what every one makes anew."""
    kept = [
        path
        for path in run.work.iterdir()
        if path.name not in (RECORD, "lock") and path.suffix not in (".part", ".model")
    ]
    return not kept and not os.path.lexists(run.weights)


def _another(begun: Mapping[str, Any], made: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """What is asked for is made of something else: the first difference in words, or ""."""
    known = {name: _identity(value) for name, value in defaults.items()}
    there, asked = (known | _flat(json.loads(json.dumps(of))) for of in (begun, made))
    for name in sorted(there.keys() | asked.keys()):
        if there.get(name) == asked.get(name):
            continue
        had, wants = (repr(d[name]) if name in d else "none" for d in (there, asked))
        flag = FLAGS.get(name, f"--set {name}")
        return f"{name} (there {had}, asked for {wants}; see {flag})"
    return ""


def _flat(made: Mapping[str, Any]) -> dict[str, Any]:
    flat = {**made, **made["settings"], **made["data"]}
    return {k: v for k, v in flat.items() if k not in (*ELSEWHERE, "settings", "data")}


def _identity(value: Any) -> Any:
    """A file by its name and content, so it may lie elsewhere but not change; else the value, as
    JSON gives it back.
    """
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, str) and os.path.isfile(value):
        digest = hashlib.sha256(Path(value).read_bytes()).hexdigest()[:12]
        return f"{Path(value).name} sha256:{digest}"
    return value
