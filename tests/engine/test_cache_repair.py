"""A damaged feature cache is mended: what is damaged is recorded anew, what is not is kept; and the
verb `cache` works on whatever it finds.
"""

import shutil

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import cache_layout, feature_cache
from earlyexit_superb.benchmark.engine.feature_cache import cached_features
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
    assert heard == (["u0"] if how is not damage.unreadable else heard)  # the second longest
    assert file_digest(hurt) == digest and np.array_equal(again.evidence, first.evidence)
    assert not heard or "0001.npy; what is damaged is recorded anew" in capsys.readouterr().err
    assert main(["cache", "ls", "--check"]) == 0 and not list(again.folder.glob("*.done.npz"))


@pytest.mark.parametrize("name", ["0000.npy", "0001.done.npz", "manifest.json"])
@EACH_KIND
def test_an_interrupted_pass_goes_on_behind_what_is_sound(split, name, how, small_shards):
    items, load = split
    heard = []

    def breaking(item):
        if len(heard) == 2:
            raise KeyboardInterrupt
        heard.append(item.id)
        return load(item)

    with pytest.raises(KeyboardInterrupt):
        cached_features(Toy().eval(), items, breaking, "toy")
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
    monkeypatch.setattr(feature_cache.multiprocessing, "parent_process", lambda: "a run")
    with pytest.raises(MachineError, match="the process that started this one records it anew"):
        kept.batch([0])


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
    assert "damaged" in capsys.readouterr().out or how is damage.unreadable
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
    assert ("older" if older else "damaged") in captured.out and "notes.txt" in captured.out
    assert older == ("does not read those of an older one" in captured.err)
    assert main(["cache", "rm", "--unfinished"]) == 0 and folders(items) == []


def test_a_folder_is_no_obstacle_in_the_place_of_a_cache_or_a_lock(split):
    items, load = split
    first = cached_features(Toy().eval(), items, load, "toy")
    shutil.rmtree(first.folder)
    first.folder.write_text("a file")
    first.folder.with_suffix(".lock").mkdir()
    again = cached_features(Toy().eval(), items, load, "toy")
    assert np.array_equal(again.evidence, first.evidence)
