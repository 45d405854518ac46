"""A damaged feature cache is mended: what is damaged is recorded anew, what is not is kept; and the
verb `cache` works on whatever it finds.
"""

import errno
import multiprocessing
import os
import shutil

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import cache_layout, cache_repair, workers
from earlyexit_superb.benchmark.engine.feature_cache import FeatureCache, cached_features
from earlyexit_superb.benchmark.errors import MachineError
from earlyexit_superb.benchmark.soundness import file_digest
from helpers import damage
from helpers.traces import folders
from toys.toy import Toy

EACH_KIND = pytest.mark.parametrize("how", damage.KINDS, ids=lambda how: how.__name__)


@pytest.fixture
def small_shards(monkeypatch):
    """One piece of audio a shard."""
    monkeypatch.setattr(cache_layout, "SHARD_BYTES", 1)
    monkeypatch.setattr(cache_layout, "BATCH_SECONDS", 0.01)


def interrupted(items, load):
    """A pass that was stopped behind its second shard."""
    heard = []

    def breaking(item):
        if len(heard) == 2:
            raise KeyboardInterrupt
        heard.append(item.id)
        return load(item)

    with pytest.raises(KeyboardInterrupt):
        cached_features(Toy().eval(), items, breaking, "toy")


@EACH_KIND
def test_only_a_damaged_shard_is_recorded_anew(split, how, small_shards, capsys):
    """Found when it is first read, in the middle of a run."""
    items, load = split
    heard = []
    first = cached_features(Toy().eval(), items, load, "toy")
    kept = [first.batch([i]).states[False] for i in range(4)]
    again = cached_features(
        Toy().eval(), items, lambda item: heard.append(item.id) or load(item), "toy"
    )
    hurt = again.folder / "0001.npy"
    digest = file_digest(hurt)
    how(hurt)
    assert all(torch.equal(again.batch([i]).states[False], kept[i]) for i in range(4))
    assert heard == ["u0"]  # the second longest
    assert file_digest(hurt) == digest and np.array_equal(again.evidence, first.evidence)
    assert "0001.npy; what is damaged is recorded anew" in capsys.readouterr().err
    assert main(["cache", "ls", "--check"]) == 0 and not list(again.folder.glob("*.done.npz"))


@pytest.mark.parametrize("name", ["0000.npy", "0001.done.npz", "manifest.json"])
@EACH_KIND
def test_an_interrupted_pass_goes_on_behind_what_is_sound(split, name, how, small_shards):
    items, load = split
    interrupted(items, load)
    [folder] = folders(items)
    how(folder / name)
    kept = cached_features(Toy().eval(), items, load, "toy")
    states = [kept.batch([i]).states[False] for i in range(4)]
    shutil.rmtree(folder)
    fresh = cached_features(Toy().eval(), items, load, "toy")
    assert all(torch.equal(fresh.batch([i]).states[False], states[i]) for i in range(4))
    assert np.array_equal(kept.evidence, fresh.evidence)


@pytest.mark.parametrize("how", [damage.zeroed, damage.rolled, damage.folder, damage.deleted])
def test_means_and_evidence_alone_are_mended(split, how):
    items, load = split
    for keep, name in (("means", "0000.npy"), ("evidence", "evidence.npy")):
        first = cached_features(Toy().eval(), items, load, "toy", keep=keep)
        states = first.batch([0, 1]).states if keep == "means" else {}
        how(first.folder / name)
        again = cached_features(Toy().eval(), items, load, "toy", keep=keep)
        assert np.array_equal(again.evidence, first.evidence)
        for normed, state in states.items():
            assert torch.equal(again.batch([0, 1]).states[normed], state)


def test_a_cache_that_was_copied_under_another_key_is_not_read(split, capsys):
    items, load = split
    right = cached_features(Toy().eval(), items, load, "toy")
    other = cached_features(Toy().eval(), items[:2], load, "toy")
    shutil.rmtree(right.folder)
    shutil.copytree(other.folder, right.folder)
    again = cached_features(Toy().eval(), items, load, "toy")
    assert np.array_equal(again.evidence, right.evidence)
    assert "of something else (audio differ)" in capsys.readouterr().err


def test_a_worker_leaves_mending_to_its_parent(split, monkeypatch):
    items, load = split
    kept = cached_features(Toy().eval(), items, load, "toy")
    damage.zeroed(kept.folder / "0000.npy")
    monkeypatch.setattr(FeatureCache, "mends", False)
    with pytest.raises(MachineError, match="the process that started this one records it anew"):
        kept.batch([0])


def test_only_a_worker_is_one(split, monkeypatch):
    """A process that a user started with multiprocessing is not."""
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=workers._serve, args=(theirs, lambda: FeatureCache)
    )
    process.start()
    ours.send((getattr, ("mends",)))
    assert ours.poll(20) and ours.recv() is False
    process.kill()
    process.join()
    items, load = split
    kept = cached_features(Toy().eval(), items, load, "toy")
    states = kept.batch([0]).states[False]
    damage.zeroed(kept.folder / "0000.npy")
    again = cached_features(Toy().eval(), items, load, "toy")
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "a user's script")
    assert torch.equal(again.batch([0]).states[False], states)


@EACH_KIND
def test_ls_and_rm_work_whatever_a_manifest_is(split, how, capsys):
    items, load = split
    keys = [
        cached_features(Toy().eval(), items, load, "toy", deepest=d).folder.name for d in (1, 2)
    ]
    root = folders(items)[0].parent
    for key in keys:
        how(root / key / "manifest.json")
    capsys.readouterr()
    assert main(["cache", "ls"]) == 0 and main(["cache", "ls", "--check"]) in (0, 1)
    assert "damaged" in capsys.readouterr().out
    assert main(["cache", "rm", keys[0]]) == 0 and main(["cache", "rm", "--all"]) == 0
    assert folders(items) == []


@pytest.mark.parametrize("said", ['{"about": 3}', '{"about": {"format": 4}, "what": [1]}', "[]"])
def test_ls_lists_what_other_versions_and_people_wrote(split, said, capsys):
    items, load = split
    folder = cached_features(Toy().eval(), items, load, "toy").folder
    (folder / "manifest.json").write_text(said)
    (folder.parent / "notes.txt").write_text("mine")
    (folder / "gone").symlink_to("nowhere")
    assert main(["cache", "ls"]) == 0
    captured = capsys.readouterr()
    older = "format" in said
    assert ("older" if older else "damaged") in captured.out and "notes.txt" not in captured.out
    assert older == ("does not read those of an older one" in captured.err)
    assert main(["cache", "rm", "--unfinished"]) == 0 and folders(items) == []
    assert main(["cache", "rm", "--all"]) == 0
    assert (folder.parent / "notes.txt").read_text() == "mine"


def test_rm_takes_away_what_was_set_aside(split, capsys):
    items, load = split
    folder = cached_features(Toy().eval(), items, load, "toy").folder
    aside = [folder.with_name(f"{folder.name}{end}") for end in (".damaged", ".lock.damaged")]
    for path in aside:
        path.mkdir()
        (path / "0000.npy").write_text("0")
    assert main(["cache", "ls", "--check"]) == 0
    assert capsys.readouterr().out.count("set aside") == 2
    assert main(["cache", "rm", aside[0].name]) == 0 and aside[1].exists()
    assert main(["cache", "rm", "--unfinished"]) == 0
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_is_no_obstacle_in_the_place_of_a_cache_or_a_lock(split):
    items, load = split
    first = cached_features(Toy().eval(), items, load, "toy")
    shutil.rmtree(first.folder)
    first.folder.write_text("a file")
    first.folder.with_suffix(".lock").mkdir()
    again = cached_features(Toy().eval(), items, load, "toy")
    assert np.array_equal(again.evidence, first.evidence)
    assert first.folder.with_name(f"{first.folder.name}.damaged").read_text() == "a file"


def test_a_link_to_a_folder_is_a_folder(split, tmp_path, capsys):
    """Moved to a larger disk, a feature cache is found and mended there."""
    items, load = split
    first, disk = cached_features(Toy().eval(), items, load, "toy"), tmp_path / "disk"
    shutil.move(first.folder, disk)
    first.folder.symlink_to(disk)
    damage.zeroed(disk / "evidence.npy")
    again = cached_features(Toy().eval(), items, load, "toy")
    assert np.array_equal(again.evidence, first.evidence) and first.folder.is_symlink()
    assert (disk / "0000.npy").is_file() and main(["cache", "ls", "--check"]) == 0
    disk.rename(tmp_path / "unmounted")
    with pytest.raises(MachineError, match=f"is a link to {disk}, which is not there; mount"):
        cached_features(Toy().eval(), items, load, "toy")
    capsys.readouterr()
    assert main(["cache", "rm", first.folder.name]) == 0 and not os.path.lexists(first.folder)
    assert f"what it led to stays: {disk}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["manifest.json", "0000.npy", "0001.done.npz"])
def test_a_disk_that_fails_takes_nothing_away(split, name, small_shards, monkeypatch):
    """From an unfinished pass, which nobody else may need to be repeated."""
    items, load = split
    interrupted(items, load)
    [folder] = folders(items)
    before = {path: path.stat().st_size for path in folder.iterdir()}
    with monkeypatch.context() as patch:
        damage.failing(patch, folder / name, OSError(errno.ESTALE, "Stale file handle"))
        with pytest.raises(MachineError, match=f"{name} cannot be read .*may be whole"):
            cached_features(Toy().eval(), items, load, "toy")
        assert {path: path.stat().st_size for path in folder.iterdir()} == before
        assert main(["cache", "ls"]) == 0 and main(["cache", "rm", "--unfinished"]) == 0
    assert folder.exists() == (name == "manifest.json")  # else it is known to be unfinished


def test_reading_much_of_a_pass_again_shows_a_bar(split, small_shards, monkeypatch, capsys):
    items, load = split
    interrupted(items, load)
    monkeypatch.setattr(cache_repair, "LARGE", 1)
    cached_features(Toy().eval(), items, load, "toy")
    assert "toy: checking what is there: 100%" in capsys.readouterr().err
