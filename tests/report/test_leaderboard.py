"""Boards: lines of seeds, references, thresholds; the committed ones are what their JSONs say."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.report import board_lines, leaderboard
from earlyexit_superb.benchmark.report.folder import load_all
from earlyexit_superb.benchmark.report.result import Cost
from earlyexit_superb.benchmark.report.screen import screen
from helpers import ROOT
from helpers.rows import result


def test_the_same_files_give_the_same_bytes_in_any_order_of_writing(tmp_path):
    rows = [
        result(f"u{i}", pesq=2 + i / 7, exit="adaptive", knob="rho", value=0.7, span="mean")
        for i in range(4)
    ]
    for r in rows:
        r.save(tmp_path / "a")
    for r in reversed(rows):
        r.save(tmp_path / "b")
    for name in ("leaderboard_se.csv", "leaderboard_se.md"):
        leaderboard.write(tmp_path / "a", "se"), leaderboard.write(tmp_path / "b", "se")
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    first = (tmp_path / "a" / "leaderboard_se.csv").read_text().splitlines()
    assert first[0].startswith(
        "upstream,revision,recipe,tuned_on,answered_by,task,task_version,protocol,corpus,exit,knob,"
        "value,rho,test_value,span,seed,pesq,stoi,si_sdr_improvement,pesq_low"
    )
    assert first[0].endswith(
        "n,failed,depth,gmacs_per_s,rtfx,params_m,params_all_m,peak_mib,reference,macs_saved,time_s"
        "aved,time_saved_low,time_saved_high,timed,timed_macs_saved,device"
    ) and first[1].startswith("u3,")


def test_names_that_a_spreadsheet_would_run_are_defused(tmp_path):
    result("=cmd()").save(tmp_path)
    assert "\n'=cmd()" in leaderboard.write(tmp_path, "se")[0].read_text()


COMMITTED = ROOT / "results"


@pytest.mark.parametrize(
    "name",
    (
        *(".", "conformers", "recognisers", "recognisers_digits"),
        *("hubert_ee_stages", "zaiem_stages", "zaiem_shorter"),
    ),
)
def test_the_committed_boards_are_what_their_jsons_say(name, tmp_path):
    folder = COMMITTED / name
    tasks_there = {r.cell.task for r in load_all(folder)}
    assert tasks_there, f"{folder} holds rows"
    for task in tasks_there:
        shutil.copytree(folder / task, tmp_path / task)
        for path in leaderboard.write(tmp_path, task):
            assert path.read_bytes() == (folder / path.name).read_bytes(), (
                f"run: run_benchmark.py leaderboard {folder.relative_to(ROOT)}"
            )


def test_committed_recognisers_are_means_of_three_trainings_and_stand_apart():
    board = pd.read_csv(COMMITTED / "recognisers" / "leaderboard_asr.csv", dtype=str)
    assert (board["tuned_on"].fillna("") != "").all() and (board["answered_by"] == "upstream").all()
    means = board[board["seed"] == "mean of 3"]
    assert set(means["revision"]) == {"3 trainings"} and means["recipe"].nunique() == 3
    assert {"hubert_ee", "wav2vec2_ctc", "zaiem"} == {
        n.partition(".")[0] for n in means["upstream"]
    }
    frozen = pd.read_csv(COMMITTED / "leaderboard_asr.csv", dtype=str)
    assert frozen["tuned_on"].isna().all()


@pytest.mark.parametrize(
    "task, metric, target, ahead",
    [
        ("se", "pesq", 1.6, 0.2),
        ("asr", "wer", -6, 20),
        ("sid", "accuracy", 90, 20),
        ("ss", "si_sdr_improvement", 6, 2),
    ],
)
def test_the_committed_rows_keep_the_promises_made_of_them(task, metric, target, ahead):
    """Over three seeds the full model reaches its target, with layer-norm and without, and is well
    ahead of random weights of the same shape. Of an error rate, less is more.
    """
    worth = -1 if metric == "wer" else 1
    scores: dict = {}
    for r in load_all(COMMITTED, task):
        if r.cell.exit == "full":
            of = scores.setdefault((r.cell.upstream, r.cell.layer_norm), [])
            of.append(worth * r.scores[metric].mean)
    for norm in (False, True):
        model = scores["hubert.tiny(front=projection)", norm]
        random = scores["hubert.tiny(weights=random, front=projection)", norm]
        assert len(model) == len(random) == 3 and np.mean(model) >= target
        assert np.mean(model) - np.mean(random) >= ahead


def test_enhancement_of_the_committed_rows_is_better_than_its_input_in_every_metric():
    found = load_all(COMMITTED, "se")
    [noisy] = [r for r in found if r.cell.upstream == "unprocessed"]
    rows = [
        r for r in found if r.cell.exit in ("adaptive", "full") and "random" not in r.cell.upstream
    ]
    assert len(rows) > 30
    for row in rows:
        for metric in ("pesq", "stoi", "si_sdr_improvement"):
            assert row.scores[metric].mean > noisy.scores[metric].mean


def test_seeds_have_a_line_each_and_one_for_all():
    lines = [board_lines.row(result(seed=s, pesq=p)) for s, p in ((0, 2.0), (1, 2.5), (2, 3.0))] + [
        board_lines.row(result("v"))
    ]
    [both] = board_lines.aggregated(lines)
    assert (
        both["upstream"] == "u"
        and both["seed"] == "mean of 3"
        and both["pesq"] == 2.5
        and both["pesq_sd"] == 0.5
    )
    assert both["pesq_low"] is None and both["gmacs_per_s"] == 5.0 and both["n"] == 4
    frame = leaderboard.board([result(seed=s, pesq=p) for s, p in ((0, 2.0), (1, 2.5))])
    assert (
        list(frame["seed"]) == ["1", "mean of 2", "0"]
        and screen(frame)["pesq"][1] == "2.250 ±0.354"
    )


def test_one_seed_counts_once_and_two_machines_have_no_common_time():
    lines = [board_lines.row(result(seed=s, pesq=p)) for s, p in ((0, 2.0), (0, 2.0), (1, 3.0))]
    assert board_lines.aggregated(lines)[0]["pesq_sd"] == round(0.5**0.5, 4)
    lines[-1]["device"] = "another"
    [both] = board_lines.aggregated(lines)
    assert both["rtfx"] is both["time_saved"] is both["device"] is None
    assert both["gmacs_per_s"] == 5.0 and both["timed"] == 4


def test_a_reference_is_the_one_of_that_name_on_the_same_device():
    lines = [
        board_lines.row(result(name, device=device, cost=Cost(gmacs_per_s=5.0, rtfx=rtfx)))
        for name, device, rtfx in (
            ("small(bf16)", "cpu", 90.0),
            ("small", "gpu", 900.0),
            ("small", "cpu", 30.0),
        )
    ]
    saved = [line["time_saved"] for line in board_lines.against(lines, "small")]
    assert saved == [66.67, 0.0, 0.0]


def test_thresholds_are_told_apart():
    lines = [board_lines.row(result(knob="t", value=v)) for v in (0.7, 0.0025, 0.965)]
    told = screen(pd.DataFrame(lines))["value"]
    assert list(told) == ["0.70", "0.0025", "0.965"]


def test_two_models_of_one_name_are_told_apart():
    """By the recipe of their training, whatever their seeds; without one by their weights."""

    def line(name, revision, recipe="", seed=0):
        made = result(name, seed=seed, detail={"recipe": recipe})
        return board_lines.row(replace(made, cell=replace(made.cell, revision=revision)))

    one = [line("u", "a", "joint"), line("u", "b", "joint", seed=1)]
    assert "weights" not in screen(pd.DataFrame(one))
    both = [*one, line("u", "c", "two stages"), line("v", "d")]
    told = list(screen(pd.DataFrame(both))["weights"])
    assert told[0] == told[1] != told[2] and told[3] == "" and len(told[0]) == len(told[2]) == 6
    files = screen(pd.DataFrame([line("u", "a"), line("u", "b")]))["weights"]
    assert files.nunique() == 2


def test_a_cell_of_an_older_path_is_there_once_and_a_task_may_have_any_name(tmp_path):
    new = result(pesq=3.0)
    path = new.save(tmp_path)
    old = tmp_path / "se" / "mini-ffff" / "mini-12345678" / "u" / "abc.full+ln,seed=0.json"
    old.parent.mkdir()
    old.write_bytes(result(pesq=2.0).save(tmp_path / "older").read_bytes())
    assert load_all(tmp_path, "se") == [new]
    path.unlink()
    assert load_all(tmp_path, "se")[0].scores["pesq"].mean == 2.0
    metrics = {"metrics": [{"name": "pesq", "higher_is_better": True}]}
    cell, scores = replace(new.cell, task="key_words"), {"pesq": new.scores["pesq"]}
    named = replace(new, cell=cell, detail=metrics, scores=scores)
    named.save(tmp_path)
    assert load_all(tmp_path, "key_words") == [named]
    assert "u," in leaderboard.write(tmp_path, "key_words")[0].read_text()


def test_savings_are_against_the_upstream_that_is_named():
    small = Cost(gmacs_per_s=2.0, rtfx=60.0, reference="small", macs_saved=0.0, time_saved=0.0)
    lines = [
        board_lines.row(result("large")),
        board_lines.row(result("small(x=1)", cost=small)),
        board_lines.row(result("small(x=1)", exit="depth 6", cost=small, device="another")),
    ]
    large, own, elsewhere = board_lines.against(lines, "small")
    assert (
        large["reference"] == "small(x=1)"
        and large["macs_saved"] == -150.0
        and large["time_saved"] == -100.0
    )
    assert own["macs_saved"] == own["time_saved"] == 0.0
    # seconds of two machines
    assert elsewhere["macs_saved"] == 0.0 and elsewhere["time_saved"] is None
    with pytest.raises(
        UsageError,
        match=(
            r"--reference medium: there is no full-depth row .*large, small.*--upstream medium "
            r"--task se"
        ),
    ):
        board_lines.against(lines, "medium")
