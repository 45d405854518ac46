"""Figures from rows: the same bytes every time, and nothing drawn that their CSV does not say."""

import shutil
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.report.chosen import chosen
from earlyexit_superb.benchmark.report.figures import entropy_by_depth, style, tradeoff
from earlyexit_superb.benchmark.report.folder import load_all
from earlyexit_superb.benchmark.report.result import Cost, Score
from helpers.rows import kept

pytest.importorskip("matplotlib")
MEANS = [3.0, 2.2, 1.0, 0.6]
CALIBRATED = {"calibration": {"depth_means": MEANS, "exits": [1, 2, 3, 4], "n": 9, "evidence": "e"}}
OPTIONS = Namespace(task=["se"], upstream="daisy", only="")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Two seeds of a backbone's and of DAISY's rows."""
    folder, rng = tmp_path_factory.mktemp("rows"), np.random.default_rng(0)

    def keep(upstream, exit, saved, time=0.0, **more):
        cost = Cost(macs_saved=saved, time_saved=time, reference="hubert.tiny(x=1)")
        for seed in (0, 1):
            values = 2 + rng.random(20)
            kept(folder, values, upstream=upstream, exit=exit, seed=seed, cost=cost, **more)

    for depth, saved in ((0, 66.0), (6, 31.5)):
        keep("hubert.tiny(x=1)", f"depth {depth}", saved, saved, depth=float(depth))
    keep("hubert.tiny(x=1)", "full", 0.0, depth=12.0)
    keep("hubert.tiny", "full", 0.0, depth=12.0)  # of another front: in no figure of these rows
    for rho, saved in ((0.7, 12.0), (1.0, 35.0)):
        at = {"knob": "rho", "value": rho, "span": "mean"}
        keep("daisy.tiny", "adaptive", saved, saved, detail=CALIBRATED, **at)
        keep("daisy.tiny", "random", saved + 1, None, **at)
    return folder


@pytest.mark.parametrize("number, name", [("2", entropy_by_depth.NAME), ("3", tradeoff.NAME)])
def test_a_second_call_gives_the_same_bytes(number, name, rows, tmp_path, capsys):
    for out in ("a", "b"):
        line = ["figure", number, "--results", str(rows), "--out", str(tmp_path / out)]
        assert main(line) == 0
    files = [f"{name}{end}" for end in (".csv", ".png", ".svg")]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(files)
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert str(tmp_path / "a" / files[0]) in capsys.readouterr().out


def test_entropy_and_its_straight_line(rows):
    table = entropy_by_depth.frame(rows, OPTIONS)
    assert list(table["mean"]) == MEANS and list(table["depth"]) == [1, 2, 3, 4]
    slope, intercept = np.polyfit([1, 2, 3, 4], MEANS, 1)
    assert np.allclose(table["fitted"], slope * table["depth"] + intercept)
    assert np.allclose(table["r2"], np.corrcoef([1, 2, 3, 4], MEANS)[0, 1] ** 2)
    line, points, _ = entropy_by_depth.draw(table).axes[0].get_lines()
    assert list(line.get_ydata()) == list(table["fitted"])
    assert list(points.get_ydata()) == MEANS and list(points.get_xdata()) == [1, 2, 3, 4]


def test_every_point_of_the_tradeoff_is_a_line_of_its_table(rows):
    table = tradeoff.frame(rows, OPTIONS)
    counts = {"fixed": 3, "adaptive": 2, "random": 2}
    assert table["kind"].value_counts().to_dict() == counts and set(table["seeds"]) == {2}
    assert (table["low"] < table["mean"]).all() and (table["mean"] < table["high"]).all()
    by_time, by_macs = tradeoff.draw(table).axes
    for axes, column in ((by_time, "time_saved"), (by_macs, "macs_saved")):
        known = table.dropna(subset=[column])
        drawn = {
            (float(x), float(y))
            for line in axes.get_lines()
            if line.get_marker() not in ("_", "|")  # the caps of an error bar
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        }
        assert drawn == set(zip(known[column], known["mean"], strict=True))
    assert len(table.dropna(subset=["time_saved"])) == 5  # random exits have no time


def test_a_mean_over_seeds_has_the_mean_of_its_rows(rows):
    table = tradeoff.frame(rows, OPTIONS)
    for _, point in table[table["kind"] == "fixed"].iterrows():
        found = [
            r.scores["pesq"].mean
            for r in chosen(rows, "se", "daisy")
            if point["exit"] == f"{r.cell.exit} + layer-norm"
            and r.cell.upstream == "hubert.tiny(x=1)"
        ]
        assert np.isclose(point["mean"], np.mean(found)) and len(found) == 2


def test_rows_of_an_older_version_of_the_task_are_in_no_point(rows, tmp_path):
    """Nor are those that are tested at another rho, or at a threshold of a budget."""
    shutil.copytree(rows, tmp_path / "rows")
    for row in load_all(rows):
        nine = {"pesq": Score.over([9.0] * len(row.utterances))}
        newer = replace(row, cell=replace(row.cell, task_version=2), scores=nine)
        newer.save(tmp_path / "rows", (row.utterances.assign(pesq=9.0)).to_dict("records"))
        if row.cell.exit == "adaptive":
            for more in ({"test_value": 0.5}, {"exit": "budget 30%"}):
                also = replace(row, cell=replace(newer.cell, **more))
                also.save(tmp_path / "rows", row.utterances.to_dict("records"))
    table = tradeoff.frame(tmp_path / "rows", OPTIONS)
    assert set(table["mean"]) == {9.0} and set(table["seeds"]) == {2} and len(table) == 7


def test_rows_that_are_not_there_or_not_of_one_table_are_refused(rows, tmp_path):
    with pytest.raises(UsageError, match="no rows of daisy on sid; .*table1 --task sid"):
        entropy_by_depth.frame(rows, Namespace(task=["sid"], upstream="daisy", only=""))
    for upstream in ("daisy.tiny", "daisy.base"):
        at = {"exit": "adaptive", "knob": "rho", "value": 0.7, "span": "mean"}
        kept(tmp_path, [1.0, 2.0], upstream=upstream, detail=CALIBRATED, **at)
    with pytest.raises(UsageError, match=r"do not belong in one figure; .*--only.*daisy.base-abc"):
        chosen(tmp_path, "se", "daisy")
    assert {r.cell.upstream for r in chosen(tmp_path, "se", "daisy", "base")} == {"daisy.base"}


def test_colours_are_told_apart_by_shape_too():
    for looks in (style.COLOURS, style.MARKERS, style.LINES):
        assert len(set(looks)) == len(looks) == 7
    shapes = pd.Series([fill for _, fill in tradeoff.SPANS.values()])
    assert shapes.is_unique
