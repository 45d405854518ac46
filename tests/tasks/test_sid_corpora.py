"""Identification's crops, labels and splits, checked before training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.contract import Example, Item
from earlyexit_superb.benchmark.engine import heads
from earlyexit_superb.benchmark.metrics import Failure
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks import sid
from helpers import DATA
from toys.toy import at

TASK = tasks.get("sid")
V1, MINISUPERB = TASK.protocols["superb-v1"], TASK.protocols["minisuperb"]


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


def test_the_corpus_says_what_was_cut_and_loads_just_that(people):
    protocol = replace(V1, crop=0.5, crops=3)
    corpus = TASK.corpus(people, protocol)
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
        max(i.samples for i in TASK.corpus(people, replace(protocol, crop_all=True)).splits["test"])
        == 8_000
    )
    assert TASK.corpus(people, V1).hash == corpus.hash  # crops are of the recipe, not of the corpus


def test_minisuperb_draws_as_its_script_does(people):
    import pandas as pd

    corpus = TASK.corpus(people, replace(MINISUPERB, per_speaker=4))
    listed = pd.DataFrame(
        [(i.id, i.speaker) for i in TASK.corpus(people, replace(V1, crops=1)).splits["train"]],
        columns=["id", "speaker"],
    )
    theirs = (
        listed.groupby("speaker")[["id"]]
        .apply(lambda own: own.sample(4, random_state=42))["id"]
        .tolist()
    )
    assert [i.id for i in corpus.splits["train"]] == theirs and len(
        TASK.corpus(people, MINISUPERB).splits["train"]
    ) == 24


def test_strangers_are_named_at_once_and_before_anything_is_spent(people, capsys):
    with open(people / "iden_split.txt", "a") as file:
        for who, part in (("stranger1", 3), ("stranger2", 2), ("stranger2", 3)):
            (people / "wav" / who).mkdir(exist_ok=True)
            name = f"{who}/{part}.wav"
            (people / "wav" / name).write_bytes(
                (people / "wav" / "speaker0" / "0.wav").read_bytes()
            )
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
                str(people),
                "--results",
                str(people / "r"),
            ]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and all(
        f"{who} has 1 utterances in {split}" in said
        for who, split in (("stranger1", "test"), ("stranger2", "dev"), ("stranger2", "test"))
    )
    assert not list((people.parent / "cache").glob("traces/*"))


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
