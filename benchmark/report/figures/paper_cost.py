"""HuBERT-EE's figures 2 and 3: word error rate against real time factor, a curve a system, its
points thresholds.

Beside time there are multiply-accumulates, which do not depend on a machine, and beside every
system that leaves by itself its own fixed exits, which it has to beat. Bars are 95 % intervals over
test utterances, by speaker.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..paper_table import Made
from . import paper_points, style
from .paper_points import FIXED, THRESHOLD

AXES = {"rtf": "RTF x 1e-3", "gmacs_per_s": "GMAC a second of audio"}


def frame(made: Sequence[Made], printed: pd.DataFrame) -> pd.DataFrame:
    """See `paper_points.frame`; of the papers' figures no numbers are printed."""
    return paper_points.frame(made)


def draw(table: pd.DataFrame) -> Any:
    """A matplotlib figure: the two costs side by side."""
    with style.styled() as figure:
        made = figure.Figure(figsize=(style.PAGE, 2.9))
        panels = made.subplots(1, 2, sharey=True)
        device, others = _device(table)
        for axes, (column, label) in zip(panels, AXES.items(), strict=True):
            shown = table[table["device"] == device] if column == "rtf" else table
            _panel(axes, shown.dropna(subset=[column, "wer"]), column)
            axes.set_xlabel(label)
        panels[0].set_ylabel(style.heading("wer", "%", False))
        told = f"{device}; {others} points of other devices left out" if others else device
        panels[0].set_title(told, loc="left", fontsize=5)
        handles, labels = panels[1].get_legend_handles_labels()
        made.legend(handles, labels, loc="outside lower center", ncols=3)
    return made


def _device(table: pd.DataFrame) -> tuple[str, int]:
    """The device on which most points were timed, and how many were on another one: seconds of two
    machines are on no axis together."""
    timed = table.loc[table["rtf"].notna(), "device"].astype(str)
    if timed.empty:
        return "", 0
    most = timed.value_counts().index[0]
    return most, int((timed != most).sum())


def _panel(axes: Any, table: pd.DataFrame, column: str) -> None:
    """A curve for every system; those of fixed exits are grey lines with the marker of their
    own."""
    if table.empty:
        axes.text(0.5, 0.5, "none was measured", ha="center", transform=axes.transAxes)
        return
    names = [name for name, of in table.groupby("curve", sort=False) if not _is(of, FIXED)]
    for n, (name, of) in enumerate(table.groupby("curve", sort=False)):
        of = of.sort_values([column, "wer"])
        if _is(of, FIXED):
            look = {"color": "#888888", "marker": ".", "linestyle": style.LINES[n % 4]}
            axes.plot(of[column], of["wer"], linewidth=0.8, zorder=1, label=name, **look)
            continue
        kind = names.index(name) % len(style.COLOURS)
        look = {"color": style.COLOURS[kind], "marker": style.MARKERS[kind], "elinewidth": 0.5}
        bars = [of["wer"] - of["wer_low"], of["wer_high"] - of["wer"]]
        line = style.LINES[kind] if _is(of, THRESHOLD) else ""
        axes.errorbar(of[column], of["wer"], bars, linestyle=line, label=name, **look)


def _is(of: pd.DataFrame, kind: str) -> bool:
    return bool((of["kind"] == kind).all())
