"""Figure 3 of Wright et al., 2024: the mean exit at a word error rate, a curve a model and measure,
its points thresholds. Closer to the origin is better.

A colour and a marker are a model, a line style is a measure.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..paper_table import Made
from . import paper_points, style


def frame(made: Sequence[Made], printed: pd.DataFrame) -> pd.DataFrame:
    """See `paper_points.frame`; `curve` is "model, measure". No numbers are printed in the
    paper."""
    return paper_points.frame(made)


def draw(table: pd.DataFrame) -> Any:
    """A matplotlib figure; bars are 95 % intervals of the word error rates, by speaker."""
    names = list(table["curve"].unique())
    models, measures = (list(dict.fromkeys(part)) for part in zip(*map(_parts, names), strict=True))
    with style.styled() as figure:
        made = figure.Figure(figsize=(style.COLUMN, 3.2))
        axes = made.subplots()
        for name, of in table.dropna(subset=["wer", "depth"]).groupby("curve", sort=False):
            model, measure = (
                known.index(part)
                for known, part in zip((models, measures), _parts(name), strict=True)
            )
            of = of.sort_values(["depth", "wer"])
            axes.errorbar(
                of["wer"],
                of["depth"],
                xerr=[of["wer"] - of["wer_low"], of["wer_high"] - of["wer"]],
                color=style.COLOURS[model % len(style.COLOURS)],
                marker=style.MARKERS[model % len(style.MARKERS)],
                linestyle=style.LINES[(0, 3)[measure] if measure < 2 else measure],
                elinewidth=0.4,
                label=name,
            )
        axes.set_xlabel(style.heading("wer", "%", False))
        axes.set_ylabel("mean exit (blocks)")
        made.legend(loc="outside lower center", ncols=2)
    return made


def _parts(name: str) -> tuple[str, str]:
    model, _, measure = name.partition(", ")
    return model, measure
