"""Mixtures read as a corpus, and the built-in ones."""

from itertools import combinations

import numpy as np
import pytest
import soundfile
from earlyexit_superb.benchmark import cli
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.benchmark.validation import opened
from earlyexit_superb.tasks import ss
from earlyexit_superb.tasks.corpora import builtin
from earlyexit_superb.tasks.corpora import make_mixtures as mixing
from earlyexit_superb.tasks.corpora.make_mixtures import make_mixtures
from earlyexit_superb.tasks.corpora.mini import ss as mini
from helpers.mixtures import files, pcm

# ---- read as a corpus ----


def test_from_the_command_line_to_examples(recorded, tmp_path, capsys):
    assert (
        cli.main(
            [
                "data",
                "mixtures",
                "--speech",
                str(recorded),
                "--out",
                str(tmp_path / "mixed"),
                "--limit",
                "5",
            ]
        )
        == 0
    )
    assert "mixtures" in capsys.readouterr().out
    corpus = ss.corpus(tmp_path / "mixed", ss.SUPERB_V1)
    assert corpus.name == "mixed" and all(corpus.splits[s] for s in ("train", "dev", "test"))
    item = corpus.splits["test"][0]
    read = ss.load(item)
    assert read.wav.shape == (item.samples,) and read.target.shape == (2, item.samples)
    # each file is rounded by itself
    assert (read.target.sum(0) - read.wav).abs().max() <= 2 / 32768
    first = soundfile.read(files(tmp_path / "mixed", "test", "s1")[item.id], dtype="float32")[0]
    np.testing.assert_array_equal(read.target[0], first)  # and s1 comes first
    assert item.speaker == "+".join(name.split("-")[0] for name in item.id.split("_"))


def test_everything_wrong_with_a_corpus_is_said_at_once(recorded, tmp_path):
    make_mixtures(recorded, tmp_path / "mixed")
    places = {
        side: list(files(tmp_path / "mixed", "train-100", side).values()) for side in mixing.SIDES
    }
    places["s1"][0].unlink()
    short = places["s2"][0]
    soundfile.write(short, pcm(short)[:-100], 16_000)
    files(tmp_path / "mixed", "dev", "mix_clean").popitem()[1].write_bytes(b"")
    with pytest.raises(UsageError) as told:
        opened(tasks.get("ss"), tmp_path / "mixed", ss.MINI)
    assert all(
        text in str(told.value)
        for text in (f"{places['s1'][0]}", f"{short} is shorter", "empty file", "data verify")
    )


# ---- built in ----


def test_the_built_in_mixtures(tmp_path, monkeypatch):
    """A small cast of the same making: a low and a high voice each, no voice in two splits, the
    same bytes again, and none made twice.
    """
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(mini, "SIZES", {"train": (4, 3), "dev": (2, 1), "test": (2, 2)})
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "one"))
    corpus = ss.corpus(None, ss.MINI)
    assert corpus.name == "mini" and {
        split: len(items) for split, items in corpus.splits.items()
    } == {"train": 3, "dev": 1, "test": 2}
    voices = {
        split: {name for item in items for name in item.speaker.split("+")}
        for split, items in corpus.splits.items()
    }
    assert not any(voices[a] & voices[b] for a, b in combinations(voices, 2))
    for item in corpus.splits["train"]:
        assert sorted("high" in name for name in item.speaker.split("+")) == [False, True]
        assert mini.SHORTEST <= item.samples / 16_000 <= mini.LONGEST
        assert ss.unprocessed(ss.load(item), ss.MINI) == {"si_sdr_improvement": 0.0}
    monkeypatch.setattr(mini, "lasting", None)  # a second look speaks no word
    assert ss.corpus(None, ss.MINI) == corpus
    monkeypatch.undo()
    monkeypatch.setattr(mini, "SIZES", {"train": (4, 3), "dev": (2, 1), "test": (2, 2)})
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "two"))
    assert ss.corpus(None, ss.MINI).hash == corpus.hash


@pytest.mark.slow
def test_the_built_in_mixtures_are_the_usual_ones(tmp_path, monkeypatch):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path))
    assert f"pcm: {mini.PCM}\n" in (builtin.made(mini.BUILTIN) / "README.txt").read_text()
