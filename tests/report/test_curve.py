"""Adaptive rows against static systems: mixtures of fixed depths, random exits, an oracle."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from earlyexit_superb.benchmark.report import area, board_lines, differences, leaderboard
from earlyexit_superb.benchmark.report.curve import Pool
from earlyexit_superb.benchmark.report.folder import load_all
from earlyexit_superb.benchmark.report.paired import of_scores
from earlyexit_superb.benchmark.report.screen import screen
from helpers.rows import kept

RHO = {"exit": "adaptive", "knob": "rho", "span": "mean"}
HISTOGRAM = [0, 0, 0, 20, 0, 0, 40]
rng = np.random.default_rng(0)
SHALLOW, MIDDLE, DEEP = (rng.normal(m, 0.5, 60) for m in (1.5, 2.0, 2.2))


def static(folder, **more):
    """Three fixed depths at 2, 4 and 8 GMAC a second."""
    for values, gmacs, exit in ((SHALLOW, 2, "depth 3"), (MIDDLE, 4, "depth 6"), (DEEP, 8, "full")):
        kept(folder, values, gmacs=float(gmacs), exit=exit, **more)


def adaptive(folder, values, gmacs=3.0, value=0.7, depths=(3, 6, 12), **more):
    of = {"depths": list(depths), "tau": 0.5}
    more = {"exit_histogram": HISTOGRAM, **RHO, **more}
    return kept(folder, values, gmacs=gmacs, value=value, detail={"exit": of}, **more)


def control(folder, values, exit, value=0.7, **more):
    detail = {"control": {}, "exit": None}
    return kept(folder, values, value=value, detail=detail, **RHO | {"exit": exit} | more)


def columns(folder, *rows):
    return differences.of_cell(rows, Pool(load_all(folder)), "pesq")


def test_a_mixture_of_two_static_rows_lies_on_the_curve(tmp_path):
    static(tmp_path)
    for gmacs, values, between in (
        (3.0, (SHALLOW + MIDDLE) / 2, "depth 3 to depth 6"),
        (5.0, 0.75 * MIDDLE + 0.25 * DEEP, "depth 6 to full"),
        (8.0, DEEP, "full"),
    ):
        told = columns(tmp_path, adaptive(tmp_path, values, gmacs))
        assert [told[f"vs_curve{end}"] for end in ("", "_low", "_high", "_p")] == [0, 0, 0, 1]
        assert (told["curve"], told["paired"], told["speakers"]) == (between, 60, 6)
        assert told["vs_random"] is told["note"] is None


def test_a_constant_gain_over_the_curve_is_found(tmp_path):
    static(tmp_path)
    told = columns(tmp_path, adaptive(tmp_path, (SHALLOW + MIDDLE) / 2 + 0.125))
    assert told["vs_curve"] == told["vs_curve_low"] == told["vs_curve_high"] == 0.125
    assert told["vs_curve_p"] < 0.002


@pytest.mark.parametrize("gmacs", [1.9, 8.1])
def test_beyond_the_curve_nothing_is_claimed(tmp_path, gmacs):
    static(tmp_path)
    assert columns(tmp_path, adaptive(tmp_path, MIDDLE, gmacs))["vs_curve"] is None


def test_the_curve_is_of_the_same_backbone_seed_and_head(tmp_path):
    static(tmp_path)
    row = adaptive(tmp_path, MIDDLE)
    for other in (
        replace(row, cell=replace(row.cell, seed=1)),
        replace(row, cell=replace(row.cell, layer_norm=False)),
        replace(row, cell=replace(row.cell, settings="another")),
        replace(row, cell=replace(row.cell, revision="weights")),
        replace(row, cost=replace(row.cost, reference="another")),
    ):
        assert Pool(load_all(tmp_path)).curve(other) == []
    wrapper = replace(row, cell=replace(row.cell, upstream="w", revision="abc-branches"))
    assert len(Pool(load_all(tmp_path)).curve(wrapper)) == 3


def test_a_span_of_one_depth_is_no_test(tmp_path):
    static(tmp_path)
    told = columns(tmp_path, adaptive(tmp_path, MIDDLE, depths=(6,), exit_histogram=[0] * 6 + [60]))
    assert told["note"] == "one depth, no test" and told["vs_curve"] is None
    told = columns(tmp_path, adaptive(tmp_path, MIDDLE, exit_histogram=[0] * 6 + [60]))
    assert told["note"] == "all left at one depth" and told["vs_curve"] is not None


def test_a_random_control_is_that_of_the_row_and_of_this_version(tmp_path):
    row = adaptive(tmp_path, MIDDLE + 0.25)
    control(tmp_path, MIDDLE, "random")
    control(tmp_path, DEEP, "random", value=1.0)
    told = columns(tmp_path, row)
    assert told["vs_random"] == 0.25 and told["vs_curve"] is None
    old = kept(tmp_path, MIDDLE, value=0.7, **RHO | {"exit": "random"})  # one permutation
    assert (
        old.cell in Pool(load_all(tmp_path))._cells and columns(tmp_path, row)["vs_random"] is None
    )


def test_boards_have_the_differences_over_seeds_too(tmp_path):
    for seed, gain in ((0, 0.1), (1, 0.2), (2, 0.3)):
        static(tmp_path, seed=seed)
        adaptive(tmp_path, (SHALLOW + MIDDLE) / 2 + gain, seed=seed)
    adaptive(tmp_path, MIDDLE, depths=(6,), span="threshold")
    leaderboard.write(tmp_path, "se")
    board = pd.read_csv(tmp_path / "leaderboard_se.csv")
    [over] = board[(board["seed"] == "mean of 3") & (board["exit"] == "adaptive")].to_dict(
        "records"
    )
    assert (over["vs_curve"], over["vs_curve_low"], over["vs_curve_spread"]) == (0.2, 0.2, 0.1)
    assert set(board["note"].dropna()) == {"one depth, no test"}
    text = (tmp_path / "leaderboard_se.md").read_text()
    assert "+0.200 [+0.200, +0.200] p 0.001" in text and "resampling speakers, then" in text
    lines = [board_lines.row(r) for r in load_all(tmp_path)[:1]]
    assert "vs curve" not in screen(pd.DataFrame(lines))


def test_the_area_is_0_on_the_curve_and_1_at_the_oracle(tmp_path):
    curve = {0.7: 0.75 * MIDDLE + 0.25 * DEEP, 0.85: MIDDLE, 1.0: (SHALLOW + MIDDLE) / 2}
    best = {value: fixed + rng.uniform(0.1, 0.4, 60) for value, fixed in curve.items()}
    for share in (0.0, 0.5, 1.0):
        folder = tmp_path / str(share)
        static(folder)
        for (value, fixed), gmacs in zip(curve.items(), (5.0, 4.0, 3.0), strict=True):
            adaptive(folder, fixed + share * (best[value] - fixed), gmacs, value)
            control(folder, best[value], "oracle", value)
        [line] = area.table(load_all(folder)).to_dict("records")
        assert (line["points"], line["seeds"], line["reason"]) == (3, 1, "")
        low, high = line["area_low"], line["area_high"]
        assert (line["area"], low, high) == pytest.approx((share,) * 3, abs=1e-4)


def test_versions_of_a_task_are_areas_of_their_own(tmp_path):
    static(tmp_path)
    for value, gmacs in ((0.7, 5.0), (1.0, 3.0)):
        adaptive(tmp_path, MIDDLE, gmacs, value)
    for row in load_all(tmp_path):
        newer = replace(row, cell=replace(row.cell, task_version=2))
        newer.save(tmp_path, row.utterances.to_dict("records"))
    assert list(area.table(load_all(tmp_path))["task_version"]) == [1, 2]


def test_no_area_has_a_reason(tmp_path):
    static(tmp_path)
    adaptive(tmp_path, MIDDLE, 5.0)
    adaptive(tmp_path, MIDDLE, 3.0, 1.0)
    assert list(area.table(load_all(tmp_path))["reason"]) == [
        "no oracle rows; make them with --set exits=oracle"
    ]
    control(tmp_path, DEEP + 1, "oracle")
    control(tmp_path, SHALLOW - 9, "oracle", 1.0)
    [told] = area.table(load_all(tmp_path))["reason"]
    assert "not above" in told
    adaptive(tmp_path, MIDDLE, 9.0)
    [told] = area.table(load_all(tmp_path))["reason"]
    assert told == area.FEW
    adaptive(tmp_path, MIDDLE, 5.0, depths=(6,))
    assert list(area.table(load_all(tmp_path))["points"]) == [1]


def test_a_mixture_by_hand_is_that_of_the_board(tmp_path):
    static(tmp_path)
    row = adaptive(tmp_path, rng.normal(2, 0.5, 60), 3.5)
    mixture = Pool(load_all(tmp_path)).at_equal_macs(row)
    assert mixture.shares == (0.25, 0.75)
    found = of_scores({0: mixture.scores("pesq")}, {0: mixture.scores("pesq")})
    assert found.a == pytest.approx((0.25 * SHALLOW + 0.75 * MIDDLE).mean()) and found.p == 1
