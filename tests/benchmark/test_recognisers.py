"""Recognisers in a run: recorded, replayed, and in a table's rows."""

import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine.feature_cache import cached_features
from earlyexit_superb.benchmark.exiting import Exit, leaving, replay, run_until_exit
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.upstreams.recognition.word_model import WordModel
from helpers import ROOT, arpa
from helpers.recognition import SmallSpeller
from helpers.toy_runs import rows

pytestmark = pytest.mark.usefixtures("shared_cache")


class Spelling(SmallSpeller):
    """What `--upstream file.py:Spelling` builds."""

    def __init__(self, criterion: str = "entropy", lm: str = ""):
        self.word_model = WordModel(lm)
        super().__init__(criterion=criterion)


def test_a_run_answers_and_its_row_says_so(spoken, tmp_path):
    spec = f"{ROOT / 'tests/benchmark/test_recognisers.py'}:Spelling"
    line = ["--upstream", spec, "--task", "asr", "--data", str(spoken), "--protocol", "mini"]
    line += ["--results", str(tmp_path), "--knob", "target_depth=2"]
    assert main([*line, "--set", "criterion=patience", "exits=oracle,tau:1.5"]) == 0
    made = {row["cell"]["exit"]: row for row in rows(tmp_path, "asr")}
    assert {"full", "depth 1", "adaptive", "oracle", "tau 1.5"} <= set(made)
    assert {row["answered_by"] for row in made.values()} == {"upstream"}
    assert made["tau 1.5"]["exit_histogram"] == [0, 5, 0, 0]  # the first exit's evidence is 1
    assert made["adaptive"]["exit_histogram"][2] == 0


def test_a_language_model_moves_words_and_no_exit(spoken, tmp_path):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="[lm] is not installed")
    spec = f"{ROOT / 'tests/benchmark/test_recognisers.py'}:Spelling"
    line = ["--upstream", spec, "--task", "asr", "--data", str(spoken), "--protocol", "mini"]
    line += ["--knob", "target_depth=2", "--set", "exits=static"]
    found = []
    for name, words in (("plain", []), ("lm", [f"lm={arpa.write(tmp_path / 'some.arpa')}"])):
        assert main([*line, *words, "--results", str(tmp_path / name)]) == 0
        found.append({row["cell"]["exit"]: row for row in rows(tmp_path / name, "asr")})
    plain, with_lm = found
    assert plain.keys() == with_lm.keys() >= {"full", "depth 1", "adaptive"}
    for exit, row in with_lm.items():
        assert row["cell"]["upstream"].endswith("lm=some.arpa)")
        assert row["exit_histogram"] == plain[exit]["exit_histogram"]
        assert row["cost"]["gmacs_per_s"] > plain[exit]["cost"]["gmacs_per_s"]
        assert row["scores"]["cer"] != plain[exit]["scores"]["cer"]


def test_answers_are_recorded_as_given_and_replayed_exactly(spoken):
    task, up = tasks.get("asr"), SmallSpeller(criterion="patience")
    items = task.corpus(spoken, task.protocols["mini"]).splits["test"]
    kept = cached_features(up, items, task.load, "asr test", keep="answers")
    exit = Exit(leaving(up), 2.0)
    depth = replay(kept.evidence, exit, up.exits)
    for i, item in enumerate(items):
        wav = task.load(item).wav[None]
        live = run_until_exit(up, wav, torch.tensor([wav.shape[1]]), exit)
        assert int(live.depth[0]) == depth[i]
        assert torch.equal(live.answers[0], kept.answer(i, int(depth[i])))
