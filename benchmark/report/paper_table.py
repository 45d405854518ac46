"""A paper's table from rows: the printed numbers beside ours. Pure functions of rows and files.

`numbers` is the table as numbers, a line for each of its lines, arms and sources; `wide` is the
table that is read. What is claimed of it: paper_claims.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from .board_lines import row
from .interval import of_mean
from .papers.shape import ALL, Line, Table
from .published import read
from .result import Result
from .table1 import NONE, OURS, PAPER

AT_ONE = "†"
KEYS = ("group", "line", "arm")
INTERVALS = ("wer",)  # with an interval where the table is read
THRESHOLDS = {"threshold": "threshold ours", "tau": "as evidence"}
COUNTS = ("seeds", "n", "failed")
COSTS = ("depth", "gmacs_per_s", "macs_saved", "rtf", "params_m")
MEASURES = {  # name: (heading, digits); some are printed in a paper only
    "wer": ("WER %", 2),
    "wer_other": ("WER % on test-other", 2),
    "wer_tedlium": ("WER % on TED-LIUM", 2),
    "wer_voxpopuli": ("WER % on VoxPopuli", 2),
    "cer": ("CER %", 2),
    "depth": ("mean exit", 2),
    "gmacs_per_s": ("GMAC/s", 3),
    "rtf": ("RTF x 1e-3", 2),
    "speed_hz": ("Hz", 2),
    "gmacs_a_batch": ("GMAC a batch", 1),
    "gpu_s": ("GPU s", 0),
    "cpu_s": ("CPU s", 0),
    "params_m": ("params (M)", 2),
}


@dataclass(frozen=True, eq=False)
class Made:
    """A line and its rows.

    Attributes:
        rows: one a seed; () where it could not be made.
        unit: (a, b): a published threshold x is the evidence a x + b.
        lacking: why there are none, a sentence, where that is known.
    """

    line: Line
    rows: tuple[Result, ...] = ()
    unit: tuple[float, float] = (1.0, 0.0)
    lacking: str = ""


# ---- what is printed in a paper ------------------------------------------------------------------


def name_of(paper: str, kind: str, number: str) -> str:
    """Of its files: paper_hubert-ee_table1.csv, published_hubert-ee_table1.csv."""
    return f"{paper}_{kind}{number}"


def published(folder: Path | None, name: str) -> pd.DataFrame:
    """published_<name>.csv, numbers as they are printed; no lines where there is no such file.

    Raises: UsageError: see `published.read`.
    """
    path = folder / f"published_{name}.csv" if folder else None
    if path is None or not path.is_file():
        return pd.DataFrame(columns=[*KEYS, "source"])
    # a figure has a number for every depth
    keys = (*KEYS, "depth") if "_figure" in name else KEYS
    return read(path, keys, f"published_{name}.csv")


# ---- as numbers ----------------------------------------------------------------------------------


def numbers(made: Sequence[Made], known: pd.DataFrame) -> pd.DataFrame:
    """Every line of a table: as printed, where it is, then ours, where there are rows.

    Columns of ours: means over seeds; wer and cer with a 95 % interval by speaker (_low, _high) and
    the standard deviation over seeds (_sd); rtf in thousandths where all seeds ran on one device.
    """
    printed = {tuple(line[key] for key in KEYS): line for line in known.to_dict("records")}
    out: list[dict[str, Any]] = []
    for one in made:
        line = one.line
        about = {"group": line.group, "line": line.label, "arm": line.arm}
        if theirs := printed.get(tuple(about.values())):
            told = {name: text for name, text in theirs.items() if name not in KEYS and text}
            out.append({"source": PAPER, **about, **_renamed(told)})
        if one.rows:
            out.append({"source": OURS, **about, "control": line.control, **of_rows(one)})
        if not theirs and not one.rows:
            out.append({"source": NONE, **about})
    table = pd.DataFrame(out)
    return table.astype({name: "Int64" for name in COUNTS if name in table})


def _renamed(told: Mapping[str, str]) -> dict[str, str]:
    return {("published_in" if name == "source" else name): text for name, text in told.items()}


def of_rows(one: Made) -> dict[str, Any]:
    """The numbers of a line."""
    single, first = [row(result) for result in one.rows], one.rows[0]
    out: dict[str, Any] = {name: _only(single, name) for name in ("upstream", "exit", "tuned_on")}
    out |= {name: _mean([line[name] for line in single]) for name in ("value",)}
    out |= {"seeds": len(single), **thresholds(one)}
    for name in ("wer", "cer"):
        over = of_mean(one.rows, name)
        spread = pd.Series([line[name] for line in single]).std(ddof=1)
        ends = (name, f"{name}_low", f"{name}_high")
        out |= dict(zip(ends, (round(x, 4) for x in over), strict=True))
        out[f"{name}_sd"] = None if spread != spread else round(float(spread), 4)
    one_device = len({line["device"] for line in single}) == 1
    for line in single:
        line["rtf"] = 1000 / line["rtfx"] if line["rtfx"] and one_device else None
    out |= {name: _mean([line[name] for line in single]) for name in COSTS}
    out["at_one_depth"] = one.line.adaptive and all(
        sum(n > 0 for n in result.exit_histogram) == 1 for result in one.rows
    )
    kept = ("corpus", "protocol", "n", "device")
    return (
        out
        | {"failed": max(line["failed"] for line in single)}
        | {name: row(first)[name] if name != "device" or one_device else None for name in kept}
    )


def thresholds(one: Made) -> dict[str, float | None]:
    """Of a line that leaves by itself: the mean threshold of its seeds in the publication's unit,
    and as evidence of the upstream."""
    exits = [result.detail.get("exit") or {} for result in one.rows]
    tau = _mean([exit.get("tau") for exit in exits]) if one.line.adaptive else None
    scale, shift = one.unit
    return {"threshold": None if tau is None else float(f"{(tau - shift) / scale:.6g}"), "tau": tau}


def _mean(values: Sequence[float | None]) -> float | None:
    if not values or any(value is None for value in values):
        return None
    return float(f"{sum(values) / len(values):.6g}")


def _only(lines: Sequence[Mapping[str, Any]], name: str) -> str:
    return "; ".join(dict.fromkeys(str(line[name]) for line in lines))


# ---- as it is read -------------------------------------------------------------------------------


def wide(table: pd.DataFrame, of: Table) -> pd.DataFrame:
    """One line a line, text in every cell, columns of two levels: arms or measures above, and
    below whether it is printed there; the index numbers groups of lines.

    Args:
        table: `numbers`.
    """
    lines: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for line in table.astype(object).where(table.notna(), None).to_dict("records"):
        lines.setdefault((line["group"], line["line"]), {}).update(_cells(line, of))
    columns = [("", "group"), ("", of.heading)] if table["group"].any() else [("", of.heading)]
    columns += [("", text) for text in THRESHOLDS.values()]
    columns += [
        _column(arm, measure, source)
        for arm in of.arms
        for measure in of.measures
        for source in (PAPER, OURS)
    ]
    there = {column for cells in lines.values() for column in cells}
    columns = [column for column in columns if column in there or column[1] == of.heading]
    body = [[cells.get(column, NONE) for column in columns] for cells in lines.values()]
    groups = list(dict.fromkeys(group for group, _ in lines))
    index = [groups.index(group) for group, _ in lines]
    return pd.DataFrame(body, index=index, columns=pd.MultiIndex.from_tuples(columns))


def _column(arm: str, measure: str, source: str) -> tuple[str, str]:
    heading = MEASURES[measure][0]
    return (heading, source) if arm == ALL else (arm, f"{heading} {source}")


def _cells(line: Mapping[str, Any], of: Table) -> dict[tuple[str, str], str]:
    source, arm = line["source"], line["arm"]
    out = {("", "group"): line["group"], ("", of.heading): line["line"]}
    if source == OURS:
        for name, text in THRESHOLDS.items():
            if line[name] is not None:
                out["", text] = f"{line[name]:.4g}"
    for measure in of.measures:
        value = line.get(measure)
        if value is not None and source in (PAPER, OURS):
            out[_column(arm, measure, source)] = _text(line, measure)
    return out


def _text(line: Mapping[str, Any], measure: str) -> str:
    value, digits = line[measure], MEASURES[measure][1]
    if isinstance(value, str):
        return value
    text = f"{value:.{digits}f}"
    if measure in INTERVALS:
        text += f" [{line[f'{measure}_low']:.{digits}f}, {line[f'{measure}_high']:.{digits}f}]"
    return text + (AT_ONE if measure == "depth" and line["at_one_depth"] else "")
