"""Identification the whole way, and its built-in corpus."""

from dataclasses import replace

import pytest
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks.corpora.mini import sid as mini
from helpers import TOY

TASK = tasks.get("sid")


def test_rows_of_a_tree_and_a_second_head_without_audio_or_upstream(people, monkeypatch, capsys):
    from earlyexit_superb.benchmark.engine.evaluation import evaluation
    from earlyexit_superb.benchmark.engine.experiment import RunConfig
    from earlyexit_superb.benchmark.engine.resolve import resolve
    from earlyexit_superb.benchmark.engine.run import results as made
    from earlyexit_superb.benchmark.engine.scoring import score_utterances, train_heads

    settings = {
        "steps": "60",
        "eval_every": "30",
        "batch": "8",
        "accumulate": "1",
        "lr": "0.03",
        "crop": "0.5",
        "crops": "2",
    }
    config = RunConfig(
        TOY,
        "sid",
        {"rho": (1.0,)},
        data=people,
        results=people.parent / "results",
        settings=settings,
    )
    results, refused = made(resolve(config))
    assert not refused and len(results) == 6 and all(r.scores["accuracy"].n == 8 for r in results)
    run = resolve(replace(config, seed=1))
    # would raise if called, as would any audio that is opened
    monkeypatch.setattr(type(run.upstream), "states", None)
    for name in ("read", "header", "inspect", "_open"):
        monkeypatch.setattr(audio, name, None)
    ev = evaluation(run, run.rows)  # finds the traces; every head is another one, by its seed
    train_heads(ev, list(ev.heads))
    assert len(score_utterances(ev, range(8), ev.exits)) == 8


@pytest.fixture
def small_mini(monkeypatch, own_cache):
    monkeypatch.setattr(mini, "SPEAKERS", 2)
    sizes = zip(mini.PARTS.items(), (2, 1, 1), strict=True)
    parts = {number: part._replace(utterances=n) for (number, part), n in sizes}
    monkeypatch.setattr(mini, "PARTS", parts)


def test_the_mini_corpus_is_the_same_every_time(small_mini, tmp_path, monkeypatch):
    first = TASK.corpus(None, TASK.protocols["mini"])
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "again"))
    again = TASK.corpus(None, TASK.protocols["mini"])
    assert first.name == "mini" and first.hash == again.hash and len(first.labels) == 2
    assert all(
        mini.SHORTEST <= i.samples / 16_000 <= mini.LONGEST
        for split in first.splits.values()
        for i in split
    )


@pytest.mark.slow
def test_the_whole_mini_corpus_is_the_usual_one(tmp_path, monkeypatch, caplog):
    caplog.set_level("WARNING", "earlyexit_superb")
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path))
    corpus = TASK.corpus(None, TASK.protocols["mini"])
    assert not caplog.text and len(corpus.labels) >= 20
