"""The grid exits x downsampling x width on one picture: which line is which is told."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from earlyexit_superb.benchmark.report import comparison
from earlyexit_superb.benchmark.report.figures import systems
from helpers.rows import kept

X = np.random.default_rng(0).normal(2, 0.4, 20)
WIDE, NARROW = 192, 96
LEFT = [0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 10]
TESTED = {"exit": {"depths": [3, 12], "tau": 0.5}}


def rows(folder, dim, factor):
    """Three fixed depths of a backbone, and two knob values of a rule on it."""
    size = {"dim": dim, "stride": 320 * factor, "kind": "downsampled" if factor > 1 else ""}
    name, gmacs = f"w{dim}x{factor}", dim / (factor + 0.1) / 100
    for part, exit in enumerate(("depth 0", "depth 6", "full")):
        depth, at = (0.0, 6.0, 12.0)[part], gmacs * (part + 1)
        yield kept(folder, X + at, gmacs=at, upstream=name, exit=exit, depth=depth, detail=size)
    for value in (1.0, 0.7):
        row = {"exit": "adaptive", "knob": "rho", "value": value, "span": "mean"}
        row |= {"detail": size | TESTED, "exit_histogram": LEFT, "upstream": f"rule-{name}"}
        yield kept(folder, X + gmacs, gmacs=gmacs * (3.2 - value), **row)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    pytest.importorskip("matplotlib")
    folder, grid = tmp_path_factory.mktemp("grid"), product((WIDE, NARROW), (1, 2))
    made = [row for size in grid for row in rows(folder, *size)]
    return systems.read(comparison.frame(made).to_csv(index=False))


@pytest.fixture(scope="module")
def figure(table):
    return systems.draw(table)


def joined(axes):
    """Each line through exits: its dashes, its weight and where it goes."""
    for line in axes.get_lines():
        if line.get_marker() == "None" and line.get_drawstyle() == "default":
            points = list(zip(line.get_xdata(), line.get_ydata(), strict=True))
            yield line.get_linestyle(), line.get_linewidth(), points


def test_a_line_goes_through_the_exits_of_each_width_and_factor(table, figure):
    found = list(joined(figure.axes[0]))
    expected = {}
    for (_, _, dim, stride), of in table.groupby(["upstream", "span", "dim", "stride"]):
        at = of.sort_values("gmacs_per_s")[["gmacs_per_s", "pesq"]].values
        expected[tuple(map(tuple, at))] = dim, stride
    assert {tuple(points) for _, _, points in found} == set(expected) and len(found) == 8
    for dashes, weight, points in found:
        dim, stride = expected[tuple(points)]
        assert dashes == {320: "-", 640: "-."}[stride]
        assert weight == dict(zip((WIDE, NARROW), systems.WEIGHTS, strict=True))[dim]


def test_the_legend_tells_factor_width_and_kind(figure):
    [legend] = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert said[-4:] == ["20 ms a frame", "40 ms a frame", "192 wide", "96 wide"]
    assert {"adaptive", "adaptive, downsampled", "static", "downsampled"} < set(said)
    rate, half, wide, narrow = legend.get_lines()[-4:]
    assert rate.get_linestyle() != half.get_linestyle() and systems.FRONT not in systems.DASHES
    assert wide.get_linewidth() > narrow.get_linewidth()


def test_an_exit_rule_keeps_the_colour_of_what_it_is_around():
    rule, around = systems._look("adaptive", ""), systems._look("adaptive", "downsampled")
    alone = systems._look("downsampled", "downsampled")
    assert around["color"] == alone["color"] != rule["color"]
    # and without colours the marker tells
    assert around["marker"] == rule["marker"] != alone["marker"]
    assert around["markerfacecolor"] == "white" and "markerfacecolor" not in rule


def test_what_all_have_alike_needs_no_names(table):
    one = table[(table["dim"] == WIDE) & (table["stride"] == 320)]
    assert systems._lines(one) == {} == systems._lines(table.assign(dim=np.nan, stride=np.nan))
    assert systems._lines(pd.concat([one, table.assign(group="controls")])) == {}
    narrower = table[table["stride"] == 320]
    assert [name for name, _ in systems._lines(narrower)] == ["dim", "dim"]
