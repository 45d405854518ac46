"""The built-in noisy corpus: made once, the same everywhere."""

import pytest
from earlyexit_superb.benchmark.errors import MachineError
from earlyexit_superb.benchmark.storage import cache_dir
from earlyexit_superb.tasks.corpora import builtin
from earlyexit_superb.tasks.corpora import noise as noises
from earlyexit_superb.tasks.corpora.mini import se as mini
from earlyexit_superb.tasks.corpora.noisy_pairs import Part, write_voicebank
from helpers.sounds import rng, speechlike, tree, voicebank


@pytest.fixture
def small_mini(monkeypatch):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(mini, "SIZES", {"train": (3, 12), "dev": (1, 12), "test": (2, 12)})
    monkeypatch.setattr(mini, "GENERATORS", {k: noises.GENERATORS[k] for k in ("pink", "clicks")})


def test_the_mini_corpus_is_made_once_and_the_same_everywhere(
    small_mini, tmp_path, monkeypatch, caplog
):
    folders = []
    for home in ("a", "b"):
        monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / home))
        folders.append(builtin.made(mini.BUILTIN))
    assert tree(folders[0]) == tree(folders[1])
    before = {p: p.stat().st_mtime_ns for p in folders[1].rglob("*")}
    assert builtin.made(mini.BUILTIN) == folders[1] and before == {
        p: p.stat().st_mtime_ns for p in folders[1].rglob("*")
    }
    assert "not sample for sample the usual one" in caplog.text  # true here: it is smaller
    corpus = voicebank(folders[0])
    assert {split: len(items) for split, items in corpus.splits.items()} == {
        "train": 12,
        "dev": 12,
        "test": 12,
    }
    speakers = [{item.speaker for item in items} for items in corpus.splits.values()]
    assert len(set.union(*speakers)) == sum(map(len, speakers)) == 6
    assert all(
        mini.SHORTEST <= item.samples / 16_000 <= mini.LONGEST
        for items in corpus.splits.values()
        for item in items
    )


def test_who_comes_second_to_a_new_corpus_keeps_the_first(tmp_path):
    part = Part(
        "train", "a_001.wav", "a", "white", 5.0, "", speechlike(), noises.white(rng(), 16_000)
    )
    made = [write_voicebank(tmp_path / "out", [part], 1, "", 0) for _ in range(2)]
    assert made[0] == made[1] and [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_the_whole_mini_corpus_is_the_usual_one(tmp_path, monkeypatch, caplog):
    pytest.importorskip("espeakng_loader")
    caplog.set_level("WARNING", "earlyexit_superb")
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path))
    assert (
        f"pcm: {mini.PCM}\n" in (builtin.made(mini.BUILTIN) / "README.txt").read_text()
        and not caplog.text
    )


def test_the_cache_folder_can_be_moved_and_complains(tmp_path, monkeypatch):
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "new" / "cache"))
    assert cache_dir() == tmp_path / "new" / "cache" and cache_dir().is_dir()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(MachineError, match="EARLYEXIT_SUPERB_CACHE="):
        cache_dir()
