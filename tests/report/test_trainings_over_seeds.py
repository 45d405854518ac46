"""Weights of one recipe, trained with several seeds, are one system: its rows are averaged as those
of heads with several seeds are.
"""

from dataclasses import replace

import numpy as np
import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.contract import Wrapper
from earlyexit_superb.benchmark.engine.precision import LowerPrecision
from earlyexit_superb.benchmark.report import (
    area,
    board_lines,
    comparison,
    comparison_text,
    leaderboard,
    screen,
)
from earlyexit_superb.benchmark.report.folder import load_all
from earlyexit_superb.benchmark.report.result import Result
from earlyexit_superb.benchmark.report.selecting import described, select
from helpers.recognition import SmallSpeller
from helpers.rows import kept

RNG = np.random.default_rng(3)
WORDS = RNG.normal(2, 0.4, 60)
TUNED = "ten hours of transcripts"
LEFT = {"exit_histogram": [0, 0, 0, 30, 0, 0, 20, 0, 0, 0, 0, 0, 10]}
ADAPTIVE = {"exit": "adaptive", "knob": "rho", "value": 0.7, "span": "mean", **LEFT}
TESTED = {"exit": {"depths": [3, 6, 12], "tau": 0.5}}


def training(folder, seed, recipe="r1", revision="", gain=0.0, **more):
    """A row of the training with this seed."""
    detail = {"recipe": recipe, **more.pop("detail", {})}
    about = {"seed": seed, "tuned_on": TUNED, "detail": detail, **more}
    row = kept(folder / "with-another-revision", WORDS + gain + seed / 10, **about)
    cell = replace(row.cell, revision=revision or f"weights-{seed}")
    return Result.load(replace(row, cell=cell).save(folder, row.utterances.to_dict("records")))


def test_trainings_by_one_recipe_are_one_line_and_others_are_not(tmp_path):
    lines = [board_lines.row(training(tmp_path, seed)) for seed in (0, 1, 2)]
    [mean] = board_lines.aggregated(lines)
    assert mean["seed"] == "mean of 3" and mean["revision"] == "3 trainings"
    assert mean["recipe"] == "r1" and mean["pesq"] == pytest.approx(lines[1]["pesq"], abs=1e-4)
    unknown = [line | {"recipe": ""} for line in lines]
    assert board_lines.aggregated(unknown) == []
    other = [*lines[:2], lines[2] | {"recipe": "r2"}]
    assert [line["seed"] for line in board_lines.aggregated(other)] == ["mean of 2"]


def test_one_weights_file_run_with_several_seeds_keeps_its_revision(tmp_path):
    lines = [board_lines.row(training(tmp_path, seed, revision="w")) for seed in (0, 1)]
    [mean] = board_lines.aggregated(lines)
    assert mean["revision"] == "w"


def test_a_comparison_has_a_line_over_trainings_and_pairs_each_with_its_own_exits(tmp_path):
    rows = []
    for seed in (0, 1):
        more = {"upstream": "t", "answered_by": "upstream"}
        rows += [
            training(tmp_path, seed, gain=0.2, gmacs=3.0, exit="depth 3", **more),
            training(tmp_path, seed, gain=0.2, gmacs=5.0, exit="full", **more),
            training(tmp_path, seed, gain=0.3, gmacs=4.0, detail=TESTED, **ADAPTIVE, **more),
        ]
    table = comparison.frame([replace(r, cost=replace(r.cost, reference="t")) for r in rows])
    assert list(table["seeds"]) == list(table["trainings"]) == [2, 2, 2]
    adaptive = table[table["group"] == "adaptive"].iloc[0]
    # each training minus the curve of the same training: their own levels cancel
    assert adaptive["vs_curve"] == pytest.approx(0.1, abs=1e-3)
    assert adaptive["vs_curve_low"] == pytest.approx(0.1, abs=1e-3)


def test_weights_that_are_the_same_for_every_seed_are_one_training_which_is_said(tmp_path):
    more = {"upstream": "t", "answered_by": "upstream", "recipe": "", "revision": "shipped"}
    rows = [training(tmp_path, seed, gmacs=5.0, **more) for seed in (0, 1, 2)]
    table = comparison.frame(rows)
    assert list(table["seeds"]) == [3] and list(table["trainings"]) == [1]
    assert any("No. 1 are fewer trainings than seeds" in n for n in comparison_text.notes(table))
    heads = [replace(row, answered_by="head") for row in rows]
    assert list(comparison.frame(heads)["trainings"]) == [3]


def test_two_trainings_with_rows_of_one_seed_are_shown_apart(tmp_path, capsys):
    for revision in ("one", "two"):
        training(tmp_path, 0, revision=revision)
    training(tmp_path, 1, recipe="r2")
    found = load_all(tmp_path, "se")
    assert sorted(row.detail["recipe"] for row in found) == ["", "", "r2"]
    assert "several trainings by the recipe r1" in capsys.readouterr().err
    assert board_lines.aggregated([board_lines.row(row) for row in found]) == []


def test_a_comparison_shows_two_trainings_with_rows_of_one_seed_apart(tmp_path):
    more = {"upstream": "t", "answered_by": "upstream", "gmacs": 5.0, "recipe": "r-apart"}
    rows = [training(tmp_path, 0, revision="one", **more)]
    rows += [training(tmp_path, 0, revision="two", gain=1.0, **more)]
    table = comparison.frame(rows)
    assert list(table["seeds"]) == [1, 1]
    assert sorted(table["pesq"]) == sorted(round(row.scores["pesq"].mean, 4) for row in rows)


def test_rows_of_two_folders_that_name_one_seed_twice_are_not_one(tmp_path, capsys):
    for name in ("one", "two"):
        training(tmp_path / name, 0, revision=name, recipe="r-folders", exit="full")
    folders = [str(tmp_path / name) for name in ("one", "two")]
    assert main(["compare", "upstream=u", "upstream=u", "--results", *folders]) == 2
    assert "names 2 rows; say which: revision=one" in capsys.readouterr().err


def test_trainings_are_counted_by_their_weights(tmp_path):
    rows = [training(tmp_path, seed, revision=w) for seed, w in ((0, "a"), (1, "b"), (2, "a"))]
    [mean] = board_lines.aggregated([board_lines.row(row) for row in rows])
    assert mean["seed"] == "mean of 3" and mean["revision"] == "2 trainings"


def test_areas_are_over_trainings_too(tmp_path):
    more = {"knob": "rho", "value": 0.7, "span": "mean", "exit": "adaptive", **LEFT}
    rows = [training(tmp_path, seed, detail=TESTED, **more) for seed in (0, 1)]
    [line] = area.table(rows).to_dict("records")
    assert line["revision"] == "2 trainings" and line["recipe"] == "r1"


def test_a_row_over_trainings_is_named_without_its_weights(tmp_path):
    for seed in (0, 1):
        training(tmp_path, seed)
    there = load_all(tmp_path, "se")
    found = select("recipe=r1", there)
    assert [row.cell.seed for row in found] == [0, 1]
    assert "revision" not in described(found) and select(described(found), there) == found


def test_a_board_shows_what_has_seen_labelled_data_under_its_own_heading(tmp_path):
    kept(tmp_path, WORDS, upstream="frozen")
    text = leaderboard.write(tmp_path, "se")[1].read_text()
    assert "##" not in text
    training(tmp_path, 0, upstream="tuned", gain=5.0)
    text = leaderboard.write(tmp_path, "se")[1].read_text()
    first, second = (text.index(f"## {screen.HEADINGS[kind]}") for kind in (True, False))
    assert first < text.index("| frozen |") < second < text.index("| tuned |")


def test_another_revision_of_a_wrapper_is_of_no_recipe():
    inner = SmallSpeller()
    inner.card = replace(inner.card, recipe="r1")
    assert Wrapper(inner, name="other").card.recipe == "r1"
    assert Wrapper(inner, revision="more").card.recipe == ""
    assert LowerPrecision(inner).card.recipe == "r1.bf16"  # the same for every seed
    inner.card = replace(inner.card, recipe="")
    assert LowerPrecision(inner).card.recipe == ""
