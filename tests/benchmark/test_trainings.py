"""Several trainings at once: the same weights as one after the other, students after those that
they begin with, and one that fails says why.
"""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark.engine import trainings
from earlyexit_superb.benchmark.engine.training_start import TrainingConfig, train
from earlyexit_superb.benchmark.engine.workers import Ask
from earlyexit_superb.benchmark.errors import UsageError
from helpers import papers
from safetensors import safe_open
from safetensors.torch import load_file


@pytest.fixture
def asked(spoken, tmp_path):
    def training(name, seed=0, **settings):
        spec, more = papers.MODEL.spec("tiny"), {"task": "asr", "seed": seed, "settings": settings}
        return TrainingConfig(spec, tmp_path / name, "tiny", (spoken,), **more)

    return training


def test_side_by_side_weights_are_those_of_one_after_the_other(
    asked, monkeypatch, one_thread, capfd
):
    alone = {name: train(asked(name, seed)) for seed, name in enumerate(("a", "b"))}
    together = {name: asked(f"{name}-together", seed) for seed, name in enumerate(("a", "b"))}
    monkeypatch.setattr(trainings, "at_once", lambda jobs: jobs)
    trainings.finished(together, "table")
    said = capfd.readouterr().err
    assert "table: 2 trainings: 100%" in said and "training 1 of" not in said
    for name, one in together.items():
        found, expected = load_file(trainings.weights_of(one)), load_file(alone[name])
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected), name
    monkeypatch.setattr(trainings, "workers", None)  # a second time nothing is begun
    trainings.finished(together, "table")


def test_a_training_waits_for_the_one_that_it_begins_with(asked, monkeypatch):
    first = asked("first")
    second = asked("second", weights=str(trainings.weights_of(first)))
    waves = []

    def dealt(asks, pool):
        waves.append([ask.name for ask in asks])
        return iter(())

    counts = []
    monkeypatch.setattr(trainings, "at_once", lambda jobs: counts.append(jobs) or min(jobs, 4))
    monkeypatch.setattr(trainings, "workers", lambda count: nullcontext([]))
    monkeypatch.setattr(trainings, "dealt", dealt)
    trainings.finished({"first": first, "second": second}, "table", iter([Ask("run", None, ())]))
    # with the last wave, which may leave a core without a training
    assert waves == [["first"], ["second", "run"]]
    assert trainings.weights_of(second).exists()  # what no worker did was done
    trainings.finished({"first": first, "second": second}, "table", iter([Ask("run", None, ())]))
    assert len(waves) == 2  # none is missing: the other work has its own time
    assert counts[0] > 2 and counts[1] == 0  # as many processes as there may be other work


def test_a_single_training_without_other_work_has_all_cores(asked, monkeypatch):
    monkeypatch.setattr(trainings, "workers", None)
    monkeypatch.setattr(trainings, "at_once", lambda jobs: jobs)
    trainings.finished({"one": asked("one")}, "table", iter(()))
    assert trainings.weights_of(asked("one")).exists()


@pytest.mark.parametrize("name", ["hubert_ee", "conformer_ctc"])
def test_one_core_is_for_small_ones_whatever_has_weights(name, tmp_path):
    """Published sizes come with none before their training."""
    for tag, is_small in (("tiny", True), ("base", False)):
        one = TrainingConfig(f"{name}.{tag}", tmp_path, task="asr")
        assert trainings._one_core(one) == is_small


def test_trainings_by_one_recipe_say_so_whatever_their_seeds_and_what_they_begin_with(asked):
    def recipe(one):
        return safe_open(trainings.weights_of(one), "pt").metadata()["recipe"]

    firsts = [asked(f"first-{seed}", seed) for seed in (0, 1)]
    seconds = [
        asked(f"second-{one.seed}", one.seed, weights=str(trainings.weights_of(one)))
        for one in firsts
    ]
    longer = asked("longer", 0, steps="3")
    for one in (*firsts, *seconds, longer):
        train(one)
    assert recipe(firsts[0]) == recipe(firsts[1]) != ""
    assert recipe(seconds[0]) == recipe(seconds[1])
    assert len({recipe(one) for one in (firsts[0], seconds[0], longer)}) == 3
    built = papers.Speller(weights=str(trainings.weights_of(firsts[1])))
    assert built.card.recipe == recipe(firsts[0])


def test_what_cannot_be_trained_is_said_before_the_first(asked, monkeypatch):
    monkeypatch.setattr(trainings, "train", None)
    with pytest.raises(UsageError, match="stepz"):
        trainings.finished({"right": asked("right"), "wrong": asked("wrong", stepz="3")}, "table")


def test_a_failure_in_a_worker_is_the_failure_here(asked, monkeypatch):
    one, other = asked("one", alphabet="nowhere.model"), asked("other", 1)
    monkeypatch.setattr(trainings, "at_once", lambda jobs: jobs)
    with pytest.raises(UsageError, match=r"nowhere\.model"):
        trainings.finished({"one": one, "other": other}, "table")
    assert trainings.weights_of(other).exists()


def test_progress_is_told_in_updates_of_all_stages():
    two = replace(papers.RECIPE, strategy="two_stage")
    assert (papers.RECIPE.updates, two.updates) == (2, 4)
    assert replace(two, second_steps=5).updates == 7
