"""A task of one's own: 40 lines that run, are recorded, replayed and run live; and the
check of every task.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.conformance import check_task
from earlyexit_superb.benchmark.contract import Metric
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.engine.run import results
from earlyexit_superb.benchmark.exiting import Exit, run_until_exit
from earlyexit_superb.benchmark.metrics import Failure
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.benchmark.report import leaderboard
from helpers import TOY
from toys import task as toy_task
from toys.task import KEYWORDS
from toys.toy import Toy

DRAW = np.random.default_rng(0)
FILE = Path(toy_task.__file__)
SPEC = f"{FILE}:KEYWORDS"
pytestmark = pytest.mark.usefixtures("small_builtins")


@pytest.fixture(autouse=True)
def unknown(monkeypatch):
    """Every test meets the toy for the first time."""
    monkeypatch.delitem(tasks._found, "keywords", raising=False)


def failed(task):
    return [f.sentence for f in check_task(task) if not f.ok]


def test_it_is_short():
    assert len(FILE.read_text().splitlines()) <= 40


@pytest.mark.parametrize("name", [*tasks.names(), SPEC], ids=lambda n: n.rpartition(":")[2])
def test_every_task_passes_its_check(name):
    assert failed(tasks.get(name)) == []


def test_a_task_from_a_file_is_run_recorded_replayed_and_run_live(tmp_path, capsys, monkeypatch):
    out = tmp_path / "results"
    assert (
        main(
            [
                "--upstream",
                TOY,
                "--task",
                SPEC,
                "--results",
                str(out),
                "--set",
                "exits=oracle,random",
            ]
        )
        == 0
    )
    said = capsys.readouterr()
    assert "accuracy" in said.out and f"{out}/leaderboard_keywords.csv" in said.err
    run = resolve(RunConfig(TOY, SPEC, results=out))
    made, refused = results(run)  # all there: nothing is done twice
    assert (
        not refused
        and {r.cell.task for r in made} == {"keywords"}
        and all(r.scores["accuracy"].n == 8 for r in made)
    )
    toy = Toy().eval()
    for row in run.rows:
        if row.cell.exit != "adaptive":
            continue
        found = json.loads(row.path.read_text())
        exit = Exit(found["detail"]["exit"]["depths"], found["detail"]["exit"]["tau"])
        table = pd.read_csv(row.path.with_suffix(".utterances.csv"))
        for item, left in zip(run.splits["test"], table["depth"], strict=True):
            wav = run.task.load(item).wav[None]
            assert int(run_until_exit(toy, wav, torch.tensor([wav.shape[1]]), exit).depth) == left
        assert set(table["heard"]) <= set(toy_task.WORDS)


def test_a_board_needs_no_task(tmp_path, monkeypatch):
    """Rows say what they measure, so that a table can be made where the task's file is not."""
    out = tmp_path / "results"
    results(resolve(RunConfig(TOY, SPEC, results=out)))
    before = (out / "leaderboard_keywords.csv").read_text()
    monkeypatch.delitem(tasks._found, "keywords")
    leaderboard.write(out, "keywords")
    assert (out / "leaderboard_keywords.csv").read_text() == before


def test_a_corpus_is_verified_for_a_task_from_a_file(small_builtins, capsys):
    folder = small_builtins / KEYWORDS.mini.folder
    KEYWORDS.corpus(None, KEYWORDS.protocols["mini"])
    assert main(["data", "verify", str(folder), "--task", SPEC]) == 0
    assert f"ready for {SPEC}" in capsys.readouterr().out
    assert main(["ls", "corpora"]) == 0 and f"ready in {folder}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line, status, said",
    [
        (f"check {SPEC}", 0, "ok    its corpus can be used"),
        (f"check task {SPEC} --set steps=4 eval_every=2", 0, "ok    the loss of a batch"),
        (
            f"check task {SPEC} --set step=4",
            2,
            "--set step: no protocol of keywords has it; did you mean steps?",
        ),
        ("check sed", 2, "no upstream and no task is called 'sed': did you mean se"),
        ("check task daisy", 2, "no task is called 'daisy'"),
        ("check upstream se", 2, "no upstream is called 'se'"),
        (
            "check one two",
            2,
            "check takes one name, with upstream or task before it or not, and was given one two",
        ),
        (f"check {FILE}:NOTHING", 2, "has no 'NOTHING'"),
        (f"check task {TOY}", 2, "that is no Task of benchmark.contract"),
        (f"check upstream {SPEC}", 2, "that is no Upstream of benchmark.contract but a Task"),
        ("check daisy --data x", 2, "check --data is for tasks"),
    ],
)
def test_check_finds_what_is_meant(line, status, said, capsys):
    code, told = main(line.split()), capsys.readouterr()
    assert code == status and said in told.out + told.err


def test_a_name_in_both_rooms_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(tasks, "names", lambda: ["daisy", "se"])
    assert (
        main(["check", "daisy"]) == 2
        and "daisy is an upstream and a task; say which" in capsys.readouterr().err
    )


def test_a_task_cannot_take_the_name_of_another(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\n"
        "from toys.task import KEYWORDS\n"
        "MINE = replace(KEYWORDS, name='asr')\n"
    )
    assert main(["check", f"{tmp_path / 'mine.py'}:MINE"]) == 2
    assert "it calls itself asr, which is another task's name" in capsys.readouterr().err


# ---- what the check is for ----


def changed_corpus(change):
    def corpus(data, protocol):
        whole = KEYWORDS.corpus(data, protocol)
        return change(whole)

    return {"corpus": corpus}


def leaks(corpus):
    return replace(
        corpus,
        splits=dict(corpus.splits)
        | {"dev": [*corpus.splits["dev"], replace(corpus.splits["train"][0], id="again")]},
    )


def short(item):
    example = KEYWORDS.load(item)
    return replace(example, wav=example.wav[:-1])


def louder(item):
    example = KEYWORDS.load(item)
    return replace(example, wav=2 * example.wav)


class Neighbours(torch.nn.Module):
    """Rows that depend on what else is in the batch."""

    def __init__(self, setup):
        super().__init__()
        self.linear = torch.nn.Linear(setup.dim, len(toy_task.WORDS))

    def forward(self, features, frames, samples):
        return self.linear(features.mean(1) - features.mean((0, 1)))


class Last(Neighbours):
    """Looks at one frame, where it says that it sees means alone."""

    def forward(self, features, frames, samples):
        return self.linear(features[torch.arange(len(features)), frames - 1])


class Idle(Neighbours):
    """Has a parameter that nothing moves."""

    def __init__(self, setup):
        super().__init__(setup)
        self.idle = torch.nn.Parameter(torch.zeros(1))

    def forward(self, features, frames, samples):
        return self.linear(features.mean(1))


def unsteady(row, example, frames, setup):
    return {"accuracy": float(DRAW.random())}


BROKEN = {
    "audio in two splits": (
        changed_corpus(leaks),
        "no audio is in two splits (again in train and dev)",
    ),
    "no test": (
        changed_corpus(lambda c: replace(c, splits=dict(c.splits) | {"test": []})),
        "train, dev and test have utterances",
    ),
    "no hash": (changed_corpus(lambda c: replace(c, hash="")), "with the same hash (none)"),
    "refused": (
        {"check": lambda corpus, protocol, frames: ["too few of them"]},
        "its corpus can be used: too few of them",
    ),
    "short": ({"load": short}, "is read as its"),
    "louder": ({"load": louder}, "is read as its file has it"),
    "two targets": ({"target": lambda item: "other"}, "is the same without its audio"),
    "nan loss": (
        {"loss": lambda p, e, f, s: toy_task.loss(p, e, f, s) * torch.nan},
        "the loss is one finite number (nan)",
    ),
    "detached": (
        {"loss": lambda p, e, f, s: toy_task.loss(p.detach(), e, f, s)},
        "the loss can be differentiated",
    ),
    "summed": (
        {"loss": lambda p, e, f, s: toy_task.loss(p, e, f, s) * len(e)},
        "the loss of a batch is the mean of its members'",
    ),
    "neighbours": ({"head": Neighbours}, "the loss of a batch is the mean of its members'"),
    "last frame": (
        {"head": Last, "score": lambda row, *_: {"accuracy": float(row.sum())}},
        "means give what frames give",
    ),
    "idle": ({"head": Idle}, "gets a finite gradient (not idle)"),
    "unsteady": ({"score": unsteady}, "scored twice an utterance gets the same"),
    "incomplete": ({"metrics": (*KEYWORDS.metrics, Metric("speed", True))}, "gets every metric"),
    "infinite": (
        {"judge": lambda answer, example, protocol: {"accuracy": float("inf")}},
        "the truth has the best accuracy there is",
    ),
    "unfair judge": (
        {"judge": lambda answer, example, protocol: {"accuracy": 50.0}},
        "the truth has the best accuracy there is, 100 (50, 50, 50)",
    ),
    "no judge": (
        {"judge": lambda answer, example, protocol: {"accuracy": Failure("no")}},
        "the truth has the best accuracy there is, 100 (no",
    ),
    "selects otherwise": (
        {"select": lambda *_: {"accuracy": -1.0}},
        "select gives the accuracy that score gives",
    ),
    "misnamed": (
        {"protocols": {"mini": replace(KEYWORDS.protocols["mini"], name="other")}},
        "protocol mini is sound",
    ),
    "no protocol": (
        {"default": "superb-v1"},
        "its default protocol, superb-v1, is among its protocols (mini)",
    ),
    "strange need": ({"needs": ("words",)}, "what it needs of an utterance (words)"),
    "crash": ({"head": None}, "learns: it crashes with TypeError"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_each_check_finds_its_defect(how):
    changes, said = BROKEN[how]
    found = failed(replace(KEYWORDS, **changes))
    assert any(said in sentence for sentence in found), found
