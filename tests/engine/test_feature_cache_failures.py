"""Broken traces are told, not read; an interrupted pass goes on where it was cut."""

import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.contract import Example
from earlyexit_superb.benchmark.engine import cache_layout, extract
from earlyexit_superb.benchmark.engine import feature_cache as tracing
from earlyexit_superb.benchmark.engine.cache_repair import finished
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from helpers import ROOT
from helpers.traces import equals_live, folders
from toys.toy import Toy


def test_audio_that_is_not_what_its_header_promised_is_named(split):
    items = split[0]
    with pytest.raises(UsageError, match=r"u2\.raw: 5 samples were read"):
        tracing.cached_features(
            Toy().eval(), items, lambda item: Example(item.id, torch.zeros(5), None), "toy"
        )


def test_an_interrupted_pass_goes_on_behind_its_last_whole_shard(split, monkeypatch):
    items, load = split
    monkeypatch.setattr(cache_layout, "SHARD_BYTES", 1)
    monkeypatch.setattr(cache_layout, "BATCH_SECONDS", 0.01)
    toy, heard = Toy().eval(), []

    def breaking(item):
        if len(heard) == 2:
            raise KeyboardInterrupt
        heard.append(item.id)
        return load(item)

    with pytest.raises(KeyboardInterrupt):
        tracing.cached_features(toy, items, breaking, "toy")
    [folder] = folders(items)
    assert not finished(folder) and len(list(folder.glob("*.done.npz"))) == 2
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


def test_ls_check_reads_every_byte(split, capsys):
    items, load = split
    folder = tracing.cached_features(Toy().eval(), items, load, "toy").folder
    assert main(["cache", "ls", "--check"]) == 0 and "sound" in capsys.readouterr().out
    for name in ("0000.npy", "index.npy", "evidence.npy", "manifest.json"):
        path = folder / name
        whole = path.read_bytes()
        for damage in (whole[:-10], whole[:-10] + bytes(10)):
            path.write_bytes(damage)
            assert main(["cache", "ls", "--check"]) == 1 and "damaged" in capsys.readouterr().out
        path.write_bytes(whole)
    assert main(["cache", "ls", "--check"]) == 0


def test_a_trace_that_was_removed_before_it_is_read_is_recorded_anew(split, capsys):
    items, load = split
    kept = tracing.cached_features(Toy().eval(), items, load, "toy")
    before = kept.batch([0]).states[False]
    again = tracing.cached_features(Toy().eval(), items, load, "toy")
    assert main(["cache", "rm", "--all"]) == 0
    assert torch.equal(again.batch([0]).states[False], before)
    main(["cache", "rm", "--all"])
    with pytest.raises(
        MachineError, match=r"removed or truncated while it was in use .* repeat the command"
    ):
        kept.batch([0])


def test_a_cache_that_vanishes_or_fills_up_while_it_is_written_is_told(split, monkeypatch):
    import shutil

    items, load = split
    monkeypatch.setattr(cache_layout, "SHARD_BYTES", 1)
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
    with pytest.raises(MachineError, match="too few for any feature cache; free some space"):
        tracing.cached_features(Toy().eval(), items, None, "toy")


GATED = """
import logging, os, pathlib, sys, time
logging.basicConfig(level=logging.INFO)
sys.path[:0] = [{tests!r}, {root!r}]
import run_benchmark
from earlyexit_superb.benchmark.engine import cache_layout, feature_cache
from helpers import items_of
from toys.toy import Toy
cache_layout.SHARD_BYTES, cache_layout.BATCH_SECONDS = 1, 0.01
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
    assert not finished(folder) and (folder / "0001.done.npz").exists()
    second = start(0)
    assert second.stdout.readline() == "heard u1\n"
    third = start(0)
    assert any(
        "another process is at work on the feature cache of toy" in line for line in third.stderr
    )
    (items[0].path.parent / "go").touch()
    assert third.communicate(timeout=60)[0] == "done\n"
    assert second.communicate(timeout=60)[0] == "heard u3\ndone\n" and len(folders(items)) == 1
    assert not list(folder.parent.glob("*.lock")) and finished(folder)
