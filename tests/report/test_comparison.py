"""All systems on one axis: who is in which group and on the front, what is held against what."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from earlyexit_superb.benchmark.report import comparison, comparison_text
from earlyexit_superb.benchmark.report.figures import style, systems
from earlyexit_superb.benchmark.report.interval import of_mean
from earlyexit_superb.benchmark.report.result import Result
from helpers.rows import kept

RNG = np.random.default_rng(0)
X = RNG.normal(2, 0.4, 60)
RHO = {"exit": "adaptive", "knob": "rho", "value": 0.7, "span": "mean"}
TESTED = {"exit": {"depths": [3, 6, 12], "tau": 0.5}}
LEFT = [0, 0, 0, 30, 0, 0, 20, 0, 0, 0, 0, 0, 10]


def cost(gmacs, rtfx=50.0, reference="hubert.tiny"):
    base = {"gmacs": gmacs, "rtfx": rtfx}
    return base | {"reference": reference}


def keep(folder, values, at, device="cpu", tuned_on="", revision="abc", **more):
    """A row with a cost of its own, saved and read back."""
    row = kept(folder, values, gmacs=at["gmacs"], device=device, tuned_on=tuned_on, **more)
    told = {name: at[name] for name in ("rtfx", "reference")}
    changed = replace(
        row, cell=replace(row.cell, revision=revision), cost=replace(row.cost, **told)
    )
    return Result.load(changed.save(folder, row.utterances.to_dict("records")))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A backbone, an adaptive row on it with its control, smaller models, and random weights."""
    folder = tmp_path_factory.mktemp("rows")

    def one(values, at, **more):
        return keep(folder, values, at, **more)

    on_it = {"detail": TESTED, "exit_histogram": LEFT, **RHO}
    dealt = {"exit": "random", "detail": {"control": {}}}
    small = {"kind": "distilled", "stepped": False}
    return [
        one(X, cost(1.0, 90.0), upstream="hubert.tiny", exit="depth 0", depth=0.0),
        one(X + 0.2, cost(3.0, 60.0), upstream="hubert.tiny", exit="depth 6"),
        one(X + 0.3, cost(5.0, 40.0), upstream="hubert.tiny", exit="full", depth=12.0),
        one(X + 0.3, cost(4.0, 45.0), upstream="daisy.tiny", **on_it),
        one(X + 0.26, cost(3.8, None), upstream="daisy.tiny", **(on_it | dealt)),
        one(X + 0.25, cost(2.0, 70.0, "distil"), upstream="distil", exit="full", detail=small),
        one(X, cost(2.5, 80.0, "s"), upstream="s", exit="full", detail={"kind": "pruned"}),
        one(X + 9, cost(0.5, 99.0, "r"), upstream="r", exit="full", revision="random-0"),
        one(X, cost(4.5, 500.0, "g"), upstream="g", exit="full", device="gpu"),
        one(X + 1, cost(9.0, 30.0, "t"), upstream="t", exit="full", tuned_on="se labels"),
    ]


@pytest.fixture(scope="module")
def table(rows):
    return comparison.frame(rows)


def line(table, upstream, exit="full"):
    [found] = table[(table["upstream"] == upstream) & (table["exit"] == exit)].to_dict("records")
    return found


def test_groups_follow_exits_weights_and_kind(table):
    groups = ["adaptive", *["static"] * 4, "distilled", "pruned", *["controls"] * 2, "static"]
    assert list(table["group"]) == groups and list(table["no"]) == list(range(1, 11))
    assert line(table, "r")["group"] == "controls"  # its weights are random
    assert line(table, "daisy.tiny", "random exits, rho 0.7, mean")["group"] == "controls"
    assert line(table, "distil")["kind"] == "distilled" and not line(table, "distil")["stepped"]
    # an older row says neither
    assert line(table, "g")["kind"] == "" and line(table, "g")["stepped"]
    assert table["tuned_on"].iloc[-1] == "se labels"  # apart, after all frozen ones


def test_the_front_is_whom_nobody_beats(table):
    on = {(of["upstream"], of["exit"]) for _, of in table[table["front_macs"]].iterrows()}
    # the pruned one costs more than the distilled and is worse, full depth as good as the adaptive
    expected = {("hubert.tiny", "depth 0"), ("distil", "full"), ("t", "full")}
    assert on == expected | {("daisy.tiny", "rho 0.7, mean")}  # the tuned one has no rival
    assert not table.loc[table["group"] == "controls", ["front_macs", "front_rtfx"]].any(axis=None)


def test_the_front_by_a_sweep_over_costs():
    """What a running best over rising cost keeps, ties and all."""
    for _ in range(50):
        costs, values = RNG.integers(0, 6, 12).tolist(), RNG.integers(0, 6, 12).tolist()
        best_below, expected = -np.inf, [False] * 12
        for cost_ in sorted(set(costs)):
            at = [i for i in range(12) if costs[i] == cost_]
            top = max(values[i] for i in at)
            for i in at:
                expected[i] = values[i] == top and top > best_below
            best_below = max(best_below, top)
        assert comparison.front(costs, values) == expected


def test_of_an_error_rate_less_is_better(rows):
    less = {"metrics": [{"name": "pesq", "higher_is_better": False}]}
    frozen = [replace(row, detail=row.detail | less) for row in rows if not row.tuned_on]
    table = comparison.frame(frozen)
    on = {(of["upstream"], of["exit"]) for _, of in table[table["front_macs"]].iterrows()}
    assert on == {("hubert.tiny", "depth 0")}  # the cheapest has the fewest, too


def test_two_files_of_one_name_are_two_curves(rows, tmp_path):
    """Fixed depths of other weights of the same name, far off, move no other line."""
    other = [
        keep(tmp_path, X - 9, cost(gmacs), upstream="hubert.tiny", exit=exit, revision="other")
        for gmacs, exit in ((1.0, "depth 3"), (4.0, "depth 9"))
    ]
    expected = line(comparison.frame(rows), "distil")
    found = line(comparison.frame([*rows, *other]), "distil")
    same = ("vs_curve", "curve", "curve_of")
    assert [found[name] for name in same] == [expected[name] for name in same]


def test_two_models_of_one_name_are_told_apart(tmp_path):
    def one(values, gmacs, exit, revision):
        row = {"upstream": "ee(weights=w.safetensors)", "exit": exit, "revision": revision}
        return keep(tmp_path, values, cost(gmacs), tuned_on="se labels", **row)

    both = [
        one(X + extra, gmacs, exit, revision)
        for extra, revision in ((0, "joint"), (1, "steps"))
        for gmacs, exit in ((1.0, "depth 5"), (2.0, "full"))
    ]
    table = comparison.frame(both)
    assert table["weights"].nunique() == 2 and (table["weights"].str.len() == 6).all()
    [(_, shown)] = comparison_text.tables(table, ["pesq"])
    assert shown["upstream"].nunique() == 2
    figure = systems.draw(systems.read(table.to_csv(index=False)))
    through = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 1]
    assert [list(line.get_xdata()) for line in through] == [[1.0, 2.0]] * 2
    assert (comparison.frame(both[:2])["weights"] == "").all()


def test_a_tuned_system_with_many_exits_takes_no_curve_from_frozen_ones(rows, tmp_path):
    exits = [(float(k), f"depth {k}") for k in (2, 4, 6, 8, 10)]
    tuned = [
        keep(tmp_path, X, cost(gmacs), upstream="ee", exit=exit, tuned_on="se labels")
        for gmacs, exit in exits
    ]
    found = line(comparison.frame([*rows, *tuned]), "distil")
    assert found["curve_of"] == "hubert.tiny" and found["vs_curve"] == pytest.approx(0.15)


def test_systems_that_answer_at_exits_of_their_own_are_no_rivals(tmp_path):
    costs = {"one": (1.0, 3.0, 5.0), "other": (2.0, 4.0)}
    both = [
        replace(
            keep(tmp_path, X, cost(gmacs), upstream=name, exit=f"depth {k}", tuned_on="labels"),
            answered_by="upstream",
        )
        for name, of in costs.items()
        for k, gmacs in enumerate(of)
    ]
    assert comparison.frame(both)["vs_curve"].isna().all()


def test_systems_are_held_against_fixed_depths_at_equal_macs(table):
    # half-way from depth 6 to full: X + 0.25
    adaptive = line(table, "daisy.tiny", "rho 0.7, mean")
    assert adaptive["vs_curve"] == pytest.approx(0.05) and adaptive["curve_of"] == "hubert.tiny"
    assert adaptive["vs_random"] == pytest.approx(0.04)
    # half-way from depth 0 to depth 6: X + 0.1
    distilled = line(table, "distil")
    assert distilled["vs_curve"] == pytest.approx(0.15)
    assert distilled["curve"] == "depth 0 to depth 6" and distilled["curve_of"] == "hubert.tiny"
    assert distilled["vs_curve_low"] <= 0.15 <= distilled["vs_curve_high"]
    for name, exit in (("hubert.tiny", "depth 6"), ("r", "full"), ("t", "full")):
        assert pd.isna(line(table, name, exit)["vs_curve"])


def test_seconds_of_two_machines_are_not_compared(table):
    assert comparison.device_of(table) == "cpu"
    assert line(table, "g")["rtfx"] == 500.0 and not line(table, "g")["front_rtfx"]
    [(_, frozen), _] = comparison_text.tables(table, ["pesq"])
    assert frozen.loc[frozen["upstream"] == "g", "RTFx"].tolist() == [""]
    no = line(table, "g")["no"]
    said = [note for note in comparison_text.notes(table) if "another device (gpu)" in note]
    assert len(said) == 1 and said[0].startswith(f"No. {no} were timed")


def test_tuned_upstreams_are_a_table_of_their_own(table):
    (_, frozen), (heading, tuned) = comparison_text.tables(table, ["pesq"])
    assert heading == "Upstreams tuned on labelled data" and len(frozen) + len(tuned) == len(table)
    assert tuned["tuned on"].tolist() == ["se labels"] and "tuned on" not in frozen
    marked = [name for name in frozen["upstream"] if name.endswith("†")]
    assert marked == ["distil †"]  # all of its depths are computed


def test_a_line_over_seeds_has_the_interval_of_their_mean(tmp_path):
    rows = [kept(tmp_path, X + seed / 10, seed=seed) for seed in (0, 1, 2)]
    [only] = comparison.frame(rows).to_dict("records")
    assert only["seeds"] == 3 and only["pesq"] == pytest.approx(np.mean(X) + 0.1, abs=1e-4)
    mean, low, high = of_mean(rows, "pesq")
    assert (only["pesq_low"], only["pesq_high"]) == (round(low, 4), round(high, 4))
    assert low < mean < high


def test_a_row_that_scored_nowhere_has_no_number_and_no_front(tmp_path):
    nothing = np.full(20, np.nan)
    rows = [kept(tmp_path, X, exit="full", depth=12.0)]
    rows += [kept(tmp_path, nothing, upstream="v", exit="full", seed=seed) for seed in (0, 1)]
    table = comparison.frame(rows)
    [failed] = table[table["upstream"] == "v"].to_dict("records")
    assert pd.isna(failed["pesq"]) and failed["failed"] == 20 and not failed["front_macs"]
    assert len(points(systems.draw(systems.read(table.to_csv(index=False))).axes[0])) == 1
    [(_, text)] = comparison_text.tables(table, ["pesq"])
    assert text["pesq"].tolist().count("") == 1


# ---- the picture ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(table):
    pytest.importorskip("matplotlib")
    read = systems.read(table.to_csv(index=False))
    return read, systems.draw(read)


def points(axes):
    """Where markers of groups stand."""
    markers = {marker for _, marker in systems.LOOKS.values()}
    lines = [one for one in axes.get_lines() if one.get_marker() in markers]
    return {(x, y) for one in lines for x, y in zip(one.get_xdata(), one.get_ydata(), strict=True)}


def test_what_is_drawn_is_what_the_table_says(drawn):
    table, figure = drawn
    assert len(figure.axes) == 4  # frozen and tuned, each against both costs
    for row, part in ((0, table[table["tuned_on"] == ""]), (2, table[table["tuned_on"] != ""])):
        for axes, column in zip(figure.axes[row : row + 2], systems.AXES, strict=True):
            shown = part if column != "rtfx" else part[part["device"] == "cpu"]
            shown = shown.dropna(subset=[column])
            assert points(axes) == set(zip(shown[column], shown["pesq"], strict=True))
    names = {text.get_text() for text in figure.axes[0].texts}
    frozen = table[table["tuned_on"] == ""]
    inside = frozen[frozen["upstream"] != "r"]  # a control far from all systems
    assert names == {str(no) for no in inside["no"]}
    assert "beyond the frame" in figure.axes[1].get_title(loc="right")


def test_numbers_stand_beside_their_points(table):
    """Whatever the other row of panels does to the axes that they share."""
    pytest.importorskip("matplotlib")
    read = systems.read(table.to_csv(index=False))
    tuned = read["tuned_on"] != ""
    read.loc[tuned, "gmacs_per_s"] *= 50  # far to the right of the frozen ones
    figure, place = systems.draw(read), read.set_index("no")
    for axes in figure.axes[:2]:
        column = list(systems.AXES)[figure.axes.index(axes)]
        for text in axes.texts:
            where = place.loc[int(text.get_text())]
            assert text.xy == (where[column], where["pesq"])
            point, written = (axes.transData.transform(text.xy), text.get_window_extent().p0)
            assert np.abs(point - written).max() * 72 / figure.dpi < 30  # points


def test_the_same_rows_give_the_same_bytes(drawn, tmp_path):
    table, _ = drawn
    for kind in ("png", "svg"):
        first, second = (style.save(systems.draw(table), tmp_path / f"{n}.{kind}") for n in "ab")
        assert first.read_bytes() == second.read_bytes()


def test_groups_are_told_apart_by_colour_and_by_marker():
    looks = [*systems.LOOKS.values(), systems.OTHER]
    for told in zip(*looks, strict=True):
        assert len(set(told)) == len(looks)
    assert set(comparison.GROUPS) < set(systems.LOOKS)
