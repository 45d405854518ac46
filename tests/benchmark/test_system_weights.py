"""The weights that a comparison makes first: a training a recipe, a corpus and a seed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.commands import compare_systems
from earlyexit_superb.benchmark.commands.config_file import with_config
from earlyexit_superb.benchmark.engine import (
    paper_weights,
    several,
    system_runs,
    system_weights,
    systems,
)
from earlyexit_superb.benchmark.engine.ahead import Job
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.paper_weights import Conditions
from earlyexit_superb.benchmark.engine.system_runs import Controls, parts
from earlyexit_superb.benchmark.engine.systems import defaults, named, spelled_out
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.report.papers import hubert_ee
from earlyexit_superb.upstreams.training import recognition
from helpers import papers

MADE = "hubert_ee weights=trained"


@pytest.fixture
def like(tmp_path):
    return RunConfig(upstream="", task="asr", results=tmp_path)


def test_systems_that_come_with_no_weights_stand_on_asr_alone():
    names = {"hubert_ee.tiny", "wav2vec2_ctc.tiny", "zaiem.tiny"}
    assert {one.spec for one in defaults("asr")[0] if one.trained} == names
    assert not any(one.trained for one in defaults("se")[0])
    [published] = named("hubert_ee.base")  # a table trains no system of published size unasked
    assert not published.trained


def test_a_training_is_shared_by_what_is_not_trained(like):
    first = system_weights.training_of(spelled_out(MADE), like)
    assert first.preset == "tiny" and first.task == "asr" and not first.settings
    same = spelled_out(f"{MADE} criterion=confidence tau=0.1")
    assert system_weights.training_of(same, like) == first
    single = system_weights.training_of(spelled_out(f"{MADE} single=8"), like)
    assert single.settings == {"single": "8"} and single.out.parent != first.out.parent
    letters = system_weights.training_of(spelled_out(f"{MADE} alphabet=letters"), like)
    assert letters.settings == {"alphabet": "letters"} and letters.out.parent != first.out.parent
    other = system_weights.training_of(spelled_out(MADE), replace(like, data=like.results))
    assert other.out.parent != first.out.parent and other.data == (like.results,)
    few = replace(like, data=like.results, protocol="minisuperb")
    small = system_weights.training_of(spelled_out(MADE), few)
    assert (other.train_set, small.train_set) == ("", "librispeech_finetuning")
    assert small.out.parent != other.out.parent
    own = replace(few, settings={"train_set": "train-clean-360"})
    assert system_weights.training_of(spelled_out(MADE), own).train_set == "train-clean-360"
    seed = system_weights.training_of(spelled_out(MADE), replace(like, seed=2))
    assert seed.out.parent == first.out.parent and seed.seed == 2


def test_what_a_paper_trains_a_comparison_finds(like):
    """Of HuBERT-EE the joint training, which the recipe's own fields say, too."""
    asked = Conditions("hubert-ee", results=like.results)
    of_paper = paper_weights.config(hubert_ee.JOINT, asked, seed=0)
    assert of_paper.settings == {"strategy": "joint"}
    assert of_paper.out == system_weights.training_of(spelled_out(MADE), like).out
    mine = [training_of_file(folder, like) for folder in ("one", "two")]
    assert len({one.out for one in mine}) == 2  # two files may call a class the same
    others = (hubert_ee.TWO_STAGE, hubert_ee.FIRST_EIGHT, hubert_ee.DISTILLED)
    folders = {paper_weights.config(one, asked, seed=0).out for one in others}
    assert len(folders) == 3 and of_paper.out not in folders
    shorter = replace(asked, recipe={"steps": "9"})
    assert paper_weights.config(hubert_ee.JOINT, shorter, seed=0).out != of_paper.out


def training_of_file(folder, like):
    path = like.results / folder / "mine.py"
    path.parent.mkdir()
    path.write_text(Path(papers.__file__).read_text())
    return system_weights.training_of(spelled_out(f"{path}:Speller weights=trained"), like)


def test_each_seed_gets_its_own_file_and_others_stay_as_they_are(like, monkeypatch):
    asked = {}
    monkeypatch.setattr(system_weights, "finished", lambda configs, *_: asked.update(configs))
    some, likes = [spelled_out(MADE), spelled_out("hubert")], [like, replace(like, seed=1)]
    found = system_weights.trained(some, likes, "compare")
    files = [of_seed[0].settings["weights"] for _, of_seed in found]
    assert all(
        name.endswith(f"seed-{seed}/hubert_ee.tiny.safetensors") for seed, name in enumerate(files)
    )
    assert [of_seed[1] for _, of_seed in found] == [some[1]] * 2
    assert len(asked) == 2 and all(name.startswith("hubert_ee.tiny-") for name in asked)


def test_before_its_training_a_system_is_checked_with_random_weights(like):
    [part], _ = parts([spelled_out(MADE).without_weights], Controls(), like)
    assert "weights" not in part.config.settings


def test_what_the_recipe_does_not_fit_is_left_out_before_it_is_trained(monkeypatch, tmp_path):
    def refused(config):
        if config.upstream == "hubert_ee":
            raise UsageError("it does not fit")

    everything = [spelled_out(MADE), spelled_out("wav2vec2_ctc weights=trained")]
    everything.append(spelled_out("hubert"))
    asked, beside = {}, []

    def finished(configs, what, others):
        asked.update(configs)
        beside.extend(ask.name for ask in others)

    monkeypatch.setattr(systems, "defaults", lambda task: (everything, []))
    monkeypatch.setattr(system_runs, "resolve", refused)
    monkeypatch.setattr(system_weights, "finished", finished)
    alone = lambda parts, _: (Job(part.name, part.config, ()) for part in parts)  # noqa: E731
    monkeypatch.setattr(several, "jobs", alone)
    monkeypatch.setattr(system_weights, "weights_of", lambda one: "random")  # in a file's place
    words = ["--task", "asr", "--controls", "--results", str(tmp_path)]
    args = with_config(compare_systems._parser(), words)
    compare_systems._check(args)
    ready, left_out = compare_systems._parts(args)
    assert [part.config.upstream for part in ready] == ["wav2vec2_ctc", "hubert"]
    assert left_out == ["asr, seed 0, hubert_ee: it does not fit"]
    assert [one.upstream for one in asked.values()] == ["wav2vec2_ctc"]
    assert beside == ["asr, seed 0, hubert"]  # no stand-in of what is still to be trained


def test_what_is_not_tuned_on_transcripts_is_one_sentence(like):
    with pytest.raises(UsageError, match="weights=trained is for upstreams that are tuned on tran"):
        system_weights.training_of(spelled_out("hubert weights=trained"), like)
    with pytest.raises(UsageError, match="has nothing to train"):
        system_weights.training_of(spelled_out("margin weights=trained"), like)


def test_a_table_tunes_once_and_then_prints(spoken, tmp_path, shared_cache, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    system = f"{papers.MODEL.spec('tiny')} weights=trained target_depth=2"
    line = ["compare", "--task", "asr", "--system", system, "--controls", "--seed", "0", "1"]
    line += ["--data", str(spoken), "--protocol", "mini", "--results", str(tmp_path), "--json"]
    assert main(line) == 0
    first, said = capsys.readouterr()
    assert "compare: training 1 of 2" in said or "compare: 2 trainings" in said
    files = sorted(tmp_path.glob("trained/*/seed-*/*.safetensors"))
    assert [path.parent.name for path in files] == ["seed-0", "seed-1"]
    lines = [json.loads(text) for text in first.splitlines()]
    assert {"full", "depth 1"} < {one["exit"] for one in lines}
    assert {one["seeds"] for one in lines} == {2}  # two trainings by one recipe are one line
    monkeypatch.setattr(recognition, "train", None)
    assert main(line) == 0
    again, said = capsys.readouterr()
    assert again == first and "training" not in said
