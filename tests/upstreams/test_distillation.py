"""Distillation: the loss, the student at its first step, what is written, what is refused."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark import distributed
from earlyexit_superb.benchmark.contract import TrainingData, TrainingRun
from earlyexit_superb.benchmark.engine.training_start import TrainingConfig, train
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones import shared_tensors
from earlyexit_superb.upstreams.training import (
    distillation,
    distillation_audio,
    distillation_recipe,
    distillation_student,
)
from helpers import ROOT, TOY, wav
from safetensors.torch import load_file, save_file

FEW = {"steps": "4", "every": "2", "batch": "2", "seconds": "0.5"}
RANDOM = {"teacher.weights": "random"}


def fit(speech, out, upstream="distilhubert.tiny", teacher="hubert.tiny", noise=(), **settings):
    """A student of a random teacher: its weights."""
    told = FEW | (RANDOM if teacher.startswith("hubert") else {}) | settings
    data = (speech / "clips",)
    return train(TrainingConfig(upstream, out, "tiny", data, noise, "", teacher, told))


@pytest.fixture(scope="module", autouse=True)
def short_looks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distillation_audio, "LOOKS", 1)
        yield


@pytest.fixture(scope="module")
def trained(speech, tmp_path_factory, short_looks):
    return fit(speech, tmp_path_factory.mktemp("trained"))


def states(upstream, samples=8000):
    with torch.no_grad():
        return list(upstream.states(wav(samples)[None], torch.tensor([samples])))


def same(ours, theirs):
    assert len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


def card_of(path):
    return json.loads(path.with_suffix(".json").read_text())


# ---- the loss ----


def test_the_loss_is_the_papers():
    """Equation 1: L1 over D features less lambda * log sigmoid(cosine)."""
    told, wanted = np.random.default_rng(0).standard_normal((2, 3, 5, 7))
    found = distillation_student.distance(torch.from_numpy(told), torch.from_numpy(wanted), 0.7)
    for place in np.ndindex(3, 5):
        a, b = told[place], wanted[place]
        cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        asked = np.abs(a - b).sum() / 7 - 0.7 * np.log(1 / (1 + np.exp(-cosine)))
        assert float(found[place]) == pytest.approx(asked, rel=1e-9)
    least = distillation_student.distance(torch.ones(4), torch.ones(4), 1.0)
    assert float(least) == pytest.approx(np.log(1 + np.exp(-1)))


@pytest.mark.parametrize("whole", [False, True])
def test_a_batch_is_shared_without_changing_the_loss(speech, ragged, tmp_path, monkeypatch, whole):
    """The mean of what two processes find is what one finds, of crops and of whole utterances."""
    found = []

    def no_training(student, loss, *_, **__):
        with torch.no_grad():
            found.append(float(loss(3)))

    monkeypatch.setattr(distillation.trainer, "train", no_training)
    monkeypatch.setattr(distillation, "_write", lambda *_: None)
    crop = {"seconds": 2.4, "whole": True} if whole else {"seconds": 0.5}
    recipe = replace(distillation_recipe.DISTILHUBERT_TINY, batch=2, **crop)
    teacher = build_upstream("hubert.tiny", {"weights": "random"}).requires_grad_(False)
    run = TrainingRun("distilhubert.tiny", "tiny", {}, tmp_path, tmp_path, teacher=teacher)
    for at in ((0, 1), (0, 2), (1, 2)):
        monkeypatch.setattr(distributed, "rank_and_size", lambda at=at: at)
        data = TrainingData(((ragged if whole else speech) / "clips",))
        distillation.train(recipe, data, run, distillation.Pupil([1, 2]), teacher.net.shape)
    one, first, second = found
    assert (first + second) / 2 == pytest.approx(one, rel=1e-4) and first != second


def test_the_preset_paper_has_the_published_numbers():
    """As pretrain/distiller/config_model.yaml and config_runner.yaml of s3prl have them."""
    found = asdict(distillation_recipe.DISTILHUBERT["paper"])
    published = {"steps": 200_000, "lr": 2e-4, "weight_decay": 1e-6, "warmup": 0.07, "clip": 5.0}
    published |= {"batch": 24, "front": 0.1, "cosine": 1.0, "layers": (4, 8, 12), "heads": True}
    assert {name: found[name] for name in published} == published
    assert found["seconds"] * 16_000 == 250_000 and found["whole"] and not found["blocks_alone"]


# ---- the student ----


def test_a_student_begins_as_its_teachers_first_blocks():
    teacher = build_upstream("hubert.tiny", {"weights": "random"}).requires_grad_(False)
    net = distillation_student.student_of(teacher.net, [1, 2])
    wavs, lengths = wav(8000)[None], torch.tensor([8000])
    with torch.no_grad():
        same(list(net.states(wavs, lengths)), states(teacher)[:3])
    assert all(p.requires_grad for p in net.parameters())
    assert not any(p.requires_grad for p in teacher.parameters())  # a copy, not the teacher


def test_a_step_leaves_blocks_out_at_random_but_never_all():
    torch.manual_seed(0)
    assert distillation_student.left_in(12, 0.0) == ()
    drawn = [distillation_student.left_in(12, 0.5) for _ in range(2000)]
    counts = np.bincount(np.concatenate(drawn), minlength=13)[1:]
    assert np.all(np.abs(counts / 2000 - 0.5) < 0.06)
    assert all(list(blocks) == sorted(set(blocks)) for blocks in drawn)
    assert all(len(distillation_student.left_in(3, 0.99)) >= 1 for _ in range(50))


@pytest.mark.parametrize("front", ["0", "0.5"])
def test_the_convolutions_learn_as_much_as_asked(speech, tmp_path, front):
    path = fit(speech, tmp_path, front=front, steps="1")
    ours = build_upstream("distilhubert.tiny", {"weights": str(path)}).net
    theirs = build_upstream("hubert.tiny", {"weights": "random"}).net
    moved = [
        not torch.equal(a, b.half().float())
        for a, b in zip(
            ours.feature_extractor.parameters(), theirs.feature_extractor.parameters(), strict=True
        )
    ]
    assert any(moved) == (front != "0")
    one, other = ours.encoder.layers[0], theirs.encoder.layers[0]
    assert not torch.equal(one.feed_forward.output_dense.weight, other.attention.out_proj.weight)


# ---- what is written ----


def test_a_student_is_written_with_its_card_and_without_its_heads(trained):
    card, student = card_of(trained), build_upstream("distilhubert.tiny", {"weights": str(trained)})
    assert student.card.revision == card["revision"] and student.card.depth == 2
    assert card["parameters"] == sum(p.numel() for p in student.net.parameters())
    assert card["teacher_revision"] == "random-0" and card["blocks"] == [1, 2]
    assert {"loss@4", "loss@8", "loss@12"} <= card["last_look"].keys() and card["before"] == {}
    assert card["recipe"]["steps"] == 4 and "clips" in card["hours"]
    assert student.unit_count == 0 and len(states(student)) == 3


def test_a_training_cut_short_goes_on_to_the_same_weights(speech, tmp_path, trained, monkeypatch):
    steps, original = [], distillation.left_in

    def third(*args):
        steps.append(args)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(distillation, "left_in", third)
    with pytest.raises(KeyboardInterrupt):
        fit(speech, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    again = fit(speech, tmp_path)
    ours, theirs = load_file(again), load_file(trained)
    assert len(steps) == 5 and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert fit(speech, tmp_path) == again and len(steps) == 5  # a finished one is not repeated


def test_layerdrop_writes_what_is_left_or_everything(speech, tmp_path):
    pruned = fit(speech, tmp_path / "half", "layerdrop.tiny", steps="2")
    card, left = card_of(pruned), build_upstream("layerdrop.tiny", {"weights": str(pruned)})
    assert card["blocks"] == [1, 3, 5, 7, 9, 11] and left.card.depth == 6
    assert card["before"].keys() == {"loss@12"} and left.card.revision == card["revision"]
    with pytest.raises(UsageError, match="holds the blocks 1/3/5/7/9/11 alone, and 1/2/4/5/7/8"):
        build_upstream("layerdrop.tiny", {"weights": str(pruned), "p": "0.3"})
    whole = fit(speech, tmp_path / "all", "layerdrop.tiny", steps="2", prune="0")
    both = build_upstream("layerdrop.tiny", {"weights": str(whole)})
    for a, b in zip(left.net.parameters(), both.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)
    assert build_upstream("layerdrop.tiny", {"weights": str(whole), "p": "0.3"}).card.depth == 8


def test_kept_blocks_learn_the_last_state(speech, tmp_path):
    path = fit(speech, tmp_path, "layer_removal.tiny", keep="2", steps="12", lr="0.002")
    tuned = build_upstream("layer_removal.tiny", {"weights": str(path), "keep": "2"})
    card = card_of(path)
    assert tuned.card.depth == 2 and tuned.card.kind == "pruned"
    assert card["last_look"]["loss@12"] < card["before"]["loss@12"]
    with pytest.raises(UsageError, match="holds the blocks 1/2 alone, and 1/2/3 are asked for"):
        build_upstream("layer_removal.tiny", {"weights": str(path), "keep": "3"})


def test_what_stayed_a_shipped_teachers_is_not_stored_again(speech, tmp_path, monkeypatch):
    path = fit(speech, tmp_path, **{"teacher.weights": "", "steps": "1"})
    names, whole = load_file(path).keys(), build_upstream("hubert.tiny").net.state_dict()
    student = build_upstream("distilhubert.tiny", {"weights": str(path)})
    assert student.card.revision == card_of(path)["revision"]
    left_out = student.net.state_dict().keys() - names
    assert any("conv_layers" in name for name in left_out) and "encoder.layer_norm.weight" in names
    assert all(torch.equal(student.net.state_dict()[name], whole[name]) for name in left_out)
    other, where = tmp_path / "other", shared_tensors.SHIPPED / "hubert.tiny.safetensors"
    other.mkdir()
    monkeypatch.setattr(shared_tensors, "SHIPPED", other)
    with pytest.raises(UsageError, match="hubert.tiny.safetensors cannot be read"):
        build_upstream("distilhubert.tiny", {"weights": str(path)})
    moved = {name: value + 1 for name, value in load_file(where).items()}
    save_file(moved, other / where.name)
    with pytest.raises(UsageError, match="was made from other weights than hubert.tiny"):
        build_upstream("distilhubert.tiny", {"weights": str(path)})


@pytest.mark.slow
def test_two_processes_distil_what_one_distils(speech, tmp_path):
    """With blocks left out at random: every process leaves out the same."""
    settings = FEW | RANDOM | {"prune": "0"}
    one = fit(speech, tmp_path / "one", "layerdrop.tiny", prune="0")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["train", "layerdrop.tiny", "--data", str(speech / "clips"), "--teacher", "hubert.tiny"]
    words += ["--out", str(tmp_path), "--set", *(f"{k}={v}" for k, v in settings.items())]
    subprocess.run(
        [sys.executable, *torchrun, str(ROOT / "run_benchmark.py"), *words],
        check=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    begun = build_upstream("hubert.tiny", {"weights": "random"}).net.state_dict()
    ours, theirs, start = (
        torch.cat([state[name].float().flatten() for name in load_file(one)])
        for state in (load_file(tmp_path / one.name), load_file(one), begun)
    )
    # what Adam makes of half precision differs where a gradient is nearly zero
    assert (ours - theirs).norm() < 0.1 * (theirs - start).norm()


# ---- what is asked for ----


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"teacher": TOY}, "toy is no HuBERT; name one: --teacher hubert.tiny"),
        ({"upstream": "distilhubert.base"}, "has dim 192 where distilhubert.base has 768"),
        ({"layers": "4,13"}, "block 13 is asked for, and the teacher hubert.tiny"),
        ({"layers": "4.5"}, "layers are numbers of blocks with commas between them"),
        ({"heads": "no"}, "becomes one state of the teacher, not 3; name one: --set layers=12"),
        ({"noise": True}, "hear clean speech; leave out --noise"),
        ({"upstream": "layerdrop.tiny", "drop": "1"}, "drop is a probability below 1, not 1"),
        ({"upstream": "layerdrop.tiny", "prune": "0.9"}, "p is a rate from 0 to 0.5, not 0.9"),
        ({"upstream": "layer_removal.tiny", "keep": "13"}, "keep is 1 to 12 blocks, not 13"),
        ({"upstream": "distilhubert.small"}, "distilhubert has no tag 'small'"),
    ],
)
def test_a_wrong_request_is_one_sentence(speech, tmp_path, changes, sentence):
    if changes.get("noise"):
        changes = changes | {"noise": (speech / "noise",)}
    with pytest.raises(UsageError) as refused:
        fit(speech, tmp_path, **changes)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)
    assert not list(tmp_path.glob("*.safetensors"))
