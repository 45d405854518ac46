"""HuBERT-EE's figure 4: the share of test utterances that leave at each exit, by threshold.

Where the paper states a share in words, a diamond stands beside the bar.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..paper_table import KEYS, Made, of_rows
from . import style
from .paper_points import shares

WIDTH = 0.8  # of all bars of a depth
HATCHES = ("", "//", "..")  # for readers who see no colours


def frame(made: Sequence[Made], printed: pd.DataFrame) -> pd.DataFrame:
    """A line for each threshold and depth.

    Columns: label, threshold (the paper's unit), tau, depth, share (percent), printed (percent),
    n (utterances of a seed), seeds, upstream, corpus.

    Args:
        printed: with columns depth and share.
    """
    lines: list[dict[str, Any]] = []
    for one in (one for one in made if one.rows):
        about, found = of_rows(one), shares(one)
        known = printed[(printed[list(KEYS)] == _key(one)).all(axis=1)]
        there = dict(zip(known.get("depth", ()), known.get("share", ()), strict=True))
        for depth in _depths(made):
            lines.append(
                {
                    "label": one.line.label,
                    **{name: about[name] for name in ("threshold", "tau")},
                    "depth": depth,
                    "share": round(found.get(depth, 0.0), 4),
                    "printed": there.get(str(depth)),
                    **{name: about[name] for name in ("n", "seeds", "upstream", "corpus")},
                }
            )
    return pd.DataFrame(lines)


def _key(one: Made) -> list[str]:
    return [one.line.group, one.line.label, one.line.arm]


def _depths(made: Sequence[Made]) -> list[int]:
    """The exits, of any threshold, at which somebody leaves."""
    return sorted({depth for one in made if one.rows for depth in shares(one)})


def draw(table: pd.DataFrame) -> Any:
    """A matplotlib figure: bars side by side at every exit."""
    depths, labels = sorted(table["depth"].unique()), list(table["label"].unique())
    with style.styled() as figure:
        made = figure.Figure(figsize=(style.COLUMN, 2.4))
        axes = made.subplots()
        width = WIDTH / len(labels)
        for n, label in enumerate(labels):
            of = table[table["label"] == label].set_index("depth").loc[depths]
            x = np.arange(len(depths)) + (n - (len(labels) - 1) / 2) * width
            tau = of["tau"].iloc[0]
            said = label if tau != tau else f"{label} (here {of['threshold'].iloc[0]:.3g})"
            look = {"color": style.COLOURS[n % len(style.COLOURS)], "hatch": HATCHES[n % 3]}
            axes.bar(x, of["share"], width, label=said, edgecolor="white", linewidth=0.3, **look)
            axes.plot(x, of["printed"].astype(float), "D", color=style.BLACK, markersize=3)
        axes.set_xticks(range(len(depths)), [str(depth) for depth in depths])
        axes.set_xlabel("exit (block)")
        axes.set_ylabel("utterances (%)")
        axes.grid(axis="x", visible=False)
        made.legend(loc="outside lower center", ncols=2)
    return made
