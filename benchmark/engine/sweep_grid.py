"""The cells of a sweep: each combination of task, protocol, upstream and seed is one `run` command.

All values of a knob stay in one cell, because one pass and one reading of the batches serves them
all; `--apart` gives each value a cell of its own.
"""

import shlex
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ..config import corpora, knobs, seeds, short_hash
from ..errors import UsageError, did_you_mean
from ..registry import knob_of, tasks


@dataclass(frozen=True)
class Cell:
    """One cell of the grid.

    Attributes:
        argv: the words of a `run` command.
        log: the file of what it writes to stderr; removed when the cell succeeds.
    """

    argv: tuple[str, ...]
    log: Path

    @property
    def command(self) -> str:
        return shlex.join(["run_benchmark.py", *self.argv])

    @property
    def name(self) -> str:
        value = dict(zip(self.argv, self.argv[1:], strict=False))
        shown = ("--upstream", "--task", "--protocol", "--knob")
        return " ".join([*(value[f] for f in shown if f in value), f"seed {value['--seed']}"])


def grid(args: Namespace) -> list[Cell]:
    """The cells in a fixed order, checked as far as can be without loading weights or corpora.

    Args:
        args: the options of `run_benchmark.py sweep`, and `passed_on`, words for every cell.
    Raises: UsageError: an option is missing or wrong, or a name is unknown.
    """
    _check(args)
    folders = corpora(args.data or [], args.task, "sweep")
    turned = knobs(args.rho, args.knob)
    tested = knobs(args.test_rho, args.test_knob, "test-")
    turns = {upstream: knob_of(upstream, args.set) for upstream in args.upstream}
    _check_turned(args, turned, tested, set(turns.values()))
    cells = []
    axes = (args.task, args.protocol or (None,), args.upstream, seeds(args.seed))
    for task, protocol, upstream, seed in product(*axes):
        knob = turns[upstream]
        values = turned.get(knob, ())
        data = folders.get(task, folders.get(""))
        for some in [(v,) for v in values] if args.apart and values else [values]:
            argv = ["--upstream", upstream, "--task", task, "--seed", str(seed)]
            argv += ["--results", str(args.results), "--device", args.device]
            argv += _flag("--protocol", protocol)
            if knob:
                argv += _turned("--knob", knob, some)
                argv += _turned("--test-knob", knob, tested.get(knob, ()))
                argv += _flag("--span", *(args.span or ()))
                argv += _flag("--budget", *args.budget) + _flag("--max-loss", *args.max_loss)
            argv += _flag("--data", data) + args.passed_on
            argv += _flag("--set", *(f"{k}={v}" for k, v in args.set.items()))
            cells.append(_cell((*argv, "--json"), args.results))
    return list(dict.fromkeys(cells))


def shard(cells: Sequence[Cell], text: str) -> Sequence[Cell]:
    """The cells of one share: "2/5" is the second of five. The same grid gives the same shares
    everywhere.
    """
    first, _, count = text.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise UsageError(f"sweep: --shard is I/N with I from 1 to N, such as 1/4, not {text!r}")
    return cells[int(first) - 1 :: int(count)]


def _check(args: Namespace) -> None:
    for wanted in ("upstream", "task"):
        if not getattr(args, wanted):
            raise UsageError(
                f"sweep: --{wanted} is missing; for example: run_benchmark.py sweep --upstream "
                "daisy layer_similarity --task se --seed 0 1"
            )
    for what, least in (("workers", 1), ("threads", 1), ("retries", 0)):
        value = getattr(args, what)
        if value is not None and value < least:
            raise UsageError(f"sweep: --{what} is a whole number from {least}, not {value}")
    for task in args.task:
        known = tasks.get(task).protocols
        for protocol in args.protocol or ():
            if protocol not in known:
                raise UsageError(
                    f"task {task} has no protocol {protocol!r}: {did_you_mean(protocol, known)}"
                )


def _check_turned(
    args: Namespace, turned: Iterable[str], tested: Iterable[str], known: set[str | None]
) -> None:
    """UsageError for what would reach no cell at all."""
    named = " ".join(args.upstream)
    for option, names in (("--knob", turned), ("--test-knob", tested)):
        for name in names:
            if name not in known:
                raise UsageError(f"sweep: {option} {name}: none of {named} has a knob of that name")
    for option in ("span", "budget", "max_loss"):
        if getattr(args, option) and not any(known):
            flag = option.replace("_", "-")
            raise UsageError(f"sweep: --{flag}: none of {named} exits by itself")


def _turned(name: str, knob: str, values: Sequence[float]) -> list[str]:
    return _flag(name, f"{knob}={','.join(f'{v:g}' for v in values)}") if values else []


def _flag(name: str, *values: Any) -> list[str]:
    """An option and its values; nothing where there is no value."""
    given = [str(value) for value in values if value is not None]
    return [name, *given] if given else []


def _cell(argv: tuple[str, ...], results: Path) -> Cell:
    return Cell(argv, results.resolve() / "sweep" / f"{short_hash(argv)}.log")
