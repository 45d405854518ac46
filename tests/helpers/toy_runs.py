"""Runs of the contract's toys."""

import json

from helpers import ROOT, STEPS


def spec(toy: type) -> str:
    return f"{ROOT / 'tests' / 'toys' / 'contract.py'}:{toy.__name__}"


def flags(toy, data, task, out, *more):
    return [
        "--upstream",
        spec(toy),
        "--task",
        task,
        "--data",
        str(data),
        "--protocol",
        "mini",
        "--results",
        str(out),
        *STEPS,
        *(["bucket=0"] if task == "asr" else []),
        *more,
    ]


def rows(root, task):
    return [json.loads(p.read_text()) for p in sorted(root.glob(f"{task}/**/*.json"))]
