"""Options as a command line or a YAML file gives them, made plain values."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import UsageError, did_you_mean

MINISUPERB = ("asr", "sid", "se", "ss")  # its tasks, in the order of DAISY's Table 1


SEEDS = 2**32  # as many as every generator of random numbers takes


def short_hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]


def pairs(texts: Sequence[str], option: str = "--set") -> dict[str, str]:
    """["a=1", "b=x"] -> {"a": "1", "b": "x"}"""
    out = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{option} takes key=value, not {text!r}")
        out[key.strip()] = value.strip()
    return out


def knobs(
    rho: Sequence[Any] | None, given: Sequence[str] | None, test: str = ""
) -> dict[str, tuple[float, ...]]:
    """--rho 0.7 1.0 and --knob NAME=V,V -> {name: its values}; --rho is DAISY's
    spelling of --knob rho=...

    Args:
        test: "test-" for --test-rho and --test-knob.
    """
    option = f"--{test}knob"
    out = {"rho": tuple(dict.fromkeys(number(r, f"--{test}rho") for r in rho))} if rho else {}
    for text in given or ():
        name, equals, values = str(text).partition("=")
        if not equals or not name.strip():
            raise UsageError(
                f"{option} takes NAME=VALUE[,VALUE], such as rho=0.7,1.0, not {text!r}"
            )
        if name.strip() in out:
            raise UsageError(
                f"--{test}{name.strip()} and {option} {text} both turn the knob {name.strip()}; "
                "leave one of them out"
            )
        out[name.strip()] = tuple(
            dict.fromkeys(number(v, f"{option} {name.strip()}") for v in values.split(","))
        )
    return out


def shares(given: Sequence[Any]) -> tuple[float, ...]:
    """["30%", "0.3"] -> (0.3,), each once."""
    found = []
    for text in map(str, given):
        percent = text.endswith("%")
        value = number(text.removesuffix("%"), "--budget") / (100 if percent else 1)
        if not 0 <= value < 1:
            raise UsageError(
                f"--budget is the share of multiply-accumulates to be saved, such as 30% or 0.3, "
                f"not {text!r}"
            )
        found.append(value)
    return tuple(dict.fromkeys(found))


def above_zero(text: Any, what: str) -> float:
    value = number(text, what)
    if value <= 0:
        raise UsageError(f"{what} is above 0, not {value:g}")
    return value


def seeds(given: Sequence[Any]) -> list[int]:
    """Whole numbers from 0, each once."""
    for seed in given:
        text = str(seed)
        if not text.isdecimal() or len(text) > len(str(SEEDS)) or int(text) >= SEEDS:
            raise UsageError(f"--seed takes whole numbers from 0 to {SEEDS - 1}, not {seed!r}")
    return [int(seed) for seed in dict.fromkeys(map(str, given))]


def corpora(given: Sequence[Any], names: Sequence[str], verb: str) -> dict[str, Path]:
    """--data DIR or TASK=DIR, several -> {task: its folder}; those of no task are under "".

    Args:
        given: from a YAML file also {task: DIR}.
        names: the tasks that are run.
    """
    folders: dict[str, str] = {}
    for entry in given:
        if isinstance(entry, Mapping):
            folders |= entry
        else:
            before, named, after = str(entry).partition("=")
            folders[before if named else ""] = after if named else before
    for task, folder in folders.items():
        if task and task not in names:
            raise UsageError(
                f"{verb}: --data {task}={folder}: task {task!r} is not among those to be run; "
                f"{did_you_mean(task, names)}"
            )
        if not Path(folder).exists():
            raise UsageError(
                f"{verb}: --data {folder}: there is no such folder; leave the flag out to use "
                "the built-in corpora"
            )
    return {task: Path(folder) for task, folder in folders.items()}


def number(text: Any, what: str) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{what} is a number such as 0.7, not {text!r}")
    return value
