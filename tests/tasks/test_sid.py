"""Identification: s3prl's classes again; pooled states are all that is needed; crops and labels,
checked before training.
"""

import importlib.util
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.contract import Example, Item
from earlyexit_superb.benchmark.engine import extract, heads
from earlyexit_superb.benchmark.engine.extract import means
from earlyexit_superb.benchmark.engine.feature_cache import cached_features
from earlyexit_superb.benchmark.exiting import layer_normed
from earlyexit_superb.benchmark.metrics import Failure
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.downstreams.mean_linear import MeanLinear
from earlyexit_superb.tasks import sid
from earlyexit_superb.tasks.corpora.mini import sid as mini
from helpers import DATA, TOY
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
        readout.mix.scores.copy_(torch.randn(5))
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


@pytest.fixture
def tree(tmp_path, own_cache):
    """Four speakers of ten utterances, 0.3 to 1.1 s, in a folder each: a tone
    a speaker, in noise.
    """
    root, rng, lines = tmp_path / "people", np.random.default_rng(0), []
    for s in range(4):
        for k in range(10):
            n = int(rng.integers(5_000, 17_000))
            wav = 0.1 * np.sin(
                2 * np.pi * (200 + 150 * s) * np.arange(n) / 16_000
            ) + 0.01 * rng.standard_normal(n)
            audio.write(root / "wav" / f"speaker{s}" / f"{k}.wav", wav.astype(np.float32))
            lines.append(f"{1 if k < 6 else 2 if k < 8 else 3} speaker{s}/{k}.wav\n")
    (root / "iden_split.txt").write_text("".join(lines))
    return root


def test_a_pooled_trace_is_the_mean_of_the_live_states(tree, monkeypatch):
    toy, items = Toy().eval(), TASK.corpus(tree, V1).splits["dev"]
    kept = cached_features(toy, items, TASK.load, "dev", keep="means")
    assert kept.kept and kept.keep == "means"
    monkeypatch.setattr(extract, "SPARE", 2**62)  # nothing fits: the same rows, live
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tree / "other"))
    live = cached_features(toy, items, TASK.load, "dev", keep="means").batch([3, 0, 5])
    batch = kept.batch([3, 0, 5])
    for normalise in (False, True):
        for depth in range(4):
            mean = means(live.states[False][depth], live.frames)[int(normalise)]
            torch.testing.assert_close(
                batch.states[normalise][depth, :, 0], mean, atol=1e-5, rtol=1e-5
            )
    assert batch.frames.tolist() == [1, 1, 1] and torch.equal(batch.samples, live.samples)


# ---- crops, labels, splits ----


def test_crops_are_inside_drawn_once_and_as_many_as_asked():
    protocol = replace(V1, crops=4, crop=1.0)
    long = sid.pieces("a", 500, 40_000, 4, protocol)
    assert long == sid.pieces("a", 500, 40_000, 4, protocol) and len(set(long)) == 4
    assert all(start >= 500 and start + n <= 40_500 and n == 16_000 for start, n in long)
    assert long != sid.pieces("b", 500, 40_000, 4, protocol) and long != sid.pieces(
        "a", 500, 40_000, 4, replace(protocol, crop_seed=1)
    )
    assert sid.pieces("a", 500, 40_000, 2, protocol) == long[:2]  # more crops keep the first ones
    assert sid.pieces("a", 500, 16_000, 4, protocol) == [(500, 16_000)] * 4 and sid.pieces(
        "a", 0, 40_000, 0, protocol
    ) == [(0, 40_000)]
    starts = [start for i in range(200) for start, _ in sid.pieces(str(i), 0, 32_000, 4, protocol)]
    assert min(starts) < 400 and max(starts) > 15_600 and abs(np.mean(starts) - 8_000) < 500


def test_the_corpus_says_what_was_cut_and_loads_just_that(tree):
    protocol = replace(V1, crop=0.5, crops=3)
    corpus = TASK.corpus(tree, protocol)
    train, test = corpus.splits["train"], corpus.splits["test"]
    assert (
        corpus.labels == ("speaker0", "speaker1", "speaker2", "speaker3")
        and len(train) == 3 * 24
        and len({i.id for i in train}) == 72
    )
    assert max(i.samples for i in train) == 8_000 < max(i.samples for i in test) and {
        i.start for i in test
    } == {0}
    cut = next(i for i in train if i.start)
    assert torch.equal(
        TASK.load(cut).wav,
        torch.from_numpy(audio.read(cut.path)[cut.start : cut.start + cut.samples]),
    )
    assert any("longer than 0.5 s: 3 pieces recorded of each" in n for n in corpus.notices)
    assert (
        max(i.samples for i in TASK.corpus(tree, replace(protocol, crop_all=True)).splits["test"])
        == 8_000
    )
    assert TASK.corpus(tree, V1).hash == corpus.hash  # crops are of the recipe, not of the corpus


def test_minisuperb_draws_as_its_script_does(tree):
    import pandas as pd

    corpus = TASK.corpus(tree, replace(MINISUPERB, per_speaker=4))
    listed = pd.DataFrame(
        [(i.id, i.speaker) for i in TASK.corpus(tree, replace(V1, crops=1)).splits["train"]],
        columns=["id", "speaker"],
    )
    theirs = (
        listed.groupby("speaker")[["id"]]
        .apply(lambda own: own.sample(4, random_state=42))["id"]
        .tolist()
    )
    assert [i.id for i in corpus.splits["train"]] == theirs and len(
        TASK.corpus(tree, MINISUPERB).splits["train"]
    ) == 24


def test_strangers_are_named_at_once_and_before_anything_is_spent(tree, capsys):
    with open(tree / "iden_split.txt", "a") as file:
        for who, part in (("stranger1", 3), ("stranger2", 2), ("stranger2", 3)):
            (tree / "wav" / who).mkdir(exist_ok=True)
            name = f"{who}/{part}.wav"
            (tree / "wav" / name).write_bytes((tree / "wav" / "speaker0" / "0.wav").read_bytes())
            file.write(f"{part} {name}\n")
    from earlyexit_superb.benchmark.cli import main

    assert (
        main(
            [
                "--upstream",
                "hubert",
                "--task",
                "sid",
                "--data",
                str(tree),
                "--results",
                str(tree / "r"),
            ]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and all(
        f"{who} has 1 utterances in {split}" in said
        for who, split in (("stranger1", "test"), ("stranger2", "dev"), ("stranger2", "test"))
    )
    assert not list((tree.parent / "cache").glob("traces/*"))


def test_a_prediction_that_is_no_number_is_a_failure():
    example = Example("a", torch.empty(0), {"label": 1, "labels": ("x", "y")})
    assert sid.score(torch.tensor([0.0, 1.0]), example, 1, at(V1)) == {
        "accuracy": 100.0,
        "speaker": "y",
        "heard": "y",
    }
    assert sid.score(torch.tensor([0.5, 0.1]), example, 1, at(V1)) == {
        "accuracy": 0.0,
        "speaker": "y",
        "heard": "x",
    }
    assert isinstance(
        sid.score(torch.tensor([0.5, torch.nan]), example, 1, at(V1))["accuracy"], Failure
    )


# ---- the whole way ----


def test_rows_of_a_tree_and_a_second_head_without_audio_or_upstream(tree, monkeypatch, capsys):
    from earlyexit_superb.benchmark.engine.evaluation import evaluation
    from earlyexit_superb.benchmark.engine.experiment import RunConfig
    from earlyexit_superb.benchmark.engine.resolve import resolve
    from earlyexit_superb.benchmark.engine.run import results as made
    from earlyexit_superb.benchmark.engine.scoring import score_utterances, train_heads

    settings = {
        "steps": "60",
        "eval_every": "30",
        "batch": "8",
        "accumulate": "1",
        "lr": "0.03",
        "crop": "0.5",
        "crops": "2",
    }
    config = RunConfig(
        TOY, "sid", {"rho": (1.0,)}, data=tree, results=tree.parent / "results", settings=settings
    )
    results, refused = made(resolve(config))
    assert not refused and len(results) == 5 and all(r.scores["accuracy"].n == 8 for r in results)
    run = resolve(replace(config, seed=1))
    # would raise if called, as would any audio that is opened
    monkeypatch.setattr(type(run.upstream), "states", None)
    for name in ("read", "header", "inspect", "_open"):
        monkeypatch.setattr(audio, name, None)
    ev = evaluation(run, run.rows)  # finds the traces; every head is another one, by its seed
    train_heads(ev, list(ev.heads))
    assert len(score_utterances(ev, range(8))) == 8


@pytest.fixture
def small_mini(monkeypatch, own_cache):
    monkeypatch.setattr(mini, "SPEAKERS", 2)
    monkeypatch.setattr(mini, "PARTS", {1: 2, 2: 1, 3: 1})


def test_the_mini_corpus_is_the_same_every_time(small_mini, tmp_path, monkeypatch):
    first = TASK.corpus(None, TASK.protocols["mini"])
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "again"))
    again = TASK.corpus(None, TASK.protocols["mini"])
    assert first.name == "mini" and first.hash == again.hash and len(first.labels) == 2
    assert all(
        mini.SHORTEST <= i.samples / 16_000 <= mini.LONGEST
        for split in first.splits.values()
        for i in split
    )


@pytest.mark.slow
def test_the_whole_mini_corpus_is_the_usual_one(tmp_path, monkeypatch, caplog):
    caplog.set_level("WARNING", "earlyexit_superb")
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path))
    corpus = TASK.corpus(None, TASK.protocols["mini"])
    assert not caplog.text and len(corpus.labels) >= 20


# ---- real recordings ----


@pytest.mark.data
@pytest.mark.parametrize(
    "folder, speakers, sizes",
    [
        ("speechocean762", 202, (2828, 606, 606)),
        ("LibriSpeech", 32, None),
        ("layout_cases/VoxCeleb1", None, None),
    ],
)
def test_real_layouts(folder, speakers, sizes):
    if not (DATA / folder).is_dir():
        pytest.skip(f"{DATA / folder} is not here")
    corpus = TASK.corpus(DATA / folder, V1)
    assert speakers is None or len(corpus.labels) == speakers
    assert (
        sizes is None
        or tuple(
            len(corpus.splits[s]) // (V1.crops if s == "train" else 1)
            for s in ("train", "dev", "test")
        )
        == sizes
    )


def test_items_carry_what_heads_need():
    item = Item("a", Path("a"), 1, more={"label": 0, "labels": ("x",)})
    assert (
        TASK.target(item) == heads.example(TASK, item).target
        and len(heads.example(TASK, item).wav) == 0
    )
