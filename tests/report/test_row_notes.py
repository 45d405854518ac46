"""What is said of rows in words: exits by depth, and thresholds that decide nothing."""

from dataclasses import replace

import pytest
from earlyexit_superb.benchmark.report.row_notes import histogram, one_sided
from helpers.rows import result

TESTED = {"exit": {"depths": [2, 6, 12], "tau": 0.5}}
KNOWN = {"calibration": {"exits": [2, 6], "depth_means": [0.5, 0.25], "n": 4, "evidence": "nats"}}


def row(counts, exit="tau 0.5", detail=TESTED, **more):
    left = [0] * 13
    for depth, n in counts.items():
        left[depth] = n
    return result(exit=exit, exit_histogram=left, detail=detail, **more)


def test_a_histogram_names_a_threshold_as_it_names_a_knob():
    assert histogram(row({2: 1, 12: 3})) == "exits by depth, u tau 0.5: 2:1▃  12:3█"
    knob = {"exit": "adaptive", "knob": "rho", "value": 0.7, "span": "mean"}
    assert histogram(row({2: 4}, **knob)) == "exits by depth, u rho 0.7 mean: 2:4█"
    at_test = row({2: 4}, **knob)
    at_test = replace(at_test, cell=replace(at_test.cell, test_value=1.0))
    assert histogram(at_test) == "exits by depth, u rho 0.7 at test 1 mean: 2:4█"


@pytest.mark.parametrize("counts, said", [({12: 4}, "never fires"), ({2: 4}, "always fires")])
def test_a_threshold_that_decides_nothing_is_said_with_where_all_left(counts, said):
    calibrated = row({2: 2, 6: 2}, "adaptive", TESTED | KNOWN, knob="k", value=4.0, span="all")
    [sentence] = one_sided([row(counts), calibrated])
    [depth] = counts
    assert f"u tau 0.5: its threshold {said}" in sentence and f"({depth}:4█)" in sentence
    assert sentence.endswith("mean evidence on the training split: 0.5000 at 2, 0.2500 at 6")
    [alone] = one_sided([row(counts)])
    assert alone.endswith(")")


def test_with_patience_the_first_place_is_a_later_one():
    patient = {"exit": {**TESTED["exit"], "patience": 2}}
    [sentence] = one_sided([row({6: 4}, detail=patient)])
    assert "always fires" in sentence and one_sided([row({2: 4}, detail=patient)]) == []


@pytest.mark.parametrize(("patience", "soonest"), [(1, 6), (2, 9)])
def test_where_exits_are_compared_the_first_has_none_to_agree_with(patience, soonest):
    told = {"depths": [2, 6, 9, 12], "tau": 0.9, "patience": patience, "compares_exits": True}
    [sentence] = one_sided([row({soonest: 4}, detail={"exit": told})])
    assert "always fires" in sentence
    late = {6: 9, 9: 6}[soonest]
    assert one_sided([row({late: 4}, detail={"exit": told})]) == []
    each = told | {"tau": [0.9] * 4}  # one for each depth
    assert "always fires" in one_sided([row({soonest: 4}, detail={"exit": each})])[0]
    above = told | {"tau": 1.5, "patience": 1}  # even where nothing agrees
    assert "always fires" in one_sided([row({2: 4}, detail={"exit": above})])[0]


def test_others_are_not_named():
    mean_span = {"exit": "adaptive", "knob": "rho", "value": 0.7, "span": "mean"}
    rows = [
        row({2: 1, 12: 3}),  # decides
        row({6: 4}),  # all in the middle
        row({12: 4}, "full"),  # no threshold
        row({12: 4}, "random"),
        row({12: 4}, **mean_span),  # a span of two depths is often one-sided
        row({12: 4}, "max loss 1", {"exit": {"depths": [12], "tau": None}}, span="all"),
    ]
    assert one_sided(rows) == []
