"""A trace is the live pass: evidence exactly, states to fp16; recorded once, by every caller the
same; broken ones are told, not read.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.contract import Example, Item
from earlyexit_superb.benchmark.engine import extract
from earlyexit_superb.benchmark.engine import feature_cache as tracing
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.benchmark.exiting import Exit, replay, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream
from helpers import ROOT, items_of
from toys.toy import Toy


@pytest.fixture
def split(tmp_path, own_cache):
    return items_of(tmp_path, (9000, 4000, 16000, 700))


def folders(items):
    return sorted(p for p in (items[0].path.parent / "cache" / "traces").iterdir() if p.is_dir())


def equals_live(upstream, kept, items, load, taus):
    for i, item in enumerate(items):
        wav, length = load(item).wav[None], torch.tensor([item.samples])
        with torch.no_grad():
            states = torch.stack(list(upstream.states(wav, length)))
        batch = kept.batch([i])
        assert int(batch.frames) == states.shape[2]
        error = (batch.states[False] - states).abs().max()
        # the written error, and the batch's
        assert error <= kept.manifest["largest_rounding_error"] + 1e-5 * states.abs().max()
        for tau in taus:
            exit = Exit(range(1, upstream.card.depth + 1), tau)
            assert (
                int(run_until_exit(upstream, wav, length, exit).depth)
                == replay(kept.evidence[[i]], exit)[0]
            )


@pytest.mark.parametrize("seed", range(6))
def test_replay_is_the_live_run_over_random_traces(tmp_path, monkeypatch, seed):
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(extract, "SHARD_BYTES", 2000)
    monkeypatch.setattr(extract, "BATCH_SECONDS", 2.0)
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


def test_where_states_do_not_fit_they_are_recomputed(split, monkeypatch, capsys):
    items, load = split
    toy = Toy().eval()
    stored = tracing.cached_features(toy, items, load, "toy").batch([0, 1])
    monkeypatch.setattr(extract, "SPARE", 2**62)
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(items[0].path.parent / "other"))
    live = tracing.cached_features(toy, items, load, "toy")
    assert not live.kept and "recomputed for every batch" in capsys.readouterr().err
    torch.testing.assert_close(
        live.batch([0, 1]).states[False][:, 0], stored.states[False][:, 0], atol=2e-3, rtol=1e-3
    )


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
        monkeypatch.setattr(tracing, "_code", lambda _: "edited")
    assert tracing.cached_features(b, items, load, "toy").folder != first


def test_size_is_known_before_and_right(split):
    items, load = split
    toy = Toy().eval()
    for keep in ("states", "means"):
        kept = tracing.cached_features(toy, items, load, "toy", keep=keep)
        assert extract.size(toy, items, keep) == sum(
            s["bytes"] - s["at"] for s in kept.manifest["shards"]
        )


def test_an_hour_of_hubert_base_takes_less_than_3_7_gb():
    from earlyexit_superb.benchmark.contract import Upstream, UpstreamCard

    base = Upstream()
    base.card = UpstreamCard("hubert.base", 12, 768, 320, "", "")
    base.frames = lambda lengths: (lengths - 80) // 320
    assert extract.size(base, [Item(str(i), Path(), 10 * 16_000) for i in range(360)]) <= 3.7e9


# ---- what may go wrong ----


def test_audio_that_is_not_what_its_header_promised_is_named(split):
    items = split[0]
    with pytest.raises(UsageError, match=r"u2\.raw: 5 samples were read"):
        tracing.cached_features(
            Toy().eval(), items, lambda item: Example(item.id, torch.zeros(5), None), "toy"
        )


def test_batches_cover_every_item_once_within_the_budget(split, monkeypatch):
    items = split[0]
    monkeypatch.setattr(extract, "BATCH_SECONDS", 1.2)
    batches = list(extract.by_length(items))
    assert sorted(i for rows in batches for i in rows) == [0, 1, 2, 3]
    assert all(len(rows) * max(items[i].samples for i in rows) <= 1.2 * 16000 for rows in batches)


def test_an_interrupted_pass_goes_on_behind_its_last_whole_shard(split, monkeypatch):
    items, load = split
    monkeypatch.setattr(extract, "SHARD_BYTES", 1)
    monkeypatch.setattr(extract, "BATCH_SECONDS", 0.01)
    toy, heard = Toy().eval(), []

    def breaking(item):
        if len(heard) == 2:
            raise KeyboardInterrupt
        heard.append(item.id)
        return load(item)

    with pytest.raises(KeyboardInterrupt):
        tracing.cached_features(toy, items, breaking, "toy")
    [folder] = folders(items)
    assert not tracing.finished(folder) and len(list(folder.glob("*.done.npz"))) == 2
    kept = tracing.cached_features(
        toy, items, lambda item: heard.append(item.id) or load(item), "toy"
    )
    assert sorted(heard) == ["u0", "u1", "u2", "u3"]  # nothing was heard twice
    assert (
        kept.folder == folder
        and not list(folder.glob("*.part"))
        and not list(folder.glob("*.done.npz"))
    )
    equals_live(toy, kept, items, load, [float(np.median(kept.evidence)) + 1e-6])


def test_a_truncated_shard_and_a_foreign_trace_are_told_with_their_cure(split, capsys):
    items, load = split
    toy = Toy().eval()
    folder = tracing.cached_features(toy, items, load, "toy").folder
    shard = folder / "0000.npy"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    with pytest.raises(
        UsageError,
        match=(
            rf"0000\.npy has {len(whole) - 10} bytes of {len(whole)}; remove it with .* cache rm "
            rf"{folder.name}"
        ),
    ):
        tracing.cached_features(toy, items, load, "toy")
    shard.write_bytes(whole[:-10] + bytes(10))
    assert main(["cache", "ls", "--check"]) == 1 and "damaged" in capsys.readouterr().out
    shard.write_bytes(whole)
    assert main(["cache", "ls", "--check"]) == 0 and "sound" in capsys.readouterr().out
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["about"]["weights"] = "others"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=r"is of something else \(weights differ"):
        tracing.cached_features(toy, items, load, "toy")


def test_a_trace_that_vanishes_while_it_is_read_is_told(split):
    items, load = split
    kept = tracing.cached_features(Toy().eval(), items, load, "toy")
    assert main(["cache", "rm", "--all"]) == 0
    with pytest.raises(
        MachineError, match=r"removed or cut while it was in use .* repeat the command"
    ):
        kept.batch([0])


def test_a_cache_that_vanishes_or_fills_up_while_it_is_written_is_told(split, monkeypatch):
    import shutil

    items, load = split
    monkeypatch.setattr(extract, "SHARD_BYTES", 1)
    with pytest.raises(MachineError, match=r"cannot be written .*No such file"):
        tracing.cached_features(
            Toy().eval(),
            items,
            lambda item: shutil.rmtree(items[0].path.parent / "cache" / "traces") or load(item),
            "toy",
        )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(MachineError, match=r"cannot be written .*large.*cache ls"):
            tracing.cached_features(Toy().eval(), items, load, "toy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    equals_live(
        toy := Toy().eval(), tracing.cached_features(toy, items, load, "toy"), items, load, [1.0]
    )


def test_a_disk_with_no_room_at_all_is_refused_before_anything_runs(split, monkeypatch):
    items = split[0]
    monkeypatch.setattr(extract, "LEAST", 2**62)
    with pytest.raises(MachineError, match="too few for any trace; free some space"):
        tracing.cached_features(Toy().eval(), items, None, "toy")


GATED = """
import logging, os, pathlib, sys, time
logging.basicConfig(level=logging.INFO)
sys.path[:0] = [{tests!r}, {root!r}]
import run_benchmark
from earlyexit_superb.benchmark.engine import extract, feature_cache
from helpers import items_of
from toys.toy import Toy
extract.SHARD_BYTES, extract.BATCH_SECONDS = 1, 0.01
folder, free = pathlib.Path(sys.argv[1]), int(sys.argv[2])
items, load = items_of(folder, (9000, 4000, 16000, 700))
for item in items:
    os.utime(item.path, ns=(1, 1))
heard = []
def gated(item):
    print("heard", item.id, flush=True)
    heard.append(item)
    while len(heard) > free and not (folder / "go").exists():
        time.sleep(0.02)
    return load(item)
feature_cache.cached_features(Toy().eval(), items, gated, "toy")
print("done", flush=True)
"""


def test_two_processes_and_a_kill_leave_one_whole_trace(split):
    """The first is killed, a second goes on from its shards, a third waits for the
    second and hears nothing.
    """
    items = split[0]
    code = GATED.format(tests=str(ROOT / "tests"), root=str(ROOT))

    def start(free):
        return subprocess.Popen(
            [sys.executable, "-c", code, str(items[0].path.parent), str(free)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    first = start(2)
    # longest first
    assert [first.stdout.readline().strip() for _ in range(3)] == [
        "heard u2",
        "heard u0",
        "heard u1",
    ]
    first.send_signal(signal.SIGKILL)
    first.wait()
    [folder] = folders(items)
    assert not tracing.finished(folder) and (folder / "0001.done.npz").exists()
    second = start(0)
    assert second.stdout.readline() == "heard u1\n"
    third = start(0)
    assert any("another process is at work on the trace of toy" in line for line in third.stderr)
    (items[0].path.parent / "go").touch()
    assert third.communicate(timeout=60)[0] == "done\n"
    assert second.communicate(timeout=60)[0] == "heard u3\ndone\n" and len(folders(items)) == 1
    assert not list(folder.parent.glob("*.lock")) and tracing.finished(folder)


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
