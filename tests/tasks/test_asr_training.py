"""Training of recognition, cut short and gone on."""

import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.contract import Example, Item
from earlyexit_superb.benchmark.engine import head_batches, head_training, heads
from earlyexit_superb.benchmark.engine.feature_cache import Batch
from earlyexit_superb.benchmark.exiting import layer_normed
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks import asr
from helpers.asr import TEXTS
from torch import nn
from toys.toy import at

TASK = tasks.get("asr")


class Recorded:
    """A trace of noise, for heads to train on."""

    def __init__(self, items, seed):
        self.items, self.upstream = (
            items,
            types.SimpleNamespace(card=types.SimpleNamespace(depth=2, dim=12, stride=320)),
        )
        self.states = [
            torch.randn(
                3, item.samples // 320, 12, generator=torch.Generator().manual_seed(seed + i)
            )
            for i, item in enumerate(items)
        ]

    def load(self, item):
        return Example(item.id, torch.zeros(item.samples), item.more["text"])

    def batch(self, rows):
        states = nn.utils.rnn.pad_sequence(
            [self.states[r].transpose(0, 1) for r in rows], batch_first=True
        ).permute(2, 0, 1, 3)
        return Batch(
            {False: states, True: layer_normed(states)},
            torch.tensor([self.states[r].shape[1] for r in rows]),
            torch.tensor([self.items[r].samples for r in rows]),
        )


def test_a_training_cut_short_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    """Augmentation, dropout and the order of batches included."""
    protocol = replace(
        asr.SUPERB_V1, hidden=6, steps=8, eval_every=2, batch=2, bucket=4, time_width=8
    )
    train, dev = (
        Recorded(
            [
                Item(f"{seed}-{i}", Path("x"), 320 * (40 + 3 * i), more={"text": TEXTS[i % 4]})
                for i in range(n)
            ],
            seed,
        )
        for seed, n in ((0, 9), (50, 3))
    )
    plan = heads.Plan("full", False, 4e-3, np.full(9, 2), np.full(3, 2))

    def fitted(folder):
        head_training.fit({"k": plan}, TASK, at(protocol, 12), train, dev, tmp_path / folder, 0)
        return (tmp_path / folder / "k.safetensors").read_bytes()

    straight = fitted("straight")
    batch, calls = train.batch, iter(range(5))

    def interrupted(rows):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return batch(rows)

    monkeypatch.setattr(train, "batch", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fitted("cut")
    monkeypatch.setattr(train, "batch", batch)
    seen = []
    monkeypatch.setattr(
        head_batches, "batch_rows", lambda *a, **k: seen.append(1) or ORIGINAL(*a, **k)
    )
    assert fitted("cut") == straight and len(seen) == 4  # from the look after the fourth update on


ORIGINAL = head_batches.batch_rows
