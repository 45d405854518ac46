"""DAISY's figure 3: metric against time saved and against multiply-accumulates saved, per task.

Where the paper has one cross for the fixed exit at block 6 there is the whole curve of fixed exits,
and every point has an interval: 95 %, of the mean over seeds, clustered by speaker
(benchmark/resampling.py). Differences of two points are paired and mostly surer than two intervals
that overlap: `compare` has them.
"""

import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..board_lines import aggregated, row
from ..chosen import chosen, tasks_in
from ..interval import of_mean
from ..result import Result, measured
from ..screen import metrics_of
from . import style

NAME = "figure3_tradeoff"
AXES = {"time_saved": "time saved (%)", "macs_saved": "MACs saved (%)"}
KINDS = ("fixed", "full, no layer-norm", "adaptive", "random", "oracle")
SPANS = {  # colour, and how much of a marker is filled
    "mean": (style.BLUE, "full"),
    "threshold": (style.VERMILION, "none"),
    "min-max": (style.GREEN, "left"),
    "all": (style.PURPLE, "right"),
}


def frame(results: Path, options: Namespace) -> pd.DataFrame:
    """A line for each point.

    Columns: task, kind (of KINDS), upstream, corpus, protocol, exit, rho, span, seeds, metric,
    unit, higher_is_better, mean, low, high, sd (over seeds), n, depth, time_saved,
    time_saved_low, time_saved_high (quartiles over passes), macs_saved, device.
    """
    lines: list[dict[str, Any]] = []
    for task in tasks_in(results, options.task):
        cells: dict[tuple, list[Result]] = {}
        for result in chosen(results, task, options.upstream, options.only):
            if kind := _kind(result):
                at = (kind, result.cell.exit, result.cell.value, result.cell.span)
                cells.setdefault(at, []).append(result)
        points = [_line(at[0], of) for at, of in cells.items()]
        lines += sorted(points, key=lambda line: (KINDS.index(line["kind"]), line["depth"]))
    return pd.DataFrame(lines)


def _kind(result: Result) -> str:
    """What a row is drawn as; "" = not at all."""
    cell = result.cell
    if cell.knob:
        return cell.exit if cell.exit in KINDS and cell.test_value is None else ""
    if cell.exit == "full" and cell.layer_norm is False:
        return "full, no layer-norm"
    return "fixed" if cell.exit == "full" or re.fullmatch(r"depth \d+", cell.exit) else ""


def _line(kind: str, results: Sequence[Result]) -> dict[str, Any]:
    """One point from the same cell of one or several seeds."""
    single = [row(result) for result in results]
    line = (aggregated(single) or single)[0]
    name = metrics_of(line)[0]
    [metric] = [m for m in measured(results[0]) if m.name == name]
    over = of_mean(results, name)
    kept = ("task", "upstream", "corpus", "protocol", "exit", "rho", "span", "n", "depth")
    costs = (*AXES, "time_saved_low", "time_saved_high", "device")
    return {
        "kind": kind,
        **{key: line[key] for key in kept},
        "seeds": len({result.cell.seed for result in results}),
        "metric": name,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "mean": over.mean,
        "low": over.low,
        "high": over.high,
        "sd": line[f"{name}_sd"],
        **{key: line[key] for key in costs},
    }


# ---- drawing -------------------------------------------------------------------------------------


def draw(table: pd.DataFrame) -> Any:
    """A matplotlib figure: a row of panels for each task, the two savings side by side."""
    tasks = list(table["task"].unique())
    rhos = sorted(table.loc[table["kind"] == "adaptive", "rho"].dropna().unique())
    with style.styled() as figure:
        made = figure.Figure(figsize=(style.COLUMN, 1.15 * len(tasks) + 1.1))
        panels = made.subplots(len(tasks), 2, sharex="col", sharey="row", squeeze=False)
        for task, pair in zip(tasks, panels, strict=True):
            of = table[table["task"] == task]
            ranking = of.iloc[0][["metric", "unit", "higher_is_better"]]
            for axes, column in zip(pair, AXES, strict=True):
                _panel(axes, of, column, rhos)
            pair[0].set_ylabel(f"{task.upper()}\n{style.heading(*ranking)}")
        for axes, text in zip(panels[-1], AXES.values(), strict=True):
            axes.set_xlabel(text)
        made.legend(
            handles=list(_handles(table, rhos)), loc="outside lower center", ncols=3, fontsize=6.5
        )
    return made


def _panel(axes: Any, of: pd.DataFrame, column: str, rhos: Sequence[float]) -> None:
    fixed = of[of["kind"] == "fixed"].dropna(subset=[column]).sort_values(column)
    axes.fill_between(fixed[column], fixed["low"], fixed["high"], color="#E6E6E6", linewidth=0)
    axes.plot(fixed[column], fixed["mean"], color=style.BLACK, marker=".", markersize=3)
    for _, point in of[of["kind"] != "fixed"].dropna(subset=[column]).iterrows():
        look = _look(point["kind"], point["rho"], point["span"], rhos)
        bars = np.array([[point["mean"] - point["low"]], [point["high"] - point["mean"]]])
        if point["kind"] != "adaptive":  # one cloud of bars is enough
            bars = np.zeros((2, 1))
        axes.errorbar(point[column], point["mean"], bars, elinewidth=0.5, **look)


def _look(kind: str, rho: float, span: str, rhos: Sequence[float]) -> dict[str, Any]:
    """Colour and fill say the span, the shape of the marker says rho."""
    if kind == "full, no layer-norm":
        return {"marker": "X", "color": style.BLACK, "linestyle": "", "markersize": 4.5}
    colour, fill = SPANS[span]
    look = {"color": colour, "fillstyle": fill, "linestyle": "", "markeredgewidth": 0.7}
    if kind == "adaptive":
        return look | {"marker": style.MARKERS[rhos.index(rho)], "alpha": 0.9}
    return look | {"marker": {"random": "x", "oracle": "*"}[kind], "markersize": 3.5}


def _handles(table: pd.DataFrame, rhos: Sequence[float]) -> Any:
    """The entries of the legend, for what is there."""
    from matplotlib.lines import Line2D

    def entry(label: str, **look: Any) -> Any:
        return Line2D([], [], label=label, **{"linestyle": "", **look})

    kinds = set(table["kind"])
    yield entry("fixed exits", color=style.BLACK, marker=".", linestyle="-")
    if "full, no layer-norm" in kinds:
        yield entry("full, no layer-norm", color=style.BLACK, marker="X", markersize=4.5)
    for rho, marker in zip(rhos, style.MARKERS, strict=False):
        yield entry(rf"$\rho$ = {rho:g}", color="#666666", marker=marker)
    for span, (colour, fill) in SPANS.items():
        if span in set(table["span"]):
            yield entry(span, color=colour, fillstyle=fill, marker="o")
    if "random" in kinds:
        yield entry("random exits", color="#666666", marker="x", markersize=3.5)
    if "oracle" in kinds:
        yield entry("oracle", color="#666666", marker="*", markersize=3.5)
