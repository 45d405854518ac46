"""A trace is the live pass: evidence exactly, states to fp16; recorded once, by every caller the
same.
"""

import os
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.contract import Item
from earlyexit_superb.benchmark.engine import cache_key, cache_layout, extract
from earlyexit_superb.benchmark.engine import feature_cache as tracing
from earlyexit_superb.benchmark.registry import build_upstream
from helpers import items_of
from helpers.traces import equals_live, folders
from toys.toy import Toy


@pytest.mark.parametrize("seed", range(6))
def test_replay_is_the_live_run_over_random_traces(tmp_path, monkeypatch, seed):
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_layout, "SHARD_BYTES", 2000)
    monkeypatch.setattr(cache_layout, "BATCH_SECONDS", 2.0)
    rng, toy = np.random.default_rng(seed), Toy(dim=int(8 + 8 * seed), blocks=2 + seed % 3).eval()
    with torch.no_grad():
        for parameter in toy.parameters():
            parameter.add_(0.3 * torch.from_numpy(rng.standard_normal(parameter.shape)).float())
    items, load = items_of(tmp_path, rng.integers(400, 20_000, 7), seed)
    kept = tracing.cached_features(toy, items, load, "toy")
    assert len(kept.manifest["shards"]) > 1
    values = np.unique(kept.evidence)
    equals_live(
        toy, kept, items, load, [(a + b) / 2 for a, b in pairwise(values.tolist()) if b - a > 1e-5]
    )


def test_replay_is_the_live_run_of_the_shipped_model(tmp_path, monkeypatch):
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "cache"))
    daisy = build_upstream("daisy.tiny").requires_grad_(False)
    items, load = items_of(tmp_path, (16_000, 9_000))
    kept = tracing.cached_features(daisy, items, load, "tiny")
    middle = np.quantile(kept.evidence, [0.2, 0.5, 0.8]) + 1e-4
    equals_live(daisy, kept, items, load, middle.tolist())


def test_a_second_trace_calls_no_upstream_and_opens_no_audio(split):
    items, load = split
    toy = Toy().eval()
    first = tracing.cached_features(toy, items, load, "toy").evidence
    toy.states = None  # would raise if called
    again = tracing.cached_features(toy, items, None, "toy")
    assert np.array_equal(again.evidence, first) and again.batch([0, 2]).states[True].shape[1] == 2


@pytest.mark.parametrize("keep", ["states", "means"])
def test_where_states_do_not_fit_they_are_recomputed_and_rounded_alike(
    split, keep, monkeypatch, capsys
):
    """Free disk space changes no row: shapes, padding and rounding are those of what is stored; in
    another batch fp32 sums may differ by a bit, and with them the rounding to fp16.
    """
    items, load = split
    toy = Toy().eval()
    stored = tracing.cached_features(toy, items, load, "toy", keep=keep).batch([0, 1])
    monkeypatch.setattr(extract, "SPARE", 2**62)
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(items[0].path.parent / "other"))
    live = tracing.cached_features(toy, items, load, "toy", keep=keep)
    assert not live.kept and "recomputed for every batch" in capsys.readouterr().err
    again = live.batch([0, 1])
    assert torch.equal(again.frames, stored.frames)
    for normed, states in stored.states.items():
        assert again.states[normed].shape == states.shape
        torch.testing.assert_close(again.states[normed], states, atol=2e-6, rtol=1e-3)
    same = again.states[False] == stored.states[False]
    assert keep == "means" or same.float().mean() > 0.999


def test_states_beyond_fp16_are_recomputed_not_clipped(split, capsys):
    items, load = split
    toy = Toy().eval()
    with torch.no_grad():
        toy.front.weight.mul_(1e7)
    kept = tracing.cached_features(toy, items, load, "toy")
    assert (
        not kept.kept
        and "overflow fp16" in capsys.readouterr().err
        and kept.batch([0]).states[False].abs().max() > 65_504
    )


def test_a_piece_that_is_listed_twice_is_heard_once(split):
    items, load = split
    heard = []
    twice = [
        items[0],
        replace(items[0], id="again"),
        replace(items[2], id="cut", start=500, samples=3000),
        items[2],
        items[1],
    ]
    kept = tracing.cached_features(
        Toy().eval(), twice, lambda item: heard.append(item.id) or load(item), "toy"
    )
    assert sorted(heard) == ["cut", "u0", "u1", "u2"] and np.array_equal(
        kept.evidence[0], kept.evidence[1]
    )
    batch = kept.batch([1, 2, 4])
    for b, (row, item) in enumerate(((1, twice[1]), (2, twice[2]), (4, items[1]))):
        alone = (
            tracing.cached_features(Toy().eval(), [item], load, "alone")
            .batch([0])
            .states[False][:, 0]
        )
        torch.testing.assert_close(batch.states[False][:, b, : alone.shape[1]], alone, msg=str(row))


def test_only_the_depths_that_are_asked_for_are_run_and_kept(split):
    items, load = split
    toy, calls = Toy().eval(), []
    toy.blocks[2].register_forward_hook(lambda *_: calls.append(3))
    shallow = tracing.cached_features(toy, items, load, "toy", deepest=2)
    assert (
        calls == []
        and shallow.batch([0]).states[True].shape[0] == 3
        and np.isnan(shallow.evidence[:, 2]).all()
    )
    assert not np.isnan(shallow.evidence[:, :2]).any()
    whole = tracing.cached_features(toy, items, load, "toy")
    assert calls and whole.folder != shallow.folder
    # one that goes deeper will do
    assert tracing.cached_features(toy, items, None, "toy", deepest=1).folder == shallow.folder


@pytest.mark.parametrize("change", ["weights", "name", "audio", "code"])
def test_another_upstream_or_audio_gets_another_trace(split, change, monkeypatch):
    items, load = split
    a, b = Toy().eval(), Toy().eval()
    first = tracing.cached_features(a, items, load, "toy").folder
    if change == "weights":
        with torch.no_grad():
            b.blocks[0].weight.add_(1e-3)  # though the card says the same
    elif change == "name":
        b.card = replace(b.card, name="toy(front=other)")
    elif change == "audio":
        os.utime(items[1].path, ns=(1, 1))
    else:
        monkeypatch.setattr(cache_key, "_code", lambda _: "edited")
    assert tracing.cached_features(b, items, load, "toy").folder != first


def test_size_is_known_before_and_right(split):
    items, load = split
    toy = Toy().eval()
    for keep in ("states", "means"):
        kept = tracing.cached_features(toy, items, load, "toy", keep=keep)
        assert cache_layout.size(toy, items, keep) == sum(
            s["bytes"] - s["at"] for s in kept.manifest["shards"]
        )


def test_an_hour_of_hubert_base_takes_less_than_3_7_gb():
    from earlyexit_superb.benchmark.contract import Upstream, UpstreamCard

    base = Upstream()
    base.card = UpstreamCard("hubert.base", 12, 768, 320, "", "")
    base.frames = lambda lengths: (lengths - 80) // 320
    assert cache_layout.size(base, [Item(str(i), Path(), 10 * 16_000) for i in range(360)]) <= 3.7e9


# ---- what may go wrong ----


def test_batches_cover_every_item_once_within_the_budget(split, monkeypatch):
    items = split[0]
    monkeypatch.setattr(cache_layout, "BATCH_SECONDS", 1.2)
    batches = list(cache_layout.by_length(items))
    assert sorted(i for rows in batches for i in rows) == [0, 1, 2, 3]
    assert all(len(rows) * max(items[i].samples for i in rows) <= 1.2 * 16000 for rows in batches)


def test_cache_lists_and_removes(split, capsys, monkeypatch):
    items, load = split
    toy = Toy().eval()
    keys = [
        tracing.cached_features(toy, items, load, "se train", deepest=d).folder.name for d in (1, 3)
    ]
    tracing.cached_features(toy, items[:2], load, "sid dev", keep="means")
    left = folders(items)[0].parent / "0123456789abcdef"
    left.mkdir()
    capsys.readouterr()
    assert main(["cache", "ls"]) == 0
    out = capsys.readouterr().out
    assert (
        all(key in out for key in keys)
        and "4 traces" in out
        and "depths 0-1" in out
        and "means" in out
        and out.count("unfinished") == 1
    )
    assert (
        main(["cache", "rm", "--unfinished"]) == 0
        and not left.exists()
        and len(folders(items)) == 3
    )
    assert main(["cache", "rm", keys[0]]) == 0 and keys[0] not in {f.name for f in folders(items)}
    capsys.readouterr()
    assert main(["cache", "rm", keys[0]]) == 2 and main(["cache", "rm"]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert main(["cache", "rm", "--all"]) == 0 and folders(items) == []


def test_time_is_not_part_of_a_trace(split):
    items, load = split
    toy = Toy().eval()
    first = tracing.cached_features(toy, items, load, "toy")
    time.sleep(0.01)
    assert tracing.cached_features(toy, items, None, "other words").folder == first.folder
