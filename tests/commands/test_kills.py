"""Whole commands, killed at random moments: what they leave is what an undisturbed run leaves."""

import pytest
from helpers import STEPS, TOY
from helpers.kills import Campaign
from helpers.students import STUDENT


def run(task, data, *more):
    line = ["--upstream", TOY, "--task", task, "--data", str(data), "--protocol", "mini"]
    return [*line, "--rho", "1.0", "--span", "mean", "--results", "{}", *more]


def campaign(words, folder, kills, seed=0):
    folder.mkdir()
    of = Campaign(words, folder)
    of.undisturbed()
    of.run(kills, seed)
    return of


def test_a_run_is_killed_and_loses_nothing(corpus, tmp_path):
    campaign(run("se", corpus, *STEPS), tmp_path / "run", 1)


def slow_commands(corpus, speech, builtins):
    few = ["--set", "steps=30", "eval_every=5", "batch=3", "hidden=8"]
    sweep = ["sweep", "--upstream", TOY, "--task", "se", "--data", str(corpus), "--seed", "0", "1"]
    sweep += ["--workers", "2", "--threads", "1", "--protocol", "mini", "--results", "{}", *STEPS]
    train = ["train", STUDENT, "--data", str(speech / "clips"), "--out", "{}", "--set", "steps=40"]
    return {
        "run": run("se", corpus, *few),
        "helpers": run("se", corpus, "--set", "steps=700", "eval_every=50", "batch=2", "hidden=4"),
        "sweep": sweep,
        "train": train,
        "asr": run("asr", builtins / "asr", *few, "bucket=0"),
        "ss": run("ss", builtins / "ss", *few),
    }


@pytest.fixture
def builtins(small_builtins, tmp_path):
    """Small corpora of two tasks, as folders that another process can be given."""
    from earlyexit_superb.benchmark.registry import tasks

    for name in ("asr", "ss"):
        tasks.get(name).mini.make(tmp_path / "builtins" / name)
    return tmp_path / "builtins"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["run", "helpers", "sweep", "train", "asr", "ss"])
def test_seventeen_kills_each(what, corpus, speech, builtins, tmp_path):
    """A hundred and two in all."""
    campaign(slow_commands(corpus, speech, builtins)[what], tmp_path / what, 17, len(what))
