"""Training through the contract: presets, settings, data, teachers, resume, several processes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from earlyexit_superb.benchmark import cli
from earlyexit_superb.benchmark.engine import training_start
from earlyexit_superb.benchmark.engine.training_start import TrainingConfig, preset_of
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import build_upstream, upstreams
from helpers import ROOT
from safetensors.torch import load_file

SLOW = """
import importlib, sys, time
sys.path[:0] = sys.argv[1:4]
import run_benchmark
from pathlib import Path
from earlyexit_superb.benchmark import trainer
step = trainer.step_seed
def slow(*a): time.sleep(0.3); return step(*a)
trainer.step_seed = slow
here = importlib.import_module(sys.argv[4])
here.train(Path(sys.argv[5]), Path(sys.argv[6]), teacher=here.TOY)
"""
STUDENT = f"{ROOT / 'tests' / 'toys' / 'student.py'}:Student"
DISTILLED = STUDENT.replace(":Student", ":Distilled")
TOY = f"{ROOT / 'tests' / 'toys' / 'toy.py'}:Toy"


def config(speech, out, **changes):
    return TrainingConfig(
        **{"upstream": STUDENT, "out": out, "data": (speech / "clips",)} | changes
    )


def train(*args, **changes):
    return training_start.train(config(*args, **changes))


def errors(work):
    lines = (work / "student" / "steps" / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["error"] for line in lines]


@pytest.fixture(scope="module")
def straight(speech, tmp_path_factory):
    """The weights of an undisturbed training with a teacher."""
    return train(speech, tmp_path_factory.mktemp("straight"), teacher=TOY)


# ---- what is trained -----------------------------------------------------------------------------


def test_a_student_learns_from_a_teachers_states(straight):
    found = errors(straight.parent)
    assert len(found) == 4 and found[-1] < 0.9 * found[0]
    student = build_upstream(STUDENT, {"weights": str(straight)})
    assert student.card.depth == 2 and straight.name == "student.safetensors"


def test_without_a_teacher_the_student_learns_something_else(speech, tmp_path, straight):
    ours, theirs = load_file(train(speech, tmp_path)), load_file(straight)
    assert any(not torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_labelled_corpus_is_opened_by_its_tasks_reader(corpus, tmp_path):
    path = train(corpus, tmp_path, data=(corpus,), task="se", settings={"lr": "0.02"})
    found = errors(tmp_path)
    made = json.loads((tmp_path / "student" / "training.json").read_text())
    assert path.exists() and found[-1] < found[0] and made["data"]["corpus"].startswith("se-")


def test_branches_are_trained_on_any_backbone(speech, tmp_path):
    """The toy names no units and takes neither weights nor seed."""
    few = {"steps": "4", "heard": "2", "fallback_block": "2", "fallback_units": "9"}
    path = train(speech, tmp_path, upstream="daisy", settings={"backbone": TOY} | few)
    daisy = build_upstream("daisy", {"backbone": TOY, "branches": str(path)})
    assert daisy.card.depth == 3 and len(daisy.branches) == 3
    assert "9 units of block 2" in json.loads(path.with_suffix(".json").read_text())["targets"]


def test_options_of_the_upstream_and_of_the_teacher_reach_them(speech, tmp_path):
    path = train(
        speech, tmp_path, teacher=TOY, settings={"dim": "12", "teacher.dim": "8", "steps": "1"}
    )
    assert load_file(path)["blocks.0.bias"].shape == (12,)
    assert build_upstream(STUDENT, {"dim": "12", "weights": str(path)}).card.dim == 12


# ---- resume --------------------------------------------------------------------------------------


def test_a_killed_training_goes_on_to_the_same_weights(speech, tmp_path, straight):
    """A real process, really killed, at a moment nobody chose."""
    here = Path(__file__)
    words = [
        str(ROOT),
        str(ROOT / "tests"),
        str(here.parent),
        here.stem,
        str(speech),
        str(tmp_path),
    ]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *words], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(errors(tmp_path)) < 4 and not (tmp_path / "student.safetensors").exists()
    ours, theirs = load_file(train(speech, tmp_path, teacher=TOY)), load_file(straight)
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_a_finished_training_opens_no_audio(speech, tmp_path, monkeypatch):
    first = train(speech, tmp_path).read_bytes()
    plugin, training = training_start.trainable(STUDENT)
    monkeypatch.setattr(plugin, "trained_by", dataclasses.replace(training, train=None))
    assert train(speech, tmp_path).read_bytes() == first


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"seed": 1},
            "differs in seed (there 0, asked for 1; see --seed); choose another --out, or begin",
        ),
        ({"settings": {"steps": "3"}}, "differs in steps (there 2, asked for 3; see --set steps)"),
        (
            {"settings": {"steps": "2", "dim": "8"}},
            "differs in dim (there none, asked for 8; see --set dim)",
        ),
        (
            {"teacher": TOY},
            "differs in teacher (there none, asked for 'toy seed-0'; see --teacher)",
        ),
        ({"noise": "clips"}, "differs in noise (there none"),
        ({"data": "noise"}, "differs in speech (there '"),
    ],
)
def test_another_training_does_not_go_on_in_the_same_folder(speech, tmp_path, changes, sentence):
    train(speech, tmp_path, settings={"steps": "2"})
    asked = {"settings": {"steps": "2"}} | changes
    for kind in ("noise", "data"):
        if kind in changes:
            asked[kind] = (speech / changes[kind],)
    with pytest.raises(UsageError) as refused:
        train(speech, tmp_path, **asked)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_files_named_by_settings_count_by_their_content(tmp_path):
    from earlyexit_superb.benchmark.engine.training_record import _identity

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "w").write_text("same")
    there, moved = (_identity(str(tmp_path / folder / "w")) for folder in ("a", "b"))
    assert there == moved and there.startswith("w sha256:")
    (tmp_path / "b" / "w").write_text("else")
    assert (
        _identity(str(tmp_path / "b" / "w")) != there and _identity("hubert.tiny") == "hubert.tiny"
    )


@pytest.mark.slow
def test_two_processes_train_what_one_trains(speech, tmp_path, straight):
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    words = [
        "train",
        STUDENT,
        "--data",
        str(speech / "clips"),
        "--teacher",
        TOY,
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*torchrun, str(ROOT / "run_benchmark.py"), *words],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "tests")},
    )
    assert done.stdout.split() == [str(tmp_path / "student.safetensors")]
    ours, theirs = load_file(tmp_path / "student.safetensors"), load_file(straight)
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], atol=1e-5, rtol=1e-4)


# ---- what is asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"settings": {"stesp": "3"}}, "has no option 'stesp': did you mean steps?"),
        ({"settings": {"steps": "many"}}, "steps is a number like 8, not 'many'"),
        ({"settings": {"steps": "0"}}, "steps is at least 1, not 0"),
        ({"settings": {"lr": "-1"}}, "lr is a number from 0 on, not -1.0"),
        (
            {"settings": {"weights": "x"}},
            "has no option 'weights'",
        ),  # of the constructor, not of a training
        (
            {"settings": {"teacher.dim": "8"}},
            "teacher.dim is an option of a teacher, and there is none",
        ),
        ({"preset": "quik"}, "train student has no preset 'quik': did you mean quick?"),
        (
            {"upstream": "layer_similarity"},
            "layer_similarity has nothing to train; upstreams with a recipe: daisy, hubert",
        ),
        ({"upstream": "hubert.base"}, "no preset was made for it"),
        ({"upstream": "hubert.tiny", "teacher": TOY}, "has no teacher; leave out --teacher"),
        (
            {"upstream": "daisy.tiny", "task": "asr"},
            "learns from speech without labels; leave out --task asr",
        ),
        (
            {"upstream": "hubert.bse", "preset": "tiny"},
            "hubert has no tag 'bse': did you mean base?",
        ),
        (
            {"upstream": DISTILLED},
            "learns from a labelled corpus; say which: --task asr --data DIR",
        ),
        (
            {"upstream": DISTILLED, "task": "se"},
            "learns from another upstream; say which: --teacher",
        ),
        ({"data": ()}, "learns from speech; name folders of it: --data DIR ..."),
        ({"data": ("a", "b"), "task": "se"}, "--task se reads one corpus, not 2"),
    ],
)
def test_a_wrong_request_is_one_sentence(speech, corpus, tmp_path, changes, sentence):
    if changes.get("task") == "se" and "data" not in changes:
        changes = changes | {"data": (corpus,)}
    with pytest.raises(UsageError) as refused:
        train(speech, tmp_path, **changes)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_tags_preset_else_the_published_one():
    assert [
        preset_of(spec) for spec in ("daisy", "daisy.tiny", "daisy.base", "hubert", STUDENT)
    ] == ["tiny", "tiny", "paper", "tiny", "quick"]


@pytest.mark.parametrize("name", ["daisy", "hubert"])
def test_presets_are_whole(name):
    """Every number has an explanation and every preset a source; settings have one meaning."""
    plugin = upstreams.get(name)
    training = plugin.trained_by
    options = training_start.inspect.signature(plugin).parameters
    assert set(training.options) <= set(options)
    for preset in training.presets.values():
        names = [f.name for f in dataclasses.fields(preset)]
        assert preset.source and not set(names) & set(training.options)
        assert all(f.metadata["about"] for f in dataclasses.fields(preset))
    card = json.loads((ROOT / "upstreams" / f"{name}.tiny.json").read_text())
    shipped = card["recipe"].items()
    assert shipped <= dataclasses.asdict(training.presets["tiny"]).items()


def test_the_list_has_every_preset_with_every_field(capsys):
    assert cli.main(["train", "daisy.base", "--list"]) == 0
    shown = capsys.readouterr().out
    for name, value in (
        ("steps", "88000"),
        ("lr", "5e-05"),
        ("batch", "32"),
        ("seconds", "15.625"),
    ):
        line = next(x.split() for x in shown.splitlines() if x.split()[0] == name)
        assert value in line[1:3]
    assert "paper: Lin, Lee and Tang, 2024" in shown and "with --preset paper when" in shown
    assert cli.main(["train", "--list"]) == 0
    shown = capsys.readouterr().out
    assert "daisy:" in shown and "hubert:" in shown and "block_layer" in shown


def test_the_verb_trains_and_prints_the_weights(speech, tmp_path, capsys):
    words = [
        "train",
        STUDENT,
        "--data",
        str(speech / "clips"),
        "--out",
        str(tmp_path),
        "--set",
        "steps=1",
    ]
    assert cli.main(words) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "student.safetensors")]
    assert (
        cli.main(words[:4]) == 2
        and "--out, the folder for the weights, is missing" in capsys.readouterr().err
    )
