"""What a training keeps in its folder: the last point it can go on from, and the best models.

A checkpoint is a plain dictionary, written beside its place and renamed, and read with
weights_only. Every record of torch.save's archive has a CRC-32, which torch itself does not look
at; here it is checked before anything is read.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import distributed
from .errors import MachineError
from .soundness import is_file, is_whole_zip, reading, set_aside
from .storage import atomic, write_text

LAST = "last.ckpt"
LOG = "log.jsonl"
STEP = "step.txt"
TELL = 10.0  # seconds from one word of how far a training is to the next
FIX = (
    "free some space or choose another folder and repeat the command: it resumes from the last "
    "checkpoint"
)


def save(state: Mapping[str, Any], path: Path) -> None:
    """Plain data and tensors to `path`, whole or not at all.

    Raises: MachineError: the disk is full or cannot be written.
    """
    with atomic(path, FIX, durable=True) as beside:
        try:
            with open(beside, "wb") as file:
                torch.save(state, file)
        except RuntimeError as error:
            # torch says "unexpected pos"; what the system said is what it was raised after
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def load(path: Path) -> dict[str, Any] | None:
    """What `save` wrote to `path`; None where it is missing or damaged.

    Raises: MachineError: it cannot be read.
    """
    if not is_whole_zip(path):
        return None
    try:
        with reading(path):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except MachineError:
        raise
    except Exception:  # a whole archive, and not of torch.save: it raises many kinds
        return None
    return state if isinstance(state, dict) else None


def prepare(folder: Path) -> None:
    """Make the folder of a training; what is in the way of its files is set aside.

    Raises: MachineError: the folder cannot be made.
    """
    if distributed.is_leader():
        files = (folder / LAST, folder / LOG, folder / STEP, *folder.glob("best-*.ckpt"))
        for path in (path for path in files if os.path.lexists(path) and not is_file(path)):
            set_aside(path, "is no file")
        with reading(folder):
            no_folder = os.path.lexists(folder) and not folder.is_dir()
        if no_folder:
            set_aside(folder, "is no folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"{folder} cannot be made ({error.strerror}); {FIX}") from error


def last(
    folder: Path,
    made_of: Mapping[str, Any],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    names: Iterable[str],
    what: str,
) -> dict[str, Any] | None:
    """The point that a training can go on from, with its optimiser loaded from it; None where there
    is none. One that is damaged or of something else is set aside with a notice.

    Args:
        made_of: what every point of this training has in common with it.
        names: of the best models that must stand beside it.
        what: is trained, for people.
    """
    path = folder / LAST
    if not is_file(path):
        return None
    point = load(path)
    why = _unusable(point, made_of, model, folder, names)
    if not why:
        assert point is not None
        try:
            optimiser.load_state_dict(point["optimiser"])
        except (KeyError, ValueError):  # before anything of it is loaded
            why = "is of another optimiser"
    if why and distributed.is_leader():
        set_aside(path, f"{why}, so {what} begins anew")
    return None if why else point


def _unusable(
    point: Mapping[str, Any] | None,
    made_of: Mapping[str, Any],
    model: nn.Module,
    folder: Path,
    names: Iterable[str],
) -> str:
    """Why a training cannot go on from a point; "" where it can."""
    if point is None:
        return "is damaged"
    if "made_of" not in point:
        return "is of an older version, which wrote less into it"
    if point["made_of"] != dict(made_of):
        return "is of another training or of another version"
    ours, theirs = model.state_dict(), point["model"]
    if {k: v.shape for k, v in ours.items()} != {k: v.shape for k, v in theirs.items()}:
        return "is of another model"
    return _lost_best(point, folder, names)


def _lost_best(point: Mapping[str, Any], folder: Path, names: Iterable[str]) -> str:
    """Why the best models beside a point are not those that it speaks of; "" where they are.

    One of a later step is right, too: its process was killed before it could write the next point,
    and the same steps find the same model again.
    """
    for name in names:
        if name not in point["best"]:
            continue
        path, found = best_path(folder, name), load(best_path(folder, name))
        if found is None or not {"step", "value", "parameters"} <= found.keys():
            return f"has lost {path.name} (damaged or removed)"
        same = [found["step"], found["value"]] == list(point["best"][name])
        if not (same or found["step"] > point["step"]):
            return f"has lost {path.name} (another is there)"
    return ""


def best_path(folder: Path, name: str) -> Path:
    return folder / f"best-{name}.ckpt"


def best(folder: Path, name: str) -> dict[str, Tensor]:
    """The parameters of the best model by the number `name`; `train` has left a sound one."""
    path = best_path(folder, name)
    with reading(path):
        return torch.load(path, map_location="cpu", weights_only=True)["parameters"]


def write_log(folder: Path, log: Sequence[Mapping[str, float]]) -> None:
    """The log of a training for people, a JSON object a line; the points have it, too."""
    text = "".join(json.dumps(line) + "\n" for line in log)
    write_text(folder / LOG, text, FIX)


class Teller:
    """Says how far a training is between two lines of its log, for whoever waits for it."""

    def __init__(self, folder: Path):
        self.folder, self.told = folder, time.monotonic()

    def __call__(self, step: int) -> None:
        if time.monotonic() - self.told > TELL and distributed.is_leader():
            write_text(self.folder / STEP, f"{step}\n", FIX)
            self.told = time.monotonic()


def told(folder: Path) -> int:
    """The updates done by all trainings in a folder and below it, the stages of one."""
    stages = {path.parent for name in (LOG, STEP) for path in folder.rglob(name)}
    return sum(max(_last_logged(stage), _last_told(stage)) for stage in stages)


def _last_logged(stage: Path) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(json.loads((stage / LOG).read_text(encoding="utf-8").splitlines()[-1])["step"])
    return 0


def _last_told(stage: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int((stage / STEP).read_text(encoding="utf-8"))
    return 0
