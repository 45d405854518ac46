"""DAISY's Table 1 from rows, the published numbers beside it. Pure functions of rows and files.

`lines` is the table as numbers, one line a row and task; `wide` is the table that is read, one line
a row, tasks side by side; `caption` says what is compared with what.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..calibration import SPANS
from ..contract import Metric
from .board_lines import aggregated, cell_of, compared, row
from .differences import NO_TEST
from .published import read
from .result import Result, slug
from .screen import metrics_of

OURS, PAPER = "ours", "paper"
NONE = "--"  # a cell without a number
ONE_DEPTH, SURE = "†", "*"
VERSUS = {"vs_curve": "minus fixed exits", "vs_random": "minus random exits"}
SAVED = {"time_saved": "time saved %", "macs_saved": "MACs saved %"}
LEFT = ("source", "upstream", "exit", "rho", "span")
APART = ("revision", "knob", "value", "test_value")  # further columns in which rows may differ
SHORT = {"si_sdr_improvement": "SI-SDRi", "accuracy": "ACC"}  # as the paper heads its columns


def published(folder: Path, tasks: Iterable[str]) -> dict[str, pd.DataFrame]:
    """published_<task>.csv of a folder, for the tasks that have one; numbers as they are printed.

    Raises: UsageError: see `published.read`.
    """
    paths = {task: folder / f"published_{slug(task)}.csv" for task in tasks}
    keys = ("upstream", "exit", "rho", "span")
    return {
        task: read(path, keys, "published_se.csv") for task, path in paths.items() if path.is_file()
    }


def lines(
    results: Mapping[str, Sequence[Result]], known: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """The table as numbers: what a board has of each row, and before that its `source`.

    A row that was made with several seeds is one line: means over seeds, standard deviations in
    <metric>_sd. Adaptive rows are held against fixed exits and random ones (differences.py).

    Args:
        results: by task, each of one corpus and recipe.
        known: `published`.
    """
    out: list[dict[str, Any]] = []
    for task, of in results.items():
        single = [row(result) for result in of]
        both = aggregated(single)
        together = {cell_of(line) for line in both}
        # a line over seeds is compared over those of them that are there, too
        told = compared(both + single, of)
        shown = told[: len(both)] + [line for line in told if cell_of(line) not in together]
        ours = [{"source": OURS, **line} for line in shown]
        names = metrics_of(ours[0]) if ours else []
        theirs = [_theirs(line, task, names) for line in _dicts(known.get(task))]
        out += sorted(ours + theirs, key=_place)
    return pd.DataFrame(out)


def _dicts(frame: pd.DataFrame | None) -> list[dict[str, str]]:
    return [] if frame is None else frame.to_dict("records")


def _theirs(line: Mapping[str, str], task: str, metrics: Sequence[str]) -> dict[str, Any]:
    """A published line with the columns of ours, numbers with as many digits as are printed."""
    numbers = {name: line[name] for name in (*metrics, *SAVED) if line.get(name)}
    about = {"upstream": line["upstream"], "exit": line["exit"], "task": task}
    if line["rho"]:
        about |= {"knob": "rho", "rho": float(line["rho"]), "span": line["span"]}
    return {"source": PAPER, **about, **numbers, "published_in": line["source"]}


def _place(line: Mapping[str, Any]) -> tuple:
    """Where a line stands: DAISY's rows as in the paper, fixed depths, full depth, controls; a
    published line under the one it is to be held against. No two rows of a task stand in one.
    """
    exit, value = line["exit"], line.get("rho") or line.get("value") or 0.0
    at_test = value if line.get("test_value") is None else line["test_value"]
    if exit.startswith("adaptive"):
        group = 0
    elif exit.startswith("depth"):
        group = 1
    elif exit.startswith("full"):
        group = 2
    else:
        group = {"random": 3, "oracle": 4, "unprocessed": 6}.get(exit, 5)
    depth = int(exit.split()[1]) if group == 1 else 0
    span = SPANS.index(line["span"]) if line.get("span") in SPANS else len(SPANS)
    apart = tuple(str(line.get(name)) for name in APART)
    return group, depth, -value, -at_test, span, line["source"], line["upstream"], exit, apart


# ---- the table that is read ----------------------------------------------------------------------


def wide(table: pd.DataFrame, shown: Mapping[str, Sequence[Metric]]) -> pd.DataFrame:
    """One line a row, text in every cell, columns (task, what); the index numbers groups of rows.

    A metric of ours is its mean ± standard deviation over seeds, or ± half its 95 % interval where
    there is one seed; of a paper it is as printed there.

    Args:
        table: `lines`.
        shown: by task, the metrics that have a column.
    """
    rows: dict[tuple, dict[tuple[str, str], str]] = {}
    columns = [("", name) for name in _left_of(table, LEFT)]
    for task, metrics in shown.items():
        columns += [(task.upper(), heading(metric)) for metric in metrics]
        columns += [(task.upper(), text) for text in SAVED.values()]
    for line in table.to_dict("records"):
        line = {k: None if v != v else v for k, v in line.items()}
        cells = rows.setdefault(_place(line), _left(line))
        task = line["task"]
        for n, metric in enumerate(shown[task]):
            mark = ONE_DEPTH if n == 0 and line.get("note") == NO_TEST else ""
            text = _value(line, metric.name, _digits(metric))
            cells[task.upper(), heading(metric)] = text + mark
        for name, text in SAVED.items():
            cells[task.upper(), text] = _number(line.get(name), 1)
    ordered = sorted(rows.items())
    body = [[cells.get(column, NONE) for column in columns] for _, cells in ordered]
    groups = [place[0] for place, _ in ordered]
    return pd.DataFrame(body, index=groups, columns=pd.MultiIndex.from_tuples(columns))


def _left_of(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Columns that name a row; those of another knob, of its value at test and of the weights'
    revision where rows differ in them.
    """
    known = table.reindex(columns=["rho", "value", "test_value"]).notna()
    there = {"knob": known["value"] & ~known["rho"], "at test": known["test_value"]}
    if "revision" in table:
        there["revision"] = table.groupby(["task", "upstream"])["revision"].nunique() > 1
    return [*names, *(name for name, of in there.items() if of.any())]


def _left(line: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    rho, knob, at_test = line.get("rho"), line.get("knob"), line.get("test_value")
    told = {
        "source": line["source"],
        "upstream": line["upstream"],
        "exit": line["exit"],
        "rho": "" if rho is None else f"{rho:.2f}",
        "span": line.get("span") or "",
        "knob": f"{knob} {line['value']:g}" if knob and rho is None else "",
        "at test": "" if at_test is None else f"{at_test:g}",
        "revision": line.get("revision") or "",
    }
    return {("", name): text for name, text in told.items()}


def _digits(metric: Metric) -> int:
    return 2 if metric.unit in ("%", "dB") else 3


def heading(metric: Metric) -> str:
    """WER % ↓, PESQ ↑"""
    short = metric.name.upper() if len(metric.name) <= 4 else metric.name
    unit = f" {metric.unit}" if metric.unit in ("%", "dB") else ""
    return f"{SHORT.get(metric.name, short)}{unit} {'↑' if metric.higher_is_better else '↓'}"


def _value(line: Mapping[str, Any], name: str, digits: int) -> str:
    low, high, spread = (line.get(f"{name}_{end}") for end in ("low", "high", "sd"))
    if spread is None and low is not None:
        spread = (high - low) / 2
    tail = "" if spread is None or line.get(name) is None else f" ±{spread:.{digits}f}"
    return _number(line.get(name), digits) + tail


def _number(value: float | str | None, digits: int) -> str:
    """Of a publication's text, that text."""
    if value is None or isinstance(value, str):
        return value or NONE
    return f"{value:.{digits}f}"


def against(table: pd.DataFrame, shown: Mapping[str, Sequence[Metric]]) -> pd.DataFrame:
    """Adaptive rows against static systems, in the first metric of each task: text as in `wide`,
    "difference [95 % interval]", with SURE where the interval excludes zero.

    Args:
        table: `lines`.
    """
    columns = [("", name) for name in _left_of(table, ("upstream", "rho", "span"))]
    columns += [(task.upper(), text) for task in shown for text in VERSUS.values()]
    rows: dict[tuple, dict[tuple[str, str], str]] = {}
    for line in table[(table["source"] == OURS) & (table["exit"] == "adaptive")].to_dict("records"):
        line = {k: None if v != v else v for k, v in line.items()}
        cells = rows.setdefault(_place(line), _left(line))
        digits = _digits(shown[line["task"]][0])
        for name, text in VERSUS.items():
            cells[line["task"].upper(), text] = _difference(line, name, digits)
    body = [[cells.get(column, NONE) for column in columns] for _, cells in sorted(rows.items())]
    return pd.DataFrame(body, columns=pd.MultiIndex.from_tuples(columns))


def _difference(line: Mapping[str, Any], name: str, digits: int) -> str:
    if line["note"] == NO_TEST:
        return ONE_DEPTH
    value, low, high = (line[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return NONE
    sure = SURE if low > 0 or high < 0 else ""
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]{sure}"


def caption(table: pd.DataFrame) -> str:
    """What the lines are, and what must not be compared, in plain sentences."""
    ours, paper = (table[table["source"] == source] for source in (OURS, PAPER))
    said = ["DAISY's Table 1 (Lin, Lee and Tang, 2024)."]
    for task, of in ours.groupby("task", sort=False):
        said.append(f"{task.upper()}: {_made(of)}.")
    said.append("Ours: mean ± standard deviation over seeds, or half the 95 % interval of one.")
    if len(paper):
        sources = ", ".join(sorted(set(paper["published_in"])))
        said.append(f"Paper: HuBERT Base on the corpora of SUPERB, copied from {sources}.")
    if (ours["corpus"].str.startswith("mini@") | (ours["protocol"] == "mini")).any():
        said.append(
            "Ours is a small model on small built-in corpora: a number of ours and one of the "
            "paper are not comparable, each is to be read against its own full-depth row."
        )
    devices = " and ".join(sorted(set(ours["device"].dropna())))
    said.append(
        "Savings are against the row's own backbone at full depth; multiply-accumulates count "
        f"front-end and tested branches; time was measured on: {devices or 'no one machine'}."
    )
    if (ours["note"] == NO_TEST).any():
        said.append(f"{ONE_DEPTH}: the span holds one depth, so nothing is tested.")
    said.append(f"{NONE}: does not apply, is not published, or could not be made (an empty span).")
    return " ".join(said)


def explained() -> str:
    """What the differences of `against` are."""
    return (
        "What adaptivity is worth, in the first metric of each task (of an error rate, less is "
        "better): the rows above minus fixed exits of the same backbone at equal "
        "multiply-accumulates (between two depths, a mixture of them), and minus the same exits "
        "dealt out at random, in exact expectation. Mean over seeds, 95 % interval clustered by "
        f"speaker; {SURE}: it excludes zero, each row by itself; {ONE_DEPTH}: one depth, nothing "
        f"is tested; {NONE}: beyond the fixed exits that there are, or no such rows."
    )


def _made(of: pd.DataFrame) -> str:
    first = of.iloc[0]
    seeds = sorted({str(seed).replace("mean of", "seeds:") for seed in of["seed"].dropna()})
    return (
        f"protocol {first['protocol']} on {first['corpus']}, {int(of['n'].max())} test utterances, "
        f"{', '.join(s if s.startswith('seeds') else f'seed {s}' for s in seeds)}"
    )
