"""Identification's head: s3prl's classes again; pooled states are all that is needed."""

import importlib.util
import sys
import types

import pytest
import torch
from earlyexit_superb.benchmark.contract import Example
from earlyexit_superb.benchmark.engine import extract, heads
from earlyexit_superb.benchmark.engine.cache_layout import means, padded
from earlyexit_superb.benchmark.engine.feature_cache import cached_features
from earlyexit_superb.benchmark.exiting import layer_normed
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.downstreams.mean_linear import MeanLinear
from earlyexit_superb.tasks import sid
from oracles import s3prl_module
from toys.toy import Toy, at

TASK = tasks.get("sid")
V1, MINISUPERB = TASK.protocols["superb-v1"], TASK.protocols["minisuperb"]


# ---- the head, beside s3prl's ----


@pytest.fixture
def expert(monkeypatch, tmp_path):
    """s3prl's own downstream for VoxCeleb1, with its recipe; only its file lists (which want
    librosa) are not its own.
    """
    s3prl_module("downstream")
    if importlib.util.find_spec("librosa") is None:
        librosa = types.ModuleType("librosa")
        librosa.util = types.ModuleType("librosa.util")
        librosa.util.find_files = None
        monkeypatch.setitem(sys.modules, "librosa", librosa)
        monkeypatch.setitem(sys.modules, "librosa.util", librosa.util)
    expert = s3prl_module("downstream.voxceleb1.expert")
    monkeypatch.setattr(
        expert.SpeakerClassifiDataset,
        "__init__",
        lambda self, *_: setattr(self, "speaker_num", 1251),
    )
    recipe = {
        "datarc": {"file_path": str(tmp_path), "meta_data": "", "max_timestep": 128_000},
        "modelrc": {
            "projector_dim": 256,
            "select": "UtteranceLevel",
            "UtteranceLevel": {"pooling": "MeanPooling"},
        },
    }
    torch.manual_seed(0)
    return expert.DownstreamExpert(768, recipe, str(tmp_path))


def test_logits_loss_gradients_and_accuracy_equal_s3prl(expert):
    ours = MeanLinear(768, 1251)
    ours.load_state_dict(
        {
            "project.weight": expert.projector.weight,
            "project.bias": expert.projector.bias,
            "classify.weight": expert.model.post_net.linear.weight,
            "classify.bias": expert.model.post_net.linear.bias,
        }
    )
    assert (
        sum(p.numel() for p in ours.parameters())
        == sum(p.numel() for p in expert.parameters())
        == 518_371
    )
    frames, labels = torch.tensor([9, 4, 7]), [1250, 0, 77]
    features = torch.randn(3, 9, 768)  # what stands behind a row's end must not matter
    records = {"acc": [], "loss": [], "filename": [], "predict_speaker": [], "truth_speaker": []}
    logits = []
    expert.model.register_forward_hook(lambda _, __, out: logits.append(out[0]))
    theirs = expert(
        "train",
        [row[:n] for row, n in zip(features, frames, strict=True)],
        labels,
        ["a", "b", "c"],
        records,
    )
    names = [str(i) for i in range(1251)]
    examples = [
        Example(str(i), torch.empty(0), {"label": label, "labels": names})
        for i, label in enumerate(labels)
    ]
    prediction = ours(features, frames)
    loss = sid.loss(prediction, examples, frames, at(V1))
    torch.testing.assert_close(prediction, logits[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss, theirs, atol=1e-5, rtol=1e-5)
    loss.backward()
    theirs.backward()
    for own, other in zip(ours.parameters(), expert.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, atol=1e-5, rtol=1e-4)
    assert [
        sid.score(row, e, 1, at(V1))["accuracy"] / 100
        for row, e in zip(prediction, examples, strict=True)
    ] == records["acc"]


def test_the_recipe_is_the_published_one():
    assert (
        V1.lr,
        V1.steps,
        V1.batch,
        V1.accumulate,
        V1.eval_every,
        V1.crop,
        V1.hidden,
        V1.clip,
    ) == (1e-4, 200_000, 8, 4, 5000, 8.0, 256, 1.0)
    assert (
        MINISUPERB.lr,
        MINISUPERB.steps,
        MINISUPERB.eval_every,
        MINISUPERB.crops,
        MINISUPERB.per_speaker,
    ) == (1e-3, 20_000, 2000, 1, 11)


# ---- a mean is enough ----


@pytest.mark.parametrize("normalise", [False, True])
def test_means_give_the_logits_and_gradients_of_frames_at_every_exit(normalise):
    torch.manual_seed(0)
    card = Toy(dim=24, blocks=4).card
    corpus = types.SimpleNamespace(labels=tuple("abcde"))
    readout = heads.Downstream(
        TASK, at(V1, card.dim, card.stride, corpus.labels), card.depth, normalise
    )
    with torch.no_grad():
        readout.featurizer.scores.copy_(torch.randn(5))
    states, frames, depth = (
        3 + 2 * torch.randn(5, 6, 11, 24),
        torch.tensor([11, 1, 7, 5, 11, 2]),
        torch.tensor([4, 0, 2, 3, 1, 4]),
    )
    examples = [
        Example(str(i), torch.empty(0), {"label": i % 5, "labels": corpus.labels}) for i in range(6)
    ]
    pooled = torch.stack([means(state, frames)[int(normalise)] for state in states])[:, :, None]
    found = []
    for given, n in (
        (layer_normed(states) if normalise else states, frames),
        (pooled, torch.ones(6, dtype=torch.long)),
    ):
        readout.zero_grad()
        prediction = readout(given, depth, n, n)
        sid.loss(prediction, examples, n, at(V1)).backward()
        found.append([prediction.detach(), *[p.grad.clone() for p in readout.parameters()]])
    for live, kept in zip(*found, strict=True):
        torch.testing.assert_close(kept, live, atol=1e-5, rtol=1e-5)


def test_a_pooled_trace_is_the_mean_of_the_live_states(people, monkeypatch):
    """Also where nothing fits and means are recomputed."""
    toy, items, rows = Toy().eval(), TASK.corpus(people, V1).splits["dev"], [3, 0, 5]
    kept = cached_features(toy, items, TASK.load, "dev", keep="means")
    assert kept.kept and kept.keep == "means"
    monkeypatch.setattr(extract, "SPARE", 2**62)
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(people / "other"))
    recomputed = cached_features(toy, items, TASK.load, "dev", keep="means")
    assert not recomputed.kept
    wavs, lengths = padded([TASK.load(items[row]).wav for row in rows], "cpu")
    with torch.no_grad():
        states = list(toy.states(wavs, lengths))
    for batch in (kept.batch(rows), recomputed.batch(rows)):
        for normalise in (False, True):
            for depth in range(4):
                mean = means(states[depth], toy.frames(lengths))[int(normalise)]
                torch.testing.assert_close(
                    batch.states[normalise][depth, :, 0], mean, atol=1e-5, rtol=1e-5
                )
        assert batch.frames.tolist() == [1, 1, 1] and torch.equal(batch.samples, lengths)
