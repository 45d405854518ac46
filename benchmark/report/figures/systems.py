"""All systems on one task: metric against multiply-accumulates and against speed, side by side.

Every point is a line of the table beside it and has its number. Around a mean there is its 95 %
interval; the Pareto front is a staircase, since between two systems there may be no third. The
exits of one system are joined by a line; where systems differ in frame rate or in width, as in the
grid exits x downsampling x width, its dashes tell the one and its weight the other.
"""

import io
import math
import textwrap
from collections.abc import Iterator, Mapping
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
GREY = "#999999"  # of lines through fixed depths
FRONT = "--"
DASHES = [one for one in style.LINES if one != FRONT]  # of frame rates, the fastest first
WEIGHTS = (1.5, 0.5)  # of the widest and of the narrowest model
PLAIN = {"linestyle": "-", "linewidth": 0.7}
RATE = 16  # samples a millisecond
COLUMNS = 5  # of the legend
AXES = {  # column: (label, how the front's steps go, the column that says who is on it)
    "gmacs_per_s": ("GMAC a second of audio", "steps-post", "front_macs"),
    "rtfx": ("RTFx (seconds of audio a second)", "steps-pre", "front_rtfx"),
}
MARGIN = 0.08  # of the systems' range, above and below
PANEL = (205.0, 140.0)  # points: about the size of a panel, by which numbers are kept apart
Lines = Mapping[tuple[str, float], dict[str, Any]]  # how "dim" or "stride" of a value is drawn
# where a number may stand beside its point, in points; the first that is free is taken
PLACES = [(x, y) for y in (3, -8, 10, -15, 17, -22) for x in (3, -9)]


def read(text: str) -> pd.DataFrame:
    """The table from its CSV; texts are texts where they are empty, too."""
    table = pd.read_csv(io.StringIO(text), float_precision="round_trip")
    words = ("tuned_on", "kind", "unit", "device", "span", "weights")
    return table.assign(**{name: table[name].fillna("").astype(str) for name in words})


def draw(table: pd.DataFrame) -> Any:
    """A matplotlib figure: frozen upstreams in one row of panels, tuned ones in another."""
    frozen = table["tuned_on"] == ""
    parts = [(f"{of} upstreams", table[rows]) for of, rows in _rows(frozen) if rows.any()]
    device = device_of(table)
    lines = _lines(table)
    with style.styled() as figure:
        handles = list(_handles(table, lines))
        legend = 0.15 * math.ceil(len(handles) / COLUMNS)
        made = figure.Figure(figsize=(style.PAGE, 2.5 * len(parts) + 0.3 + legend))
        panels = made.subplots(len(parts), 2, sharex="col", sharey="row", squeeze=False)
        drawn = []
        for (named, part), pair in zip(parts, panels, strict=True):
            outside = _limit(pair[0], part)
            for axes, column in zip(pair, AXES, strict=True):
                # seconds of two machines are not compared
                shown = part if column != "rtfx" else part[part["device"] == device]
                drawn.append((axes, shown.dropna(subset=[column, _metric(part)]), column))
                _panel(*drawn[-1], lines)
            pair[0].set_ylabel(f"{named}\n{style.heading(*_ranking(part))}")
            pair[1].set_title(outside, loc="right", fontsize=6)
        for axes, shown, column in drawn:  # once all are there: they share their axes
            if not shown.empty:
                _number(axes, shown, column)
        panels[0][0].set_title("numbers: lines of the table", loc="left", fontsize=6)
        where = textwrap.fill(f"on {device}", 60) if device else ""
        for axes, (label, *_), on in zip(panels[-1], AXES.values(), ("", where), strict=True):
            axes.set_xlabel(f"{label}\n{on}")
        made.legend(handles=handles, loc="outside lower center", ncols=COLUMNS)
    return made


def _rows(frozen: pd.Series) -> list[tuple[str, pd.Series]]:
    return [("frozen", frozen), ("tuned", ~frozen)]


def _metric(part: pd.DataFrame) -> str:
    return str(part["metric"].iloc[0])


def _ranking(part: pd.DataFrame) -> tuple[str, str, bool]:
    line = part.iloc[0]
    return line["metric"], line["unit"], bool(line["higher_is_better"])


def _panel(axes: Any, part: pd.DataFrame, column: str, lines: Lines) -> None:
    """Lines through exits, the front, the points with their intervals."""
    if part.empty:
        axes.text(0.5, 0.5, "none was measured", ha="center", transform=axes.transAxes)
        return
    metric, (_, steps, front) = _metric(part), AXES[column]
    _join(axes, part, column, lines)
    best = part[part[front]].sort_values([column, metric])
    axes.plot(
        best[column], best[metric], color=style.BLACK, linestyle=FRONT, drawstyle=steps, zorder=1.5
    )
    for _, point in part.iterrows():
        mean, low, high = (point[f"{metric}{end}"] for end in ("", "_low", "_high"))
        bars = np.nan_to_num(np.array([[mean - low], [high - mean]]))
        if point["group"] == CONTROLS:  # one cloud of bars is enough
            bars = np.zeros((2, 1))
        look = _look(point["group"], point["kind"]) | {"linestyle": "", "elinewidth": 0.5}
        axes.errorbar(point[column], mean, bars, alpha=0.9, **look)


def _look(group: str, kind: str) -> dict[str, Any]:
    """Of a point. What exits by evidence on a model that something else makes cheaper has the
    colour of that and a hollow marker."""
    colour, marker = LOOKS.get(group, OTHER)
    if group != "adaptive" or not kind:
        return {"color": colour, "marker": marker}
    return {"color": LOOKS.get(kind, OTHER)[0], "marker": marker, "markerfacecolor": "white"}


# ---- lines through exits -------------------------------------------------------------------------


def _lines(table: pd.DataFrame) -> Lines:
    """How the lines of each frame rate and of each width are drawn; nothing of what all systems
    have alike, or do not say (rows of before)."""
    systems = table[table["group"] != CONTROLS]
    rates = sorted(systems["stride"].dropna().unique())
    widths = sorted(systems["dim"].dropna().unique(), reverse=True)
    out = {}
    if len(rates) > 1:
        dashes = (DASHES[i % len(DASHES)] for i in range(len(rates)))
        out |= {("stride", n): {"linestyle": dash} for n, dash in zip(rates, dashes, strict=True)}
    if len(widths) > 1:
        weights = np.linspace(*WEIGHTS, len(widths))
        out |= {("dim", n): {"linewidth": w} for n, w in zip(widths, weights, strict=True)}
    return out


def _join(axes: Any, part: pd.DataFrame, column: str, lines: Lines) -> None:
    """A line through the exits of each system: its fixed depths, and what its evidence decided."""
    fixed = part["exit"].str.fullmatch(FIXED.pattern) & (part["group"] != CONTROLS)
    for rows, grey in ((fixed, True), (part["group"] == "adaptive", False)):
        for _, exits in part[rows].groupby(["upstream", "weights", "span"]):
            exits, first = exits.sort_values(column), exits.iloc[0]
            look = PLAIN | {
                "color": GREY if grey else _look(first["group"], first["kind"])["color"]
            }
            for name in ("stride", "dim"):
                look |= lines.get((name, first[name]), {})
            axes.plot(exits[column], exits[_metric(part)], zorder=1, **look)


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

    places = zip(part[column], part[_metric(part)], strict=True)
    for no, place, (x, y) in zip(part["no"], places, points, strict=True):
        if not 0 <= y <= PANEL[1]:
            continue
        dx, dy = next((o for o in PLACES if free(x + o[0], y + o[1])), PLACES[0])
        taken.append((x + dx, y + dy))
        axes.annotate(str(no), place, xytext=(dx, dy), textcoords="offset points", fontsize=6)


def _limit(axes: Any, part: pd.DataFrame) -> str:
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


def _handles(table: pd.DataFrame, lines: Lines) -> Iterator[Any]:
    """The entries of the legend, for what is there."""
    from matplotlib.lines import Line2D

    shown = table[table["gmacs_per_s"].notna()]
    there = dict.fromkeys(
        (group, kind if group == "adaptive" else "")
        for group, kind in zip(shown["group"], shown["kind"], strict=True)
    )
    for group, kind in there:
        label = ", ".join(filter(None, (group, kind)))
        yield Line2D([], [], label=label, linestyle="", **_look(group, kind))
    if any(group not in ("adaptive", CONTROLS) for group, _ in there):
        yield Line2D([], [], label="fixed depths of one model", color=GREY, **PLAIN)
    yield Line2D([], [], label="Pareto front", color=style.BLACK, linestyle=FRONT)
    for (name, value), look in lines.items():
        label = f"{value / RATE:g} ms a frame" if name == "stride" else f"{value:g} wide"
        yield Line2D([], [], label=label, color=GREY, **PLAIN | look)
