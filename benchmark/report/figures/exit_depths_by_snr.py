"""DAISY's figure 4: where utterances leave by the ratio of the noise added to them (sec. 4.2).

Every utterance is there clean and with every kind of noise at every ratio, so a difference to clean
is of the same utterances. Intervals are of the two-stage bootstrap of speakers and their utterances
(`benchmark/resampling.py`). A violin is as wide at a depth as the share that leaves there: depths
are whole numbers, so nothing is smoothed, and nothing is drawn at a depth that does not exist. All
violins of a figure have one scale.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ... import resampling
from . import style

NAME = "figure4_exit_depths_by_snr"
CLEAN = "clean"  # the ratio, and the kind of noise, of speech that nothing was added to
WIDTH = 0.44  # of half a violin at the depth of the largest share in the figure; ratios are 1 apart


def frame(results: Path, options: Namespace) -> pd.DataFrame:
    """A line for each utterance, condition and value of the knob, as measured.

    Columns: utterance, speaker, kind (of noise; "clean"), snr (dB; "clean"), knob, value, tau,
    depth, upstream, corpus, blocks (of the upstream).
    """
    return options.table


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A line for each kind, ratio and value of the knob.

    Columns: knob, value, kind, snr, n, speakers, mean (depth), low, high (95 %), and, of the same
    utterances, difference (to clean), difference_low, difference_high, p, minimum, maximum.
    """
    lines = []
    for (knob, value), of in table.groupby(["knob", "value"], sort=False):
        clean = of[of["snr"] == CLEAN].set_index("utterance")
        names = tuple(clean["speaker"].fillna("").astype(str))
        for (kind, snr), some in of.groupby(["kind", "snr"], sort=False):
            depth = some.set_index("utterance")["depth"].loc[clean.index].to_numpy(float)
            about = {"knob": knob, "value": value, "kind": kind, "snr": snr, "n": len(depth)}
            about["speakers"] = resampling.speaker_count(names)
            lines.append(about | _means(depth, clean["depth"].to_numpy(float), names))
    return pd.DataFrame(lines)


def _means(depth: np.ndarray, clean: np.ndarray, speakers: tuple[str, ...]) -> dict[str, float]:
    one, apart = np.ones(len(depth)), depth - clean
    low, high = resampling.interval(resampling.totals(depth, one, speakers))
    drawn = resampling.totals(apart, one, speakers)
    least, most = resampling.interval(drawn)
    return {
        "mean": float(depth.mean()),
        "low": low,
        "high": high,
        "difference": float(apart.mean()),
        "difference_low": least,
        "difference_high": most,
        "p": resampling.p_value(drawn),
        "minimum": int(depth.min()),
        "maximum": int(depth.max()),
    }


TABLES = {"summary": summary}


def draw(table: pd.DataFrame) -> Any:
    """A matplotlib figure: a column of panels a kind of noise, a row a value of the knob. Lines
    across a violin are the deepest and the shallowest exit, the diamond is the mean.
    """
    kinds = [kind for kind in dict.fromkeys(table["kind"]) if kind != CLEAN]
    values = list(dict.fromkeys(table["value"]))
    knob, blocks = table["knob"].iloc[0], int(table["blocks"].iloc[0])
    with style.styled() as figure:
        made = figure.Figure(figsize=(style.PAGE, 0.5 + 1.6 * len(values)))
        conditions = table.groupby(["value", "kind", "snr"])["depth"]
        scale = WIDTH / conditions.value_counts(normalize=True).max()
        grid = made.subplots(len(values), len(kinds), sharex=True, sharey=True, squeeze=False)
        for value, across in zip(values, grid, strict=True):
            for kind, axes in zip(kinds, across, strict=True):
                mine = table[(table["value"] == value) & table["kind"].isin([kind, CLEAN])]
                _panel(axes, mine, blocks, scale)
                axes.set_title(f"{kind}, {knob} {value:g}")
        for axes in grid[-1]:
            axes.set_xlabel("signal-to-noise ratio (dB)")
        for across in grid:
            across[0].set_ylabel("exit depth (blocks)")
    return made


def _panel(axes: Any, table: pd.DataFrame, blocks: int, scale: float) -> None:
    ratios = list(dict.fromkeys(table["snr"]))
    for x, ratio in enumerate(ratios):
        depth = table.loc[table["snr"] == ratio, "depth"].to_numpy(int)
        shares = np.bincount(depth, minlength=blocks + 1) / len(depth)
        width, colour = scale * shares, style.SKY if ratio == CLEAN else style.ORANGE
        axes.barh(
            np.arange(blocks + 1), 2 * width, left=x - width, height=0.9, color=colour, zorder=1
        )
        axes.hlines([depth.min(), depth.max()], x - 0.12, x + 0.12, style.BLACK, linewidth=0.9)
        axes.vlines(x, depth.min(), depth.max(), style.BLACK, linewidth=0.6)
        axes.plot(x, depth.mean(), "D", color=style.BLACK, markersize=3.2)
    means = [table.loc[table["snr"] == ratio, "depth"].mean() for ratio in ratios]
    axes.plot(range(len(ratios)), means, color=style.BLACK, linewidth=0.5, linestyle=":")
    axes.set_xticks(range(len(ratios)), ratios)
    axes.set_yticks(range(0, blocks + 1, 2 if blocks > 6 else 1))
    axes.set_xlim(-0.6, len(ratios) - 0.4)
    axes.set_ylim(0, blocks + 0.8)
    axes.grid(axis="x", visible=False)
