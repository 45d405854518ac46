"""Rows as damage, synchronising programs and strangers leave them: named once and left out, and the
rest of the board is what it would be without them.
"""

import json
import os
import shutil

import pandas as pd
import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.report import leaderboard
from earlyexit_superb.benchmark.report.folder import load_all
from earlyexit_superb.benchmark.report.result import Result
from helpers import ROOT
from helpers.rows import edited, first, kept, put

OLD = ROOT / "tests" / "golden" / "result_schema1.json"


WRONG = {
    "a mean above all": put("scores", "pesq", "mean", value=150.0),
    "a mean that is not of its table": put("scores", "pesq", "mean", value=2.9),
    "an interval of nothing": put("scores", "pesq", "low", value=1.0),
    "NaN": put("scores", "pesq", "mean", value=float("nan")),
    "infinite": put("cost", "rtfx", value=float("inf")),
    "n -5": put("scores", "pesq", "n", value=-5),
    "n of another table": put("scores", "pesq", "n", value=19),
    "low above high": put("scores", "pesq", "low", value=4.0),
    "depth -3": put("depth", value=-3.0),
    "depth that the histogram has not": put("depth", value=7.0),
    "text for a number": put("cost", "gmacs_per_s", value="5"),
    "a bool for a number": put("scores", "pesq", "n", value=True),
    "a list for a name": put("cell", "upstream", value=["u"]),
    "a field that is not known": put("cell", "colour", value="red"),
    "no scores": put("scores", value={}),
    "a metric of its own": put(
        "detail", "metrics", value=[{"name": "x", "higher_is_better": True}]
    ),
    "a knob without value": put("cell", "knob", value="rho"),
    "more saved than there is": put("cost", "macs_saved", value=101.0),
    "huge": put("depth", value=10**400),
    "another cell": put("cell", "seed", value=7),
    "another task": put("cell", "task", value="sid"),
    "half a letter": put("cell", "exit", value="\ud800"),
    "exits in words": put("detail", "exit", value={"depths": "all"}),
    "a training in words": put("detail", "training", value="SGD"),
    "a training on a number": put("detail", "training", value={"device": 5}),
    "a budget that says nothing": put("detail", "budget", value={"target": 30}),
    "a bound in words": put("detail", "max_loss", value={"risk": "low"}),
    "detail is a list": put("detail", value=[]),
}


@pytest.mark.parametrize("seal", [False, True])
@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_cannot_be_true_is_left_out_and_the_rest_stands(change, seal, folder, capsys):
    edited(first(folder), change, seal)
    assert main(["leaderboard", str(folder)]) == 0
    [notice] = [line for line in capsys.readouterr().err.splitlines() if "notice" in line]
    assert notice.startswith(f"notice: left out: {first(folder)}") or "utterances" in notice
    board = (folder / "leaderboard_se.csv").read_text()
    first(folder).unlink()
    leaderboard.write(folder, "se")
    assert board == (folder / "leaderboard_se.csv").read_text() and "full" in board


NOT_JSON = {
    "empty": b"",
    "cut": OLD.read_bytes()[:500],
    "brackets": b"[" * 100_000,
    "a number of 5000 digits": b'{"schema": ' + b"9" * 5000 + b"}",
    "Latin-1": b'{"schema": "\xe9"}',
    "NULs": b"\0" * 1000,
    "a key twice": b'{"schema": 2, "schema": 2}',
    "a list": b"[]",
    "a word": b"null",
    "no detail": b'{"schema": 2}',
    "a schema of words": b'{"schema": "\xe2\x80\xa8", "detail": {}}',
    "audio of no length": b'{"schema": 1, "macs_saved": 0, "time_saved": 0, '
    b'"cell": {"upstream": ""}, "detail": {"cost": {"macs": 1, "audio_seconds": 0}}}',
}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_result_is_one_sentence(content, folder, capsys):
    first(folder).write_bytes(content)
    assert [row.cell.exit for row in load_all(folder)] == ["full"]
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert main(["compare", str(first(folder)), "exit=full", "--results", str(folder)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("error: ")


def test_what_is_no_file_stops_nothing(folder, capsys):
    place = first(folder).parent
    (place / "._full.json").write_bytes(b"\0\5\x16\7")  # of a Macintosh
    (place / "folder.json").mkdir()
    os.mkfifo(place / "fifo.json")
    (place / "nowhere.json").symlink_to(place / "gone")
    assert len(load_all(folder)) == 2
    said = capsys.readouterr().err.splitlines()
    named = sorted(line.split("/")[-1].split()[0] for line in said)
    assert named == ["fifo.json", "folder.json", "nowhere.json"]


def test_a_copy_of_a_row_is_named_and_the_row_counts_once(folder, capsys):
    path = first(folder)
    shutil.copy(path, path.with_name(f"{path.stem} (conflicted copy).json"))
    shutil.copy(path, path.with_name("copy.json"))
    assert len(load_all(folder)) == 2
    said = capsys.readouterr().err
    assert said.count(f"holds the row of {path.relative_to(folder)}; move it there, or away") == 2


TABLES = {
    "a score of another row": ("2.", "4."),
    "an exit": (",6,", ",7,"),
    "no header": ("id,", "x,"),
    "text": ("2.", "two."),
    "an utterance twice": ("u001", "u000"),
    "an infinite score": ("\nu003,6,s0,2", "\nu003,6,s0,1e999"),
}


@pytest.mark.parametrize("seal", [False, True])
@pytest.mark.parametrize("was, now", TABLES.values(), ids=TABLES)
def test_a_table_that_does_not_give_its_row_is_left_out_with_it(was, now, seal, folder, capsys):
    table = first(folder).with_suffix(".utterances.csv")
    changed = table.read_text().replace(was, now, 1)
    assert changed != table.read_text()
    table.write_text(changed)
    if not seal:
        edited(first(folder), lambda raw: None)
    assert [row.cell.exit for row in load_all(folder)] == ["full"]
    assert str(table) in capsys.readouterr().err
    table.write_bytes(b"\xff\xfe\0")
    assert [row.cell.exit for row in load_all(folder)] == ["full"]


def test_lines_may_come_in_another_order_and_fields_in_another_layout(folder):
    table = first(folder).with_suffix(".utterances.csv")
    head, *lines = table.read_text().splitlines()
    table.write_text("\r\n".join([head, *lines[::-1]]) + "\r\n")
    assert len(load_all(folder)) == 2
    first(folder).write_text(json.dumps(json.loads(first(folder).read_text())))  # laid out anew
    assert len(load_all(folder)) == 2


def test_a_table_that_is_missing_is_said(folder, capsys):
    first(folder).with_suffix(".utterances.csv").unlink()
    assert len(load_all(folder)) == 1
    assert "its row has no utterances' table" in capsys.readouterr().err


@pytest.mark.parametrize(
    "task, metric, wrong",
    [
        ("sid", "accuracy", 150.0),
        ("sid", "accuracy", -20.0),
        ("asr", "wer", -1.0),
        ("se", "stoi", 1.5),
        ("se", "pesq", 0.5),
        ("se", "pesq", 6.0),
    ],
)
def test_no_mean_is_beyond_what_its_task_declares(task, metric, wrong, tmp_path):
    """Of a row whose utterances are not there to say so, made before tasks declared it."""
    path = tmp_path / "row.json"
    shutil.copy(next((ROOT / "results" / task).rglob("full*.json")), path)
    Result.load(path)
    edited(path, lambda raw: raw["scores"][metric].update(mean=wrong, low=wrong, high=wrong))
    with pytest.raises(UsageError, match=f"{metric} {wrong:g} is out of its range"):
        Result.load(path)


@pytest.mark.parametrize("how", ["cut", "no table"])
def test_a_task_without_a_row_that_can_be_believed_has_an_empty_board(how, tmp_path, capsys):
    root, damaged = tmp_path / "r", kept(tmp_path / "r", [2.0, 3.0, 2.5])
    shutil.copytree(ROOT / "results" / "sid", root / "sid")  # a later task
    if how == "cut":
        damaged.path.write_bytes(damaged.path.read_bytes()[:100])
    else:
        damaged.path.with_suffix(".utterances.csv").unlink()
    assert main(["leaderboard", str(root)]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and said[0].startswith(f"notice: left out: {damaged.path.parent}")
    assert said[1] == f"notice: {root} has no row of se that can be shown; its board is empty"
    board = pd.read_csv(root / "leaderboard_se.csv")
    assert not len(board) and "vs_curve" in board
    name = "leaderboard_sid.csv"
    assert (root / name).read_bytes() == (ROOT / "results" / name).read_bytes()
