"""Fine-tuning a small system that spells: it learns, goes on, and writes what its class reads."""

import json
from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark import resume_points
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.upstreams.training import recognition_stages
from earlyexit_superb.upstreams.training.recognition_learner import Learner
from helpers import installed
from helpers.spelling import RECIPE, Small, said, same, transcribed, tune
from safetensors.torch import load_file

pytestmark = pytest.mark.usefixtures("one_thread")


def log(folder, stage="joint"):
    lines = (folder / "small" / stage / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_it_is_trained_and_its_class_reads_it(tmp_path):
    weights = tune(tmp_path)
    card = json.loads(weights.with_suffix(".json").read_text())
    built = Small(weights=str(weights)).eval()
    assert built.card.revision == card["revision"] and built.card.tuned_on == card["tuned_on"]
    assert card["exits"] == [1, 2, 3] and card["recipe"]["steps"] == 6
    kept = card["kept"]["joint"]
    assert {"wer@1", "cer@2", "wer@3", "dev_loss"} <= kept.keys() and kept["wer"] == kept["wer@3"]
    assert kept["wer"] == min(line["wer"] for line in log(tmp_path))
    # what is written is what was best on dev, as fp16, the convolutions as they were
    best = resume_points.best(tmp_path / "small" / "joint", "wer")
    for name, value in built.state_dict().items():
        assert torch.equal(value, best[f"recogniser.{name}"].half().float())
    begun = Small(weights="pretrained").trunk.net.feature_extractor.state_dict()
    for name, value in built.trunk.net.feature_extractor.state_dict().items():
        assert torch.equal(value, begun[name].half().float())
    before = load_file(weights)
    same(before, load_file(tune(tmp_path)))  # nothing is left to do


# in the second stage, and in the first
@pytest.mark.parametrize("die_at", [9, pytest.param(4, marks=pytest.mark.slow)])
def test_a_killed_training_ends_as_an_undisturbed_one(tmp_path, monkeypatch, die_at):
    recipe = replace(
        RECIPE,
        strategy="two_stage",
        schedule="newbob",
        improvement=0.5,
        head_optimiser="adadelta",
        dropout=0.1,
        head_dropout=0.1,
        speeds=(0.9, 1.1),
        chunks=1,
    )
    straight = tune(tmp_path / "a", recipe=recipe)
    hear, count = Learner.hear, 0

    def dying(self, *args, **kwargs):
        nonlocal count
        count += self.training
        if count == die_at:
            raise RuntimeError("killed")
        return hear(self, *args, **kwargs)

    monkeypatch.setattr(Learner, "hear", dying)
    with pytest.raises(RuntimeError, match="killed"):
        tune(tmp_path / "b", recipe=recipe)
    monkeypatch.setattr(Learner, "hear", hear)
    resumed = tune(tmp_path / "b", recipe=recipe)
    same(load_file(straight), load_file(resumed))
    for stage in ("backbone", "heads"):
        one, two = log(tmp_path / "a", stage), log(tmp_path / "b", stage)
        for a, b in zip(one, two, strict=True):
            assert a | {"seconds": 0} == b | {"seconds": 0}


def test_the_second_stage_leaves_the_first_as_it_was(tmp_path):
    recipe = replace(RECIPE, strategy="two_stage", steps=2, every=1, second_steps=2)
    weights = tune(tmp_path, recipe=recipe)
    first = resume_points.best(tmp_path / "small" / "backbone", "wer")
    built = Small(weights=str(weights)).state_dict()
    begun = Small(weights="pretrained").state_dict()
    for name, value in built.items():
        same = torch.equal(value, first[f"recogniser.{name}"].half().float())
        assert same == ("heads.1." not in name and "heads.2." not in name)
    changed = {n for n, v in built.items() if not torch.equal(v, begun[n].half().float())}
    assert any(name.startswith("trunk.net.encoder") for name in changed)
    assert {"wer@1", "wer@2", "wer"} <= log(tmp_path, "heads")[-1].keys()
    assert "wer@1" not in log(tmp_path, "backbone")[-1]


def test_the_last_exit_may_have_a_new_head_in_the_second_stage(tmp_path):
    """It begins where the first stage's began, and hardly moves at such a rate; the first stage's
    did move."""
    recipe = replace(RECIPE, strategy="two_stage", steps=2, every=2, second_steps=2)
    weights = tune(tmp_path, recipe=replace(recipe, second_last=True, second_lr=1e-9))
    first = resume_points.best(tmp_path / "small" / "backbone", "wer")
    name = "heads.3.out.weight"
    begun = Small(weights="pretrained").state_dict()[name]
    assert (first[f"recogniser.{name}"] - begun).abs().max() > 5e-3
    torch.testing.assert_close(load_file(weights)[name].float(), begun, atol=1e-3, rtol=1e-3)
    assert "wer@3" in log(tmp_path, "heads")[-1]


def test_the_encoder_is_held_for_the_first_updates_and_the_front_end_unless_asked(tmp_path):
    def moved(name, **changes):
        recipe = replace(RECIPE, steps=2, every=1, schedule="constant", **changes)
        best = resume_points.load(
            tune(tmp_path / name, recipe=recipe).with_suffix("") / "joint" / "last.ckpt"
        )["model"]
        begun = Small(weights="pretrained").state_dict()
        parts = {"feature_extractor": False, "encoder.layers": False, "heads": False}
        for key, value in begun.items():
            for part in parts:
                parts[part] |= part in key and not torch.equal(value, best[f"recogniser.{key}"])
        return tuple(parts.values())

    assert moved("held", freeze=2) == (False, False, True)
    assert moved("let go", freeze=1) == (False, True, True)
    assert moved("front", front=0.1) == (True, True, True)


@pytest.mark.slow
def test_it_learns_to_spell_and_every_exit_does(tmp_path):
    recipe = replace(RECIPE, steps=400, every=100, batch=8, layerdrop=0.0, front=1.0, lr=3e-3)
    data = transcribed(train=64, dev=16)
    weights = tune(tmp_path, data, recipe)
    first, *_, last = log(tmp_path)
    assert last["dev_loss"] < 0.3 * first["dev_loss"]
    assert last["cer@3"] < 25 and last["cer@2"] < 60
    built = Small(weights=str(weights)).eval()
    with torch.no_grad():
        wav = said("ABC CAB")
        states = list(built.states(wav[None], torch.tensor([len(wav)])))
        frames = built.frames(torch.tensor([len(wav)]))
        assert set(built.decode(built.answer(3, states[3], frames)[0], "asr")) <= set("ABC ")


def test_a_training_that_diverged_says_so_and_leaves_no_weights(tmp_path, monkeypatch):
    """Not that they are damaged, which another copy would mend."""
    usual = recognition_stages.StageTraining.look

    def look(self):
        with torch.no_grad():
            next(self.learner.recogniser.heads.parameters()).fill_(1e9)  # beyond those of fp16
        return usual(self)

    monkeypatch.setattr(recognition_stages.StageTraining, "look", look)
    said = "small.safetensors is not written: heads.* would hold nan or infinity .as float16.*lr="
    with pytest.raises(UsageError, match=said):
        tune(tmp_path, recipe=replace(RECIPE, steps=1, every=1))
    assert not list(tmp_path.glob("*.safetensors"))


def test_word_pieces_are_learned_from_the_transcripts_and_travel_with_the_weights(tmp_path):
    installed("sentencepiece")
    recipe = replace(RECIPE, alphabet="bpe:36", steps=1, every=1)
    weights = tune(tmp_path, transcribed(train=40), recipe)
    card = json.loads(weights.with_suffix(".json").read_text())
    assert (card["alphabet"], card["symbols"]) == ("bpe36", 36)
    assert len(Small(weights=str(weights)).alphabet.encode("ABC A")) <= 5
    with pytest.raises(UsageError, match="takes a number of pieces, not 'x'"):
        tune(tmp_path / "x", recipe=replace(recipe, alphabet="bpe:x"))


def test_what_cannot_be_trained_is_one_sentence(tmp_path):
    data = transcribed()
    for change, head, sentence in (
        ({"ctc": 0.3}, "separate", "have no decoder.*add --set ctc=1"),
        ({"strategy": "two_stage"}, "tied", "tied heads are one"),
    ):
        with pytest.raises(UsageError, match=sentence):
            tune(tmp_path, data, replace(RECIPE, **change), options={"head": head})
    with pytest.raises(UsageError, match="name a task that has them: --task asr"):
        tune(tmp_path, replace(data, task=replace(data.task, needs=("speaker",))))
    with pytest.raises(UsageError, match="leave out --noise"):
        tune(tmp_path, replace(data, noise=(tmp_path,)))


def test_losses_that_are_no_numbers_end_it_when_they_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(recognition_stages, "PATIENCE", 3)
    monkeypatch.setattr(
        recognition_stages, "total", lambda *args: torch.tensor(torch.nan, requires_grad=True)
    )
    sentence = "loss of 3 updates in a row was no number .* up to update 3; .* --set lr=0.0001"
    with pytest.raises(UsageError, match=sentence):
        tune(tmp_path, recipe=replace(RECIPE, every=10, steps=10))


def test_a_training_whose_losses_never_were_numbers_is_none(tmp_path, monkeypatch):
    """Shorter than the patience with such losses."""
    total = recognition_stages.total
    monkeypatch.setattr(recognition_stages, "total", lambda *args: total(*args) * torch.nan)
    for _ in range(2):  # nor is it when it goes on
        with pytest.raises(UsageError, match="none of its 6 updates had a gradient .*--set lr="):
            tune(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_one_that_comes_and_goes_is_left_out_and_counted(tmp_path, monkeypatch, caplog):
    hear, count = Learner.hear, 0

    def poisoned(self, *args, **kwargs):
        nonlocal count
        count += self.training
        heard = hear(self, *args, **kwargs)
        if self.training and count == 2:
            heard.scores[3] = heard.scores[3] * float("nan")
        return heard

    monkeypatch.setattr(Learner, "hear", poisoned)
    card = json.loads(tune(tmp_path).with_suffix(".json").read_text())
    assert card["skipped"]["joint"] == [1, 1]
    assert "1 of 6 updates of small, joint, were left out" in caplog.text
