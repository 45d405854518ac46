"""Training through the contract: presets, settings, data and teachers."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from earlyexit_superb.benchmark import cli
from earlyexit_superb.benchmark.engine import training_start
from earlyexit_superb.benchmark.engine.training_start import preset_of
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import build_upstream, upstreams
from helpers import ROOT, TOY
from helpers.students import STUDENT, errors, train
from safetensors.torch import load_file

DISTILLED = STUDENT.replace(":Student", ":Distilled")


# ---- what is trained ----


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


# ---- what is asked for ----


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"settings": {"stesp": "3"}}, "has no option 'stesp': did you mean steps?"),
        ({"settings": {"steps": "many"}}, "steps is a number like 8, not 'many'"),
        ({"settings": {"steps": "0"}}, "steps is at least 1, not 0"),
        ({"settings": {"steps": "9" * 30}}, "steps is a number of 64 bits, not '999"),
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
            "layer_similarity has nothing to train; upstreams with a recipe: conformer_aed, ",
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


@pytest.mark.parametrize("name", ["daisy", "distilhubert", "hubert", "layerdrop"])
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
    assert card["recipe"].keys() <= dataclasses.asdict(training.presets["tiny"]).keys()


@pytest.mark.parametrize("name", training_start.trainable_names())
def test_a_zero_that_is_explained_can_be_set(name):
    for preset, recipe in upstreams.get(name).trained_by.presets.items():
        counts = [f for f in dataclasses.fields(recipe) if isinstance(getattr(recipe, f.name), int)]
        for field in counts:
            zero = any(mark in field.metadata["about"] for mark in ("0: ", "0 = "))
            if isinstance(field.default, bool) or not zero:
                continue
            asked = {field.name: "0", "seconds": "60"} if field.name == "batch" else {field.name: 0}
            config = training_start.TrainingConfig(name, Path(), preset, settings=asked)
            assert getattr(training_start.settled(config)[2], field.name) == 0


@pytest.mark.parametrize("seed", ["-1", "1.5", str(2**32)])
def test_a_seed_is_a_whole_number(seed, tmp_path, capsys):
    line = ["train", "hubert_ee.tiny", "--task", "asr", "--seed", seed, "--out", str(tmp_path)]
    assert cli.main(line) == 2
    assert "--seed takes whole numbers from 0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_first_of_the_shipped_trainings_is_the_preset():
    """The later ones are commands of docs/training.md (test_shipped_recipes.py)."""
    card = json.loads((ROOT / "upstreams" / "hubert.tiny.json").read_text())
    while card.get("warm_from"):
        card = card["warm_from"]
    preset = dataclasses.asdict(upstreams.get("hubert").trained_by.presets["tiny"])
    assert card["recipe"].items() <= preset.items()


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
