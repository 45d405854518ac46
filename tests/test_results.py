"""Results: what is written is what is read, tables are functions of files, a failure is never a score."""
import json
import math

import pytest
from earlyexit_superb.benchmark import leaderboard
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.benchmark.metrics import Failure
from earlyexit_superb.benchmark.paths import writable
from earlyexit_superb.benchmark.result import FIX, Cell, Result, Score, load_all
from helpers import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

numbers = st.floats(-1e6, 1e6, allow_nan=False)
text = st.text("abcdefghij.+()=, -", min_size=1, max_size=12)


def result(upstream="u", exit="full", seed=0, pesq=2.0, knob=None, value=None, span=None, **more):
    cell = Cell(upstream, "abc", "se", 1, "mini", "12345678", "mini", "ffff", exit, True, knob, value, span, seed)
    scores = {m: Score(pesq, pesq - 0.1, pesq + 0.1, 4, 1, {"silent": 1}) for m in ("pesq", "stoi", "si_sdr_improvement")}
    return Result(cell, scores, **({"depth": 6.0, "exit_histogram": [0, 4], "macs_saved": 31.5, "time_saved": 20.0, "device": "cpu"} | more))


@settings(max_examples=50, deadline=None)
@given(upstream=text, pesq=numbers, seed=st.integers(0, 99), value=st.none() | st.floats(0, 1), depth=st.none() | numbers)
def test_round_trip(tmp_path_factory, upstream, pesq, seed, value, depth):
    root = tmp_path_factory.mktemp("r")
    saved = result(upstream, seed=seed, pesq=pesq, knob=None if value is None else "rho", value=value, span="mean", depth=depth)
    assert Result.load(saved.save(root)) == saved


def test_different_cells_have_different_paths(tmp_path):
    cells = [result(), result(seed=1), result(exit="depth 6"), result(exit="adaptive", knob="rho", value=0.7, span="mean"),
             result(exit="adaptive", knob="rho", value=0.7, span="min-max"), result(exit="adaptive", knob="rho", value=0.76, span="mean")]
    assert len({c.cell.path(tmp_path) for c in cells}) == len(cells)


def test_failures_are_counted_with_their_reason_and_stay_out_of_the_mean():
    score = Score.over([1.0, Failure("silent reference"), 3.0, Failure("silent reference")])
    assert (score.mean, score.n, score.failed, score.reasons) == (2.0, 2, 2, {"silent reference": 2})
    assert score.low <= 2.0 <= score.high
    nothing = Score.over([Failure("too short")])
    assert nothing.mean is None and nothing.failed == 1


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        result(depth=math.nan).save(tmp_path)


def test_the_same_files_give_the_same_bytes_in_any_order_of_writing(tmp_path):
    rows = [result(f"u{i}", pesq=2 + i / 7, exit="adaptive", knob="rho", value=0.7, span="mean") for i in range(4)]
    for r in rows:
        r.save(tmp_path / "a")
    for r in reversed(rows):
        r.save(tmp_path / "b")
    for name in ("leaderboard_se.csv", "leaderboard_se.md"):
        leaderboard.write(tmp_path / "a", "se"), leaderboard.write(tmp_path / "b", "se")
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    first = (tmp_path / "a" / "leaderboard_se.csv").read_text().splitlines()
    assert first[0].startswith("upstream,revision,tuned_on,answered_by,task,task_version,protocol,corpus,exit,knob,value,rho,span,seed,pesq,stoi,si_sdr_improvement,pesq_low")
    assert first[0].endswith("n,failed,depth,macs_saved,time_saved,device") and first[1].startswith("u3,")


def test_names_that_a_spreadsheet_would_run_are_defused(tmp_path):
    result("=cmd()").save(tmp_path)
    assert "\n'=cmd()" in leaderboard.write(tmp_path, "se")[0].read_text()


def test_a_file_that_is_no_result_is_named(tmp_path):
    path = result().save(tmp_path)
    path.write_text(path.read_text()[:50])
    with pytest.raises(UsageError, match="is not a result"):
        load_all(tmp_path)
    path.write_text(json.dumps({"schema": 99}))
    with pytest.raises(UsageError, match="schema 99"):
        load_all(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"cannot be written .*--results"):
        writable(tmp_path / "file" / "below", FIX)


def test_nothing_is_left_of_an_interrupted_write(tmp_path):
    result().save(tmp_path, [{"id": "a", "pesq": 1.0}])
    assert sorted(p.suffix for p in tmp_path.rglob("*") if p.is_file()) == [".csv", ".json"]


COMMITTED = ROOT / "results"


def test_the_committed_boards_are_what_their_jsons_say(tmp_path):
    tasks_there = {r.cell.task for r in load_all(COMMITTED)}
    assert tasks_there, "results/ holds the rows of the built-in models"
    for task in tasks_there:
        for r in load_all(COMMITTED, task):
            r.save(tmp_path)
        for path in leaderboard.write(tmp_path, task):
            assert path.read_bytes() == (COMMITTED / path.name).read_bytes(), f"run: run_benchmark.py leaderboard {COMMITTED.name}"


def test_the_committed_rows_keep_the_promises_made_of_them():
    """The full model is clearly above the unprocessed input, and random weights of the same shape clearly below the model."""
    pesq = {(r.cell.upstream, r.cell.exit, r.cell.layer_norm): r.scores["pesq"].mean for r in load_all(COMMITTED, "se")}
    noisy, full = pesq["unprocessed", "unprocessed", None], pesq["hubert.tiny(front=projection)", "full", False]
    control = pesq["hubert.tiny(weights=random, front=projection)", "full", False]
    assert full - noisy >= 0.15 and full - control >= 0.05
