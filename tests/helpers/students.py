"""Trainings of the toy student."""

import json

from earlyexit_superb.benchmark.engine import training_start
from earlyexit_superb.benchmark.engine.training_start import TrainingConfig

from helpers import ROOT

STUDENT = f"{ROOT / 'tests' / 'toys' / 'student.py'}:Student"


def config(speech, out, **changes):
    return TrainingConfig(
        **{"upstream": STUDENT, "out": out, "data": (speech / "clips",)} | changes
    )


def train(*args, **changes):
    """The weights of config(...)."""
    return training_start.train(config(*args, **changes))


def errors(work):
    """The training error of each step."""
    lines = (work / "student" / "steps" / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["error"] for line in lines]
