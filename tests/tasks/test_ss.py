"""Separation as a task: its recipes and its splits."""

from dataclasses import replace

import pytest
from earlyexit_superb.benchmark.contract import Item
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks import ss

V1, V2, MINI = ss.SUPERB_V1, ss.S3PRL_V2, ss.MINI
TASK = tasks.get("ss")
# of both published recipes
SHARED = {
    "batch": 8,
    "steps": 150_000,
    "clip": 1.0,
    "eval_every": 2000,
    "optimiser": "adamw",
    "accumulate": 1,
    "train_limit": None,
    "dev_limit": None,
    "test_limit": None,
    "hop": 0,
    "aim": "npsm",
    "distance": "mse",
    "standardise": False,
}


def has(protocol, **fields):
    assert {name: getattr(protocol, name) for name in fields} == fields


def test_recipes_are_the_published_ones():
    """From the yaml files named in `source`."""
    has(
        V1,
        **SHARED,
        lr=1e-4,
        n_fft=512,
        win=512,
        hidden=896,
        layers=3,
        dropout=0.5,
        activation="relu",
        domain="magnitude",
        tail="guard",
        pad="reflect",
        permutation="bss_eval",
        dev_shuffled=1000,
    )
    has(
        V2,
        **SHARED,
        lr=1e-3,
        n_fft=1024,
        win=1024,
        hidden=256,
        layers=3,
        dropout=0.1,
        activation="sigmoid",
        domain="log1p",
        tail="drop",
        pad="constant",
        permutation="si_sdr",
        dev_shuffled=None,
    )


def test_minisuperb_is_a_short_s3prl_v2():
    small = TASK.protocols["minisuperb"]
    differs = {
        "steps": 15_000,
        "eval_every": 1500,
        "train_limit": 1400,
        "dev_shuffled": 1000,
        "lr_grid": (1e-2, 1e-3, 1e-4),
    }
    has(small, **differs, limit_seed=8830)
    assert replace(V2, **differs, name=small.name, source=small.source) == small


def test_defaults_and_what_is_refused():
    assert (TASK.default, TASK.builtin, [m.name for m in TASK.metrics]) == (
        "superb-v1",
        "mini",
        ["si_sdr_improvement"],
    )
    with pytest.raises(UsageError, match="permutation is bss_eval or si_sdr, not 'sdr'"):
        replace(V1, permutation="sdr")


def test_the_dev_split_is_that_of_s3prl(tmp_path):
    """scripts/LibriMix/subsample.py, in its own order of steps: sort, seed 7, shuffle,
    cut, sort.
    """
    import random

    names = [f"{n:04d}" for n in random.Random(1).sample(range(3000), 3000)]
    random.seed(7)
    expected = sorted(names)
    random.shuffle(expected)
    chosen = ss.shuffled([Item(name, tmp_path, 1) for name in names], 1000)
    assert [item.id for item in chosen] == sorted(expected[:1000])
