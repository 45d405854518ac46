"""Corpora know the needs of a task, not the task."""

import ast
from dataclasses import replace
from pathlib import Path

from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks import corpora
from helpers.trees import digits, librispeech, mixtures, voicebank


def test_neither_readers_nor_verbs_know_a_task():
    """A new task touches no other file."""
    root = Path(corpora.__file__).parents[2]
    for path in (
        *root.glob("tasks/corpora/**/*.py"),
        *root.glob("benchmark/commands/*.py"),
        root / "benchmark" / "cli.py",
    ):
        named = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant)
        } & set(tasks.names())
        assert not named, f"{path.name} names {named}"


def test_what_a_corpus_can_serve_follows_from_fields_alone(tmp_path, monkeypatch):
    """A task that nobody has heard of, with a need that a reader can meet."""
    from earlyexit_superb.benchmark.commands import data_verify

    monkeypatch.setitem(tasks._found, "words", replace(tasks.get("asr"), name="words"))
    monkeypatch.setattr(tasks, "names", lambda: ["asr", "se", "sid", "ss", "words"])
    assert data_verify.served(
        librispeech(tmp_path / "LibriSpeech", ("train-clean-100", "dev-clean", "test-clean"))
    ) == ["asr", "words"]
    assert data_verify.served(digits(tmp_path / "fsdd")) == ["asr", "words", "sid"]
    assert data_verify.served(voicebank(tmp_path / "vb")) == ["se"] and data_verify.served(
        mixtures(tmp_path / "mix")
    ) == ["ss"]
    assert main(["data", "verify", str(tmp_path / "fsdd"), "--task", "words"]) == 0
