"""`run_benchmark.py ls`: what there is, and what is missing."""

import inspect
import sys
from collections.abc import Sequence

from .parser import Parser


def command(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="run_benchmark.py ls",
        allow_abbrev=False,
        description="List what there is, and what is missing.",
        example="run_benchmark.py ls tasks",
    )
    parser.add_argument(
        "what", nargs="?", choices=("upstreams", "tasks", "corpora"), help="default: all"
    )
    wanted = parser.parse_args(argv).what
    from ..registry import tasks, upstreams

    if wanted in (None, "upstreams"):
        for name in upstreams.names():
            why = upstreams.probe(name)
            about = (
                f"unavailable: {why}"
                if why
                else (inspect.getdoc(sys.modules[upstreams.get(name).__module__]) or "")
                .partition("\n\n")[0]
                .replace("\n", " ")
            )
            print(f"upstream  {name:16} {about}")
    if wanted in (None, "tasks"):
        for name in tasks.names():
            why = tasks.probe(name)
            if why:
                print(f"task      {name:16} unavailable: {why}")
                continue
            task = tasks.get(name)
            print(
                f"task      {name:16} version {task.version}, metrics "
                f"{', '.join(m.name for m in task.metrics)}; protocols {', '.join(task.protocols)} "
                f"({task.builtin} on built-in data, {task.default} on yours)"
            )
    if wanted in (None, "corpora"):
        from ...tasks.corpora import place

        for name in tasks.names():
            builtin = None if tasks.probe(name) else tasks.get(name).mini
            if builtin:
                folder, there = place(builtin)
                told = "ready in" if there else "made on first use in"
                print(f"corpus    {f'mini ({name})':12} {builtin.about}; {told} {folder}")
    return 0
