"""HuBERT-EE's static baselines: distilled and pruned backbones tuned on transcripts."""

import json

import pytest
import torch
from earlyexit_superb.benchmark.conformance import check_upstream
from earlyexit_superb.benchmark.engine.training_start import TrainingConfig, train
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.layerdrop import kept

RANDOM = {"weights": "random"}
STUDENT = {"backbone": "distilhubert.tiny", "single": "2"}


@torch.no_grad()
def answers_of(up, wavs, lengths):
    """Its last depth's, of a batch."""
    *_, last = up.states(wavs, lengths)
    return up.answer(up.card.depth, last, up.frames(lengths))


def hubert_ee(**options):
    return build_upstream("hubert_ee", RANDOM | options)


@pytest.fixture
def heard(clips):
    some = [clip[: 3000 + 900 * i] for i, clip in enumerate(clips[:3])]
    lengths = torch.tensor([len(clip) for clip in some])
    return torch.nn.utils.rnn.pad_sequence(some, batch_first=True), lengths


@pytest.mark.parametrize(
    "options, depth, kind",
    [
        (STUDENT, 2, "distilled"),
        ({"backbone": "distilhubert.tiny8", "single": "5"}, 5, "distilled"),
        ({"backbone": "layerdrop.tiny", "single": "6"}, 6, "pruned"),
        ({"backbone": "layerdrop", "single": "6", "shorten": "average2"}, 6, "downsampled"),
        ({"backbone": "hubert.tiny"}, 12, ""),
    ],
)
def test_a_backbone_stands_in_the_place_of_the_tags(options, depth, kind):
    up = hubert_ee(**options)
    assert (up.card.depth, up.card.kind) == (depth, kind)
    assert bool(up.exits) == (depth == 12) and f"backbone={options['backbone']}" in up.card.name


def test_a_backbone_begins_with_its_own_weights():
    up = build_upstream("hubert_ee", STUDENT | {"weights": "pretrained"})
    student = build_upstream("distilhubert.tiny")
    assert up.card.revision == f"{student.card.revision}+random-0"
    ours, theirs = up.trunk.net.state_dict(), student.net.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_it_meets_the_contract():
    assert [f.sentence for f in check_upstream(hubert_ee(**STUDENT)) if not f.ok] == []


# ---- left out blocks -----------------------------------------------------------------------------


@pytest.mark.parametrize("rate, left", [("0.1", 11), ("0.3", 8), ("0.5", 6)])
def test_pruned_it_runs_the_blocks_that_are_left_and_its_one_head(heard, rate, left):
    whole, up = hubert_ee(single="12"), hubert_ee(single="12", prune=rate)
    assert (up.card.depth, up.card.kind, up.exits) == (left, "pruned", ())
    assert up.card.revision == whole.card.revision and f"prune={rate}" in up.card.name
    with torch.no_grad():
        *_, last = whole.trunk.with_blocks(kept(12, float(rate))).states(*heard)
        expected = whole.answer(12, last, whole.frames(heard[1]))
    answers = answers_of(up, *heard)
    assert all(map(torch.equal, answers, expected))
    assert up.macs(16_000, left) == whole.macs(16_000, left) < whole.macs(16_000, 12)
    assert up.answer_macs(16_000, left) == whole.answer_macs(16_000, 12)
    for row, (wav, n) in enumerate(zip(*heard, strict=True)):
        [alone] = answers_of(up, wav[None, :n], n[None])
        torch.testing.assert_close(alone, answers[row], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_pruned_it_meets_the_contract():
    up = hubert_ee(single="12", prune="0.3")
    assert [f.sentence for f in check_upstream(up) if not f.ok] == []


# ---- trained -------------------------------------------------------------------------------------


def tuned(folder, **settings):
    few = {"steps": "2", "every": "1", "batch": "2", "dev_limit": "2"}
    return train(TrainingConfig("hubert_ee", folder, task="asr", settings=few | settings))


@pytest.mark.slow
def test_a_student_is_distilled_from_a_corpus_and_tuned_on_it(small_builtins, tmp_path):
    few = {"steps": "2", "every": "1", "batch": "2"}
    config = TrainingConfig(
        "distilhubert.tiny8", tmp_path, "tiny", task="asr", teacher="hubert.tiny", settings=few
    )
    student = train(config)
    card = json.loads(student.with_suffix(".json").read_text())
    assert card["hours"] == {"mini": pytest.approx(0.012, abs=0.01)} and card["blocks"][-1] == 8
    options = {"backbone": "distilhubert.tiny8", "single": "8"}
    weights = tuned(tmp_path, weights=str(student), warmup="0", lr="0.01", **options)
    built = build_upstream("hubert_ee", options | {"weights": str(weights)})
    card = json.loads(weights.with_suffix(".json").read_text())
    assert built.card.revision == card["revision"] and built.card.tuned_on.startswith("mini")
    # what was not to learn is the student's, and what was is not
    ours, theirs = built.trunk.net, build_upstream("distilhubert.tiny8", {"weights": str(student)})
    convolutions = ours.feature_extractor.state_dict()
    same = theirs.net.feature_extractor.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in convolutions.items())
    one, other = ours.encoder.layers[7].state_dict(), theirs.net.encoder.layers[7].state_dict()
    assert any(not torch.equal(value, other[name]) for name, value in one.items())
    with pytest.raises(UsageError, match="with backbone=distilhubert.tiny8, and none of shorten,"):
        build_upstream("hubert_ee", {"single": "8", "weights": str(weights)})


def test_weights_tuned_with_layer_drop_are_pruned_where_they_are_run(small_builtins, tmp_path):
    weights = str(tuned(tmp_path, single="12", layerdrop="0.3"))
    whole = build_upstream("hubert_ee", {"single": "12", "weights": weights})
    up = build_upstream("hubert_ee", {"single": "12", "weights": weights, "prune": "0.3"})
    assert (whole.card.depth, up.card.depth) == (12, 8)
    assert whole.heads["12"].out.weight.equal(up.heads["8"].out.weight)


# ---- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, sentence",
    [
        (
            {"backbone": "distilhubert.tiny"},
            "blocks 5, 8 and 11, and distilhubert.tiny has 2",
        ),
        ({"backbone": "distilhubert.tiny", "single": "3"}, "single is 1 to 2 blocks, or 0, not 3"),
        (
            {"backbone": "distilhubert.own", "single": "2"},
            "distilhubert.own has the sizes of its",
        ),
        ({"backbone": "conformer_ctc", "single": "2"}, "conformer_ctc has no blocks and conv"),
        ({"backbone": "distilhubert.tny", "single": "2"}, "no tag 'tny': did you mean tiny"),
        ({"tag": "large", "backbone": "hubert.large", "single": "24"}, "has no tag 'large'"),
        ({"prune": "0.3"}, "add --set single=12 prune=0.3, and weights that were so trained"),
        ({"single": "12", "prune": "0.7"}, "p is a rate from 0 to 0.5, not 0.7"),
        (
            {"backbone": "distilhubert.base8", "single": "8", "weights": "pretrained"},
            r"no published weights to begin with; make them \(run_benchmark.py train distilhub",
        ),
    ],
)
def test_bad_input_is_one_sentence(options, sentence):
    with pytest.raises(UsageError, match=sentence) as refused:
        hubert_ee(**options)
    assert "\n" not in str(refused.value)
