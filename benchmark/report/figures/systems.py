"""All systems on one task: metric against multiply-accumulates and against speed, side by side.

Every point is a line of the table beside it and has its number. Around a mean there is its 95 %
interval; the Pareto front is a staircase, since between two systems there may be no third.
"""

import io
import textwrap
from typing import Any

import numpy as np
import pandas as pd

from ..comparison import CONTROLS, device_of
from ..curve import FIXED
from . import style

LOOKS = {  # of each group: colour and marker; neither says more than the other
    "adaptive": (style.BLUE, "o"),
    "static": (style.BLACK, "s"),
    "distilled": (style.VERMILION, "^"),
    "downsampled": (style.GREEN, "D"),
    "pruned": (style.PURPLE, "v"),
    CONTROLS: (style.ORANGE, "X"),
}
OTHER = (style.SKY, "P")  # a kind that the plug-in has named
AXES = {  # column: (label, how the front's steps go, the column that says who is on it)
    "gmacs_per_s": ("GMAC a second of audio", "steps-post", "front_macs"),
    "rtfx": ("RTFx (seconds of audio a second)", "steps-pre", "front_rtfx"),
}
MARGIN = 0.08  # of the systems' range, above and below
PANEL = (205.0, 140.0)  # points: about the size of a panel, by which numbers are kept apart
# where a number may stand beside its point, in points; the first that is free is taken
PLACES = [(x, y) for y in (3, -8, 10, -15, 17, -22) for x in (3, -9)]


def read(text: str) -> pd.DataFrame:
    """The table from its CSV; texts are texts where they are empty, too."""
    table = pd.read_csv(io.StringIO(text), float_precision="round_trip")
    words = ("tuned_on", "kind", "unit", "device")
    return table.assign(**{name: table[name].fillna("").astype(str) for name in words})


def draw(table: pd.DataFrame) -> Any:
    """A matplotlib figure: frozen upstreams in one row of panels, tuned ones in another."""
    frozen = table["tuned_on"] == ""
    parts = [(f"{of} upstreams", table[rows]) for of, rows in _rows(frozen) if rows.any()]
    device = device_of(table)
    with style.styled() as figure:
        made = figure.Figure(figsize=(style.PAGE, 2.5 * len(parts) + 0.6))
        panels = made.subplots(len(parts), 2, sharex="col", sharey="row", squeeze=False)
        for (named, part), pair in zip(parts, panels, strict=True):
            outside = _frame(pair[0], part)
            for axes, column in zip(pair, AXES, strict=True):
                # seconds of two machines are not compared
                shown = part if column != "rtfx" else part[part["device"] == device]
                _panel(axes, shown.dropna(subset=[column, _metric(part)]), column)
            pair[0].set_ylabel(f"{named}\n{style.heading(*_ranking(part))}")
            pair[1].set_title(outside, loc="right", fontsize=6)
        panels[0][0].set_title("numbers: lines of the table", loc="left", fontsize=6)
        where = textwrap.fill(f"on {device}", 60) if device else ""
        for axes, (label, *_), on in zip(panels[-1], AXES.values(), ("", where), strict=True):
            axes.set_xlabel(f"{label}\n{on}")
        made.legend(handles=list(_handles(table)), loc="outside lower center", ncols=5)
    return made


def _rows(frozen: pd.Series) -> list[tuple[str, pd.Series]]:
    return [("frozen", frozen), ("tuned", ~frozen)]


def _metric(part: pd.DataFrame) -> str:
    return str(part["metric"].iloc[0])


def _ranking(part: pd.DataFrame) -> tuple[str, str, bool]:
    line = part.iloc[0]
    return line["metric"], line["unit"], bool(line["higher_is_better"])


def _panel(axes: Any, part: pd.DataFrame, column: str) -> None:
    """Curves of fixed depths, the front, the points with their intervals and numbers."""
    if part.empty:
        axes.text(0.5, 0.5, "none was measured", ha="center", transform=axes.transAxes)
        return
    metric, (_, steps, front) = _metric(part), AXES[column]
    static = part["exit"].str.fullmatch(FIXED.pattern) & (part["group"] != CONTROLS)
    for _, fixed in part[static].groupby("upstream"):
        fixed = fixed.sort_values(column)
        axes.plot(fixed[column], fixed[metric], color="#999999", linewidth=0.7, zorder=1)
    best = part[part[front]].sort_values([column, metric])
    axes.plot(
        best[column], best[metric], color=style.BLACK, linestyle="--", drawstyle=steps, zorder=1.5
    )
    for _, point in part.iterrows():
        mean, low, high = (point[f"{metric}{end}"] for end in ("", "_low", "_high"))
        bars = np.nan_to_num(np.array([[mean - low], [high - mean]]))
        if point["group"] == CONTROLS:  # one cloud of bars is enough
            bars = np.zeros((2, 1))
        colour, marker = LOOKS.get(point["group"], OTHER)
        look = {"color": colour, "marker": marker, "linestyle": "", "elinewidth": 0.5}
        axes.errorbar(point[column], mean, bars, alpha=0.9, **look)
    _number(axes, part, column)


def _number(axes: Any, part: pd.DataFrame, column: str) -> None:
    """Write every point's number where it hides no other and no point."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    across = PANEL[0] * (part[column].astype(float) - left) / (right - left)
    up = PANEL[1] * (part[_metric(part)].astype(float) - bottom) / (top - bottom)
    points = [(x, y) for x, y in zip(across, up, strict=True)]
    taken: list[tuple[float, float]] = []

    def free(x: float, y: float) -> bool:
        clear = all(abs(x - a) > 8 or abs(y - b) > 6 for a, b in taken)
        return clear and all(abs(x + 3 - a) > 5 or abs(y + 2 - b) > 4 for a, b in points)

    for no, (x, y) in zip(part["no"], points, strict=True):
        if not 0 <= y <= PANEL[1]:
            continue
        dx, dy = next((o for o in PLACES if free(x + o[0], y + o[1])), PLACES[0])
        taken.append((x + dx, y + dy))
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "fontsize": 6}
        axes.annotate(str(no), (x / PANEL[0], y / PANEL[1]), xytext=(dx, dy), **place)


def _frame(axes: Any, part: pd.DataFrame) -> str:
    """Limit the panels to the systems: a control far from them would press them into a line.

    Returns: which controls lie outside, with their means.
    """
    metric = _metric(part)
    part = part.dropna(subset=[metric, "gmacs_per_s"])
    of = part[part["group"] != CONTROLS]
    of = part if of.empty else of
    if of.empty:
        return ""
    bottom, top = (
        np.nanmin(of[[metric, f"{metric}_low"]]),
        np.nanmax(of[[metric, f"{metric}_high"]]),
    )
    room = MARGIN * (top - bottom) or 1.0
    axes.set_ylim(bottom - room, top + room)
    out = part[(part[metric] < bottom - room) | (part[metric] > top + room)]
    said = [f"{no} ({mean:.3g})" for no, mean in zip(out["no"], out[metric], strict=True)]
    return f"beyond the frame: {', '.join(said)}" if said else ""


def _handles(table: pd.DataFrame) -> Any:
    """The entries of the legend, for what is there."""
    from matplotlib.lines import Line2D

    there = list(dict.fromkeys(table.loc[table["gmacs_per_s"].notna(), "group"]))
    for group in there:
        colour, marker = LOOKS.get(group, OTHER)
        yield Line2D([], [], label=group, color=colour, marker=marker, linestyle="")
    if any(group not in ("adaptive", CONTROLS) for group in there):
        yield Line2D([], [], label="fixed depths of one model", color="#999999", linewidth=0.7)
    yield Line2D([], [], label="Pareto front", color=style.BLACK, linestyle="--")
