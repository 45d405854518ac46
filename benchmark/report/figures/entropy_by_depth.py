"""DAISY's figure 2: the average entropy of every branch on the tasks' training splits.

The averages are the depth means from which a row's threshold was computed (eq. 3), so nothing is
run for this figure. The straight line is fitted by least squares; DAISY's paper calls the relation
"surprisingly linear" (section 3.2) and gives no number, R2 is one.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...errors import UsageError
from ..chosen import chosen, tasks_in
from . import style

NAME = "figure2_entropy_by_depth"


def frame(results: Path, options: Namespace) -> pd.DataFrame:
    """A line for each task and depth that has evidence.

    Columns: task, upstream, corpus, n (training utterances), evidence (its unit in words), depth,
    mean, fitted (both in that unit), slope (a block), intercept, r2 (of the task's fit).
    """
    lines: list[dict[str, Any]] = []
    for task in tasks_in(results, options.task):
        rows = chosen(results, task, options.upstream, options.only)
        told = [r for r in rows if r.detail.get("calibration")]
        if not told:
            raise UsageError(
                f"{results}: no row of {options.upstream} on {task} says what its threshold was "
                f"computed from; make them again with: run_benchmark.py table1 --task {task}"
            )
        of, cell = told[0].detail["calibration"], told[0].cell
        about = {
            "task": task,
            "upstream": cell.upstream,
            "corpus": f"{cell.corpus}@{cell.corpus_hash}",
            "n": of["n"],
            "evidence": of["evidence"],
        }
        means = of["depth_means"]
        depths = of.get("exits") or list(range(1, len(means) + 1))  # rows of version 0.1.0
        lines += [about | point for point in _fit(depths, means)]
    return pd.DataFrame(lines)


def _fit(depths: list[int], means: list[float]) -> list[dict[str, float]]:
    """Least squares over the depths: what a line says of each of them."""
    x, y = np.array(depths, float), np.array(means)
    slope, intercept = np.polyfit(x, y, 1)
    fitted = slope * x + intercept
    spread = ((y - y.mean()) ** 2).sum()
    r2 = 1 - ((y - fitted) ** 2).sum() / spread if spread else float("nan")
    known = {"slope": float(slope), "intercept": float(intercept), "r2": float(r2)}
    return [
        {"depth": depth, "mean": float(mean), "fitted": float(line), **known}
        for depth, mean, line in zip(depths, y, fitted, strict=True)
    ]


def draw(table: pd.DataFrame) -> Any:
    """A matplotlib figure: points are the means, a thin line of the same colour is the fit."""
    with style.styled() as figure:
        made = figure.Figure(figsize=(style.COLUMN, 2.4))
        axes = made.subplots()
        for n, (task, of) in enumerate(table.groupby("task", sort=False)):
            colour, marker, line = style.COLOURS[n % 7], style.MARKERS[n % 7], style.LINES[n % 7]
            label = f"{str(task).upper()} ($R^2$ = {of['r2'].iloc[0]:.3f})"
            axes.plot(of["depth"], of["fitted"], color=colour, linestyle=line, linewidth=0.7)
            axes.plot(of["depth"], of["mean"], marker, color=colour, fillstyle="none")
            both = {"marker": marker, "linestyle": line, "fillstyle": "none"}
            axes.plot([], [], color=colour, label=label, **both)
        axes.set_xlabel("depth (blocks)")
        entropy = "entropy" in table["evidence"].iloc[0]
        axes.set_ylabel("mean entropy (nats per frame)" if entropy else "mean evidence")
        axes.set_ylim(bottom=0)
        axes.set_xticks(sorted(table["depth"].unique()))
        axes.legend()
    return made
