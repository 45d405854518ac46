"""`run_benchmark.py ls`: what there is, and what is missing."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from .parser import Parser


def command(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="run_benchmark.py ls",
        description="List what there is, and what is missing. Of an upstream: what makes it "
        "cheaper (distilled, pruned, ...; - for a model as it was pre-trained), frozen or tuned on "
        "labelled data, computed step by step or all depths at once, whether it exits by itself "
        "and by which knob, whether its default weights are on this machine, and its paper.",
        example="run_benchmark.py ls tasks",
    )
    parser.add_argument(
        "what", nargs="?", choices=("upstreams", "tasks", "corpora"), help="default: all"
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    args = parser.parse_args(argv)
    for what, (one, of) in KINDS.items():
        if args.what in (None, what):
            for told, line in of():
                print(json.dumps({"what": one, **told}) if args.json else line)
    return 0


# Each yields what is known, and the same as a line.
Told = Iterator[tuple[dict[str, Any], str]]


def _upstreams() -> Told:
    from ..listing import entry
    from ..registry import upstreams

    for name in upstreams.names():
        found = entry(name)
        line = f"upstream  {name:16} "
        if found.unavailable:
            yield asdict(found), f"{line}unavailable: {found.unavailable}"
            continue
        words = (
            f"{found.kind or '-':11}",
            f"{f'tuned on {found.tuned_on}' if found.tuned_on else 'frozen':8}",
            f"{'stepped' if found.stepped else 'all depths':10}",
            f"{f'exits by {found.knob}' if found.knob else 'fixed exits':22}",
            f"weights: {found.weights:6}",
            found.source or found.about,
        )
        yield asdict(found), line + "  ".join(words)


def _tasks() -> Told:
    from ..registry import tasks

    for name in tasks.names():
        if why := tasks.probe(name):
            yield {"name": name, "unavailable": why}, f"task      {name:16} unavailable: {why}"
            continue
        task = tasks.get(name)
        metrics = [m.name for m in task.metrics]
        told = {"name": name, "version": task.version, "metrics": metrics}
        told |= {"protocols": [*task.protocols], "builtin": task.builtin, "default": task.default}
        yield (
            told | {"unavailable": ""},
            f"task      {name:16} version {task.version}, metrics {', '.join(metrics)}; "
            f"protocols {', '.join(task.protocols)} "
            f"({task.builtin} on built-in data, {task.default} on yours)",
        )


def _corpora() -> Told:
    from ...tasks.corpora import place
    from ..registry import tasks

    for name in tasks.names():
        builtin = None if tasks.probe(name) else tasks.get(name).mini
        if builtin:
            folder, there = place(builtin)
            state = "ready in" if there else "made on first use in"
            told = {"task": name, "about": builtin.about, "folder": str(folder), "there": there}
            line = f"corpus    {f'mini ({name})':12} {builtin.about}; {state} {folder}"
            yield told, line


KINDS = {
    "upstreams": ("upstream", _upstreams),
    "tasks": ("task", _tasks),
    "corpora": ("corpus", _corpora),
}
