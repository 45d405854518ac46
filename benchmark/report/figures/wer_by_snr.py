"""DAISY's figure 5: word error rates by the ratio of the noise in an utterance (sec. 4.3).

Trained and tested on a corpus in which ratios are mixed (`run_benchmark.py data snr`). Each
adaptive row stands beside a fixed exit in the middle, as in the paper, and beside the fixed exit
whose multiply-accumulates over the whole test split come nearest to its own. Intervals are of the
two-stage bootstrap of speakers and their utterances, differences are paired (`../paired.py`).
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ... import resampling
from ...calibration import SPANS
from ...errors import UsageError
from .. import paired
from ..result import Result
from ..utterances import averaged
from . import style

NAME = "figure5_wer_by_snr"
METRIC = "wer"
ALL = "all"  # ratios together


@dataclass(frozen=True)
class Compared:
    """A row of the figure.

    Attributes:
        results: one a seed.
        fixed: the row that exits at the depth the paper compares with.
        equal: the fixed exit of the nearest multiply-accumulates; None for a row that is fixed.
    """

    results: Sequence[Result]
    fixed: Sequence[Result]
    equal: Sequence[Result] | None = None


def frame(results: Path, options: Namespace) -> pd.DataFrame:
    """A line for each row and ratio, and for all ratios together.

    Columns: exit, knob, value, span, seeds, snr (dB; "clean", "all"), n, speakers, words, wer, low,
    high (%), depth (mean), gmacs_per_s (over all ratios), and for the two rows that it is compared
    with, `fixed` and `equal`: their exit, the difference to it (row minus fixed, percentage
    points), its interval and p-value; upstream, corpus.
    """
    return pd.DataFrame([line for row in options.rows for line in _lines(row)])


def _lines(row: Compared) -> list[dict[str, Any]]:
    first = row.results[0]
    cell, table = first.cell, first.utterances
    if table is None:
        raise UsageError(
            f"{first.path} lacks the table of its utterances (*.utterances.csv beside it); make "
            f"the row again, with --force: {first.detail.get('command', '')}"
        )
    said = table["snr"].map(_said)
    ratios = {ALL: table["id"]} | {r: table.loc[said == r, "id"] for r in _sorted(said)}
    about = {
        "exit": cell.exit,
        "knob": cell.knob,
        "value": cell.value,
        "span": cell.span,
        "seeds": len(row.results),
    }
    return [
        about
        | {"snr": ratio}
        | _rates(row.results, set(ids))
        | {
            "depth": float(table.loc[table["id"].isin(ids), "depth"].mean()),
            "gmacs_per_s": first.cost.gmacs_per_s,
        }
        | _against("fixed", row.results, row.fixed, set(ids))
        | _against("equal", row.results, row.equal, set(ids))
        | {"upstream": cell.upstream, "corpus": f"{cell.corpus}@{cell.corpus_hash}"}
        for ratio, ids in ratios.items()
    ]


def _rates(results: Sequence[Result], ids: set[str]) -> dict[str, float]:
    mean = averaged(list(_only(results, ids).values()))
    drawn = resampling.totals(mean.part, mean.whole, mean.speakers)
    low, high = resampling.interval(drawn)
    return {
        "n": len(mean.ids),
        "speakers": resampling.speaker_count(mean.speakers),
        "words": int(mean.whole.sum()),
        METRIC: mean.mean,
        "low": low,
        "high": high,
    }


def _against(
    name: str, results: Sequence[Result], other: Sequence[Result] | None, ids: set[str]
) -> dict[str, Any]:
    """The difference to another row; empty where that is the row itself, or there is none."""
    if other is None or other[0].cell == results[0].cell:
        return {f"{name}{end}": None for end in ("", "_difference", "_low", "_high", "_p")}
    found = paired.of_scores(_only(results, ids), _only(other, ids))
    return {
        name: other[0].cell.exit,
        f"{name}_difference": found.value,
        f"{name}_low": found.low,
        f"{name}_high": found.high,
        f"{name}_p": found.p,
    }


def _only(results: Sequence[Result], ids: set[str]) -> dict:
    """Seed -> the scores of some utterances."""
    by_seed = paired.by_seed(results, METRIC)
    return {
        seed: of.only(np.array([id for id in of.ids.tolist() if id in ids], str))
        for seed, of in by_seed.items()
    }


def _said(ratio: Any) -> str:
    try:
        return f"{float(ratio):g}"
    except ValueError:
        return str(ratio)


def _sorted(said: pd.Series) -> list[str]:
    """Clean first, then the least noise."""
    there = set(said)
    numbers = sorted((r for r in there if _number(r)), key=float, reverse=True)
    return [*sorted(r for r in there if not _number(r)), *numbers]


def _number(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit()


def draw(table: pd.DataFrame) -> Any:
    """A matplotlib figure: a panel a value of the knob, in it the adaptive rows of that value and
    the fixed ones, with 95 % intervals.
    """
    values = list(dict.fromkeys(table["value"].dropna()))
    with style.styled() as figure:
        made = figure.Figure(figsize=(style.PAGE, 3.7))
        grid = made.subplots(1, len(values), sharey=True, squeeze=False)
        for value, axes in zip(values, grid[0], strict=True):
            _panel(axes, _shown(table, value))
            axes.set_title(f"{table['knob'].dropna().iloc[0]} {value:g}")
            axes.set_xlabel("signal-to-noise ratio (dB)")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
        grid[0][0].set_ylabel("word error rate (%)")
        grid[0][0].set_ylim(bottom=0)
    return made


def _shown(table: pd.DataFrame, value: float) -> dict[str, pd.DataFrame]:
    """Legend -> the lines of a row: adaptive rows of that value, the fixed exits that they are
    compared with, and full depth.
    """
    mine = table[table["value"] == value]
    found = {}
    for span in SPANS:
        of = mine[mine["span"] == span]
        if len(of):
            found[f"{span}, {_depth(of):.1f} blocks"] = of
    for exit in dict.fromkeys([*mine["fixed"].dropna(), *mine["equal"].dropna(), "full"]):
        of = table[table["exit"] == exit]
        spans = dict.fromkeys(mine.loc[mine["equal"] == exit, "span"])
        costs = f", MACs nearest to {' and '.join(spans)}" if spans else ""
        if len(of):
            found[f"fixed {_depth(of):.0f}{costs}"] = of
    return found


def _depth(of: pd.DataFrame) -> float:
    return float(of.loc[of["snr"] == ALL, "depth"].iloc[0])


def _panel(axes: Any, rows: Mapping[str, pd.DataFrame]) -> None:
    ratios = list(next(iter(rows.values()))["snr"])
    ratios = [*(r for r in ratios if r != ALL), ALL]
    for n, (label, of) in enumerate(rows.items()):
        of = of.set_index("snr").loc[ratios]
        x = np.arange(len(ratios)) + (n - (len(rows) - 1) / 2) * 0.8 / len(rows)
        spread = np.abs(of[["low", "high"]].to_numpy().T - of[METRIC].to_numpy())
        kind = n % len(style.COLOURS)
        axes.errorbar(
            x,
            of[METRIC],
            spread,
            fmt=style.MARKERS[kind],
            color=style.COLOURS[kind],
            fillstyle="full" if of["knob"].notna().all() else "none",
            elinewidth=0.8,
            label=label,
        )
    axes.axvline(len(ratios) - 1.5, color="#808080", linewidth=0.6)
    axes.set_xticks(range(len(ratios)), ratios)
    axes.grid(axis="x", visible=False)
