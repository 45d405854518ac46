"""Heads that 0.2.0 finished, whose JSON has no digests: they may have taken hours, so those that
nothing speaks against are believed, and get their digests now.
"""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..contract import Setup, Task
from ..report.result import FIX
from ..soundness import SEAL, file_digest, is_file, read_object, reading, sealed
from ..storage import write_text
from .head_files import PARAMETERS, about_path, parameters_path
from .heads import Downstream, Plan

TOLD = {"name", "chosen_step", "dev_by_step", "steps", "seed", "updates_skipped", "protocol"}


def believe(
    folder: Path, plans: Mapping[str, Plan], task: Task, setup: Setup, blocks: int, seed: int
) -> None:
    """Write digests for those of `plans` (by key) that 0.2.0 finished in `folder`, with a notice.
    What cannot be believed is left to whoever trains it again.

    Raises: MachineError: a head cannot be read, or the folder not written.
    """
    believed = []
    for key, plan in plans.items():
        about = read_object(about_path(folder, key))
        if about is None or about.keys() & {PARAMETERS, SEAL}:
            continue
        if not _credible(about, f"dev_{task.metrics[0].name}", setup.protocol.steps, seed):
            continue
        path = parameters_path(folder, key)
        digest = file_digest(path)
        with torch.device("meta"):
            head = Downstream(task, setup, blocks, plan.normalise, plan.alone)
        if not _fits(path, head):
            continue
        write_text(about_path(folder, key), sealed({**about, PARAMETERS: digest}), FIX)
        believed.append(plan.name)
    if believed:
        print(
            f"notice: {folder} has {len(believed)} heads of version 0.2.0, which wrote no digests; "
            f"they load, fit and are finite, so they are believed: {', '.join(believed)}",
            file=sys.stderr,
        )


def _credible(about: Mapping[str, Any], dev: str, steps: int, seed: int) -> bool:
    """Whether a JSON has what a finished head has, and does not contradict itself."""
    if not {*TOLD, dev} <= about.keys() or [about["steps"], about["seed"]] != [steps, seed]:
        return False
    scores, value = about["dev_by_step"], about[dev]
    finite = isinstance(value, (int, float)) and math.isfinite(value)
    return finite and isinstance(scores, dict) and scores.get(str(about["chosen_step"])) == value


def _fits(path: Path, head: Downstream) -> bool:
    """Whether a file has the parameters of `head`, every one in its shape and finite."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not is_file(path):
        return False
    try:
        with reading(path):
            there = load_file(path)
    except (SafetensorError, OSError, ValueError):
        return False
    wanted = head.state_dict()
    return there.keys() == wanted.keys() and all(
        there[name].shape == wanted[name].shape and bool(torch.isfinite(there[name]).all())
        for name in wanted
    )
