"""Filter, encoder and heads trained together, and what of that is refused."""

import json
from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark import resume_points
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.upstreams.training.recognition_data import Transcripts
from earlyexit_superb.upstreams.training.recognition_learner import Learner
from helpers.spelling import LETTER, RECIPE, Small, run_in, same, transcribed, tune
from safetensors.torch import load_file

SHORT = {"shorten": "conv2", "per_frame": 2}
TWO = replace(RECIPE, steps=2, every=1, schedule="constant")


pytestmark = pytest.mark.usefixtures("one_thread")


def test_filter_and_heads_are_trained_and_loaded_with_the_encoder(tmp_path):
    weights = tune(tmp_path, recipe=TWO, options=SHORT)
    built = Small(weights=str(weights), **SHORT).eval()
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["options"] == {"shorten": "conv2", "per_frame": "2"}
    assert card["revision"] == built.card.revision and not built.card.name.endswith("random")
    begun = Small(weights="pretrained", **SHORT).state_dict()
    best = resume_points.best(tmp_path / "small" / "joint", "wer")
    moved = set()
    for name, value in built.state_dict().items():
        assert torch.equal(value, best[f"recogniser.{name}"].half().float())
        moved |= {name} if not torch.equal(value, begun[name].half().float()) else set()
    assert {"trunk.shorten.weight", "heads.1.out.weight"} <= moved
    assert any(name.startswith("trunk.inner.net.encoder") for name in moved)
    # names as in every file, and the filter beside them
    stored = load_file(weights)
    plain = set(load_file(tune(tmp_path / "plain", recipe=TWO)))
    assert stored.keys() - plain == {"shorten.weight"} and plain <= stored.keys()
    same(stored, load_file(tune(tmp_path, recipe=TWO, options=SHORT)))  # nothing is left to do


def test_a_filter_that_learns_nothing_is_in_no_file(tmp_path):
    options = {"shorten": "average3", "per_frame": 3}
    weights = tune(tmp_path, recipe=TWO, options=options)
    assert "shorten.weight" not in load_file(weights)
    built = Small(weights=str(weights), **options)
    assert torch.equal(built.trunk.shorten.weight, Small(**options).trunk.shorten.weight)
    assert built.heads["3"].symbols == 3 * len(built.alphabet)


def test_the_second_stage_leaves_the_filter_as_it_was(tmp_path):
    recipe = replace(TWO, strategy="two_stage", second_steps=2)
    weights = tune(tmp_path, recipe=recipe, options=SHORT)
    first = resume_points.best(tmp_path / "small" / "backbone", "wer")
    taps = Small(weights=str(weights), **SHORT).trunk.shorten.weight
    assert torch.equal(taps, first["recogniser.trunk.shorten.weight"].half().float())
    assert not torch.equal(taps, Small(**SHORT).trunk.shorten.weight.half().float())


def test_a_killed_training_ends_as_an_undisturbed_one(tmp_path, monkeypatch):
    recipe = replace(TWO, steps=4, head_optimiser="adadelta")
    straight = tune(tmp_path / "a", recipe=recipe, options=SHORT)
    hear, count = Learner.hear, 0

    def dying(self, *args, **kwargs):
        nonlocal count
        count += self.training
        if count == 3:
            raise RuntimeError("killed")
        return hear(self, *args, **kwargs)

    monkeypatch.setattr(Learner, "hear", dying)
    with pytest.raises(RuntimeError, match="killed"):
        tune(tmp_path / "b", recipe=recipe, options=SHORT)
    monkeypatch.setattr(Learner, "hear", hear)
    same(load_file(straight), load_file(tune(tmp_path / "b", recipe=recipe, options=SHORT)))


def test_the_filter_learns_at_the_rate_of_the_heads():
    learner = Learner(Small(**SHORT), RECIPE, "small")
    backbone, heads = learner.groups()
    taps = learner.recogniser.trunk.shorten.weight
    assert any(p is taps for p in heads) and not any(p is taps for p in backbone)
    every = sum(p.numel() for p in learner.parameters())
    assert sum(p.numel() for p in (*backbone, *heads)) == every


def test_transcripts_have_the_room_of_all_scores(caplog):
    texts = ["AB", "A" * 9, "CAB"]
    data = transcribed(texts=texts)
    second = replace(data.corpus.splits["train"][1], samples=4 * LETTER)
    data.corpus.splits["train"][1] = second  # AAA... takes 17 scores

    def kept(**options):
        caplog.clear()
        return len(Transcripts(RECIPE, data, run_in(), Small(**options)).items)

    assert kept() == 3  # 24 frames
    assert kept(shorten="conv2") == 2 and "1 of 3 training transcripts" in caplog.text
    assert kept(**SHORT) == 3


def test_no_transcript_fits_is_one_sentence():
    data = transcribed(texts=["ABCABC"])
    data.corpus.splits["train"][0] = replace(data.corpus.splits["train"][0], samples=LETTER)
    sentence = "1 of 1 transcripts need more frames .* take .*--set per_frame=2.*smaller factor"
    with pytest.raises(UsageError, match=sentence):
        Transcripts(RECIPE, data, run_in(), Small(shorten="resample4"))


def test_weights_of_another_width_or_filter_are_refused(tmp_path):
    weights = str(tune(tmp_path, recipe=TWO, options=SHORT))
    for options, asked in (
        ({"shorten": "conv2"}, "shorten=conv2 is asked for"),
        ({}, "none of shorten, per_frame, backbone is asked for"),
        ({"shorten": "conv3", "per_frame": 2}, "shorten=conv3 per_frame=2 is asked for"),
    ):
        sentence = f"was trained with shorten=conv2 per_frame=2, and {asked}; name the options"
        with pytest.raises(UsageError, match=sentence):
            Small(weights=weights, **options)


@pytest.mark.parametrize("kind", ["conv5", "conv", "mean2", "2"])
def test_a_filter_that_is_none_is_refused(kind):
    with pytest.raises(UsageError, match="small: shorten is conv, average, resample with a factor"):
        Small(shorten=kind)
    with pytest.raises(UsageError, match="per_frame is at least 1 score, not 0"):
        Small(per_frame=0)
