"""Enhancement as a task: its recipes, and a corpus read, masked and scored."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from earlyexit_superb.benchmark.contract import Corpus, Item
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.metrics import si_sdr
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks import se
from helpers.noisy import example, of_ones
from toys.toy import at

V1, V2, MINI = se.SUPERB_V1, se.S3PRL_V2, se.MINI
TASK = tasks.get("se")


def test_recipes_are_the_published_ones():
    """From the yaml files named in `source`."""

    def has(protocol, **fields):
        assert {name: getattr(protocol, name) for name in fields} == fields

    has(
        V1,
        lr=1e-4,
        batch=8,
        steps=150_000,
        clip=1.0,
        eval_every=1250,
        optimiser="adamw",
        accumulate=1,
        train_limit=None,
    )
    has(V1, n_fft=512, win=512, hop=0, hidden=896, layers=3, dropout=0.5, activation="relu")
    has(V1, aim="npsm", distance="mse", domain="magnitude", tail="guard", pad="reflect")
    has(
        V2,
        lr=1e-3,
        batch=8,
        steps=100_000,
        clip=1.0,
        eval_every=1250,
        optimiser="adamw",
        accumulate=1,
        train_limit=None,
    )
    has(V2, n_fft=512, win=400, hop=160, hidden=256, layers=3, dropout=0.1, activation="sigmoid")
    has(V2, aim="am", distance="l1", domain="log1p", tail="drop", pad="constant")
    small = TASK.protocols["minisuperb"]
    differs = {
        "steps": 10_000,
        "eval_every": 1000,
        "train_limit": 1000,
        "dev_limit": 300,
        "lr_grid": (1e-2, 1e-3, 1e-4),
    }
    has(small, **differs, test_limit=None, limit_seed=8830)
    assert replace(V2, **differs, name=small.name, source=small.source) == small
    assert (TASK.default, TASK.builtin) == ("superb-v1", "mini")
    assert [m.name for m in TASK.metrics] == ["pesq", "stoi", "si_sdr_improvement"]
    assert all(m.higher_is_better for m in TASK.metrics)


def test_a_recipe_with_a_typo_is_refused():
    with pytest.raises(UsageError, match="activation is relu or sigmoid, not 'tanh'"):
        replace(V1, activation="tanh")


def test_utterances_too_short_for_a_window_are_named_before_anything_is_spent():
    items = [Item("long", Path("x"), 512), Item("short", Path("x"), 511)]
    corpus = Corpus("c", "0", {"train": items, "dev": (), "test": ()})
    assert list(TASK.check(corpus, V1, None)) == [
        "short of train has 511 samples, less than one window of 512"
    ]


def test_corpus_to_score(tmp_path):
    """A folder of three speakers and a perfect mask through the whole task."""
    import soundfile

    for part, names in (
        ("trainset_28spk", ("p225_001", "p226_001", "p287_001")),
        ("testset", ("p232_001",)),
    ):
        for side in ("clean", "noisy"):
            (tmp_path / f"{side}_{part}_wav").mkdir()
        for i, name in enumerate(names):
            e = example(12_000, i)
            soundfile.write(
                tmp_path / f"clean_{part}_wav" / f"{name}.wav", e.target.numpy(), 16_000
            )
            soundfile.write(tmp_path / f"noisy_{part}_wav" / f"{name}.wav", e.wav.numpy(), 16_000)
    corpus = TASK.corpus(tmp_path, V1)
    assert {split: len(items) for split, items in corpus.splits.items()} == {
        "train": 1,
        "dev": 2,
        "test": 1,
    }
    read = TASK.load(corpus.splits["test"][0])
    assert (
        read.wav.dtype == read.target.dtype == torch.float32
        and len(read.wav) == len(read.target) == 12_000
    )
    mask, frames = of_ones(MINI, read)
    scores, floor = TASK.score(mask, read, frames, at(MINI)), TASK.unprocessed(read, MINI)
    assert (
        list(scores) == list(floor) == [m.name for m in TASK.metrics]
        and floor["si_sdr_improvement"] == 0
    )
    assert all(isinstance(value, float) for value in (*scores.values(), *floor.values()))
    assert abs(scores["si_sdr_improvement"]) < 0.01
    assert si_sdr(read.target, read.wav) < 3  # and the files were not swapped
