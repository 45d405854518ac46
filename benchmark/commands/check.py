"""`run_benchmark.py check`: hold a plug-in against the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError, did_you_mean
from .parser import Parser

if TYPE_CHECKING:
    from ..contract import Protocol, Task


def command(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="run_benchmark.py check",
        description="Hold an upstream or a task against the contract.",
        example="run_benchmark.py check path/to/mine.py:Mine",
    )
    parser.add_argument(
        "name",
        nargs="+",
        metavar="[upstream|task] NAME",
        help="an upstream or a task, or path/to/file.py:NAME",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="options of the upstream's constructor, or fields of the task's protocol",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="a corpus to check a task with; default: the built-in one",
    )
    args = parser.parse_args(argv)
    from ..config import pairs

    room, name = _room(args.name)
    if room == "task":
        from ..conformance import check_task
        from ..registry import tasks

        task = tasks.get(name)
        findings = check_task(task, args.data, _protocol(task, args.data, pairs(args.set)))
    else:
        from ..conformance import check_upstream
        from ..registry import build_upstream

        if args.data:
            raise UsageError("check --data is for tasks; an upstream is checked with noise")
        findings = check_upstream(build_upstream(name, pairs(args.set)))
    for finding in findings:
        said = "warn" if finding.warning else "ok  " if finding.ok else "FAIL"
        print(f"{said}  {finding.sentence}")
    return 0 if all(f.ok for f in findings) else 1


def _protocol(task: Task, data: Path | None, settings: dict[str, str]) -> Protocol | None:
    """The recipe that a run would take, with the fields of --set; None where none is set."""
    from ..engine.protocols import run_protocol

    if not settings:
        return None
    published = task.protocols[task.builtin if data is None else task.default]
    known = {f.name for f in fields(published)}
    for key in set(settings) - known:
        raise UsageError(
            f"--set {key}: no protocol of {task.name} has it; {did_you_mean(key, known)}"
        )
    return run_protocol(published, settings).protocol


def _room(words: Sequence[str]) -> tuple[str, str]:
    """("upstream" or "task", its name) of what `check` was given."""
    from ..registry import from_file, tasks, upstreams

    rooms = {"upstream": upstreams, "task": tasks}
    if len(words) == 2 and words[0] in rooms:
        return words[0], words[1]
    if len(words) != 1:
        raise UsageError(
            "check takes one name, with upstream or task before it or not, and was given "
            f"{' '.join(words)}"
        )
    [name] = words
    if upstreams.split(name)[0] in upstreams.sources():
        return "upstream", name
    if ".py:" in name:
        return ("task" if tasks.holds(from_file(name)) else "upstream"), name
    found = [room for room, registry in rooms.items() if name.partition(".")[0] in registry.names()]
    if len(found) > 1:
        raise UsageError(
            f"{name} is an upstream and a task; say which: run_benchmark.py check upstream {name}, "
            f"or check task {name}"
        )
    if not found:
        there = [n for room in rooms.values() for n in (*room.names(), *room.sources())]
        known = did_you_mean(name, there)
        raise UsageError(
            f"no upstream and no task is called {name!r}: {known} (list them: run_benchmark.py ls)"
        )
    return found[0], name
