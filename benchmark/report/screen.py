"""A board as a person reads it: on a terminal and in Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from ..config import short_hash
from . import escaping
from .differences import KINDS
from .result import CHOSEN

# by whether upstreams are frozen: labelled data are no compute, so the others stand apart
HEADINGS = {True: "Frozen upstreams", False: "Upstreams tuned on labelled data"}
SAID = {
    "vs_curve": "vs curve: {} minus that of fixed depths mixed to the same multiply-accumulates.",
    "vs_random": "vs random: {} minus that of the same exits dealt out at random, in expectation.",
}


def metrics_of(line: Iterable[str]) -> list[str]:
    """The metrics' names, in the order of a line's columns."""
    return [column.removesuffix("_sd") for column in line if column.endswith("_sd")]


def screen(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns a person compares, as text: metrics with half their interval (or, over seeds,
    their standard deviation), costs with their units in the heading, savings in percent."""
    out = frame[["upstream", "exit", "knob", "value", "span"]].copy()
    for name in ("tuned_on", "answered_by"):  # said where a row is not of the usual kind
        if not frame[name].isin(["", "head"]).all():
            out.insert(1, name, frame[name])
    if any(told := _weights(frame)):
        out.insert(1, "weights", told)
    if frame["seed"].nunique() > 1:
        out["seed"] = frame["seed"]
    for name in metrics_of(frame.columns):
        columns = (frame[f"{name}{end}"].astype(float) for end in ("", "_low", "_high", "_sd"))
        out[name] = [_with_spread(*values) for values in zip(*columns, strict=True)]
    for kind in KINDS:
        if frame[kind].notna().any():
            columns = (frame[kind + end].astype(float) for end in ("", "_low", "_high", "_p"))
            out[kind.replace("_", " ")] = [claim(*v) for v in zip(*columns, strict=True)]
    for name, heading, digits in (
        ("depth", "depth", 2),
        ("gmacs_per_s", "GMAC/s", 2),
        ("rtfx", "RTFx", 0),
        ("params_m", "params (M)", 1),
        ("peak_mib", "peak (MiB)", 0),
    ):
        out[heading] = [number(v, digits) for v in frame[name].astype(float)]
    for name in ("macs_saved", "time_saved"):
        out[name] = [number(v, 1) + (" %" if v == v else "") for v in frame[name].astype(float)]
    out["failed"] = frame["failed"].astype(int).astype(str)
    out["n"] = frame["n"].astype(int).astype(str)
    out["value"] = [_knob(v) for v in frame["value"].astype(float)]
    if frame["test_value"].notna().any():
        follows = ~frame["exit"].str.startswith(CHOSEN)  # its training value, where nothing else
        at_test = frame["test_value"].fillna(frame["value"].where(follows)).astype(float)
        out.insert(list(out).index("value") + 1, "at test", [_knob(v) for v in at_test])
    if frame["note"].notna().any():
        out["note"] = frame["note"]
    return out.fillna("").astype(str).map(escaping.plain)


def _weights(frame: pd.DataFrame) -> list[str]:
    """What tells two models of one name apart, a hash as `compare` prints it; else ""."""
    recipe = frame["recipe"].fillna("")
    model = recipe.where(recipe != "", frame["revision"])
    several = model.groupby(frame["upstream"]).transform("nunique") > 1
    return [short_hash(m)[:6] if many else "" for m, many in zip(model, several, strict=True)]


def notes(frame: pd.DataFrame) -> str:
    """What the differences on a board are, in a line each; "" where it has none."""
    [metric, *_] = metrics_of(frame.columns) or [""]
    said = [SAID[kind].format(metric) for kind in KINDS if frame[kind].notna().any()]
    units = {True: "speakers, then their utterances", False: "utterances (no speakers known)"}
    known = sorted({units[n > 0] for n in frame["speakers"].dropna()}, reverse=True)
    if not said:
        return ""
    how = f"In brackets: 95 % interval by resampling {'; or '.join(known)}; then the p-value."
    return "\n" + "\n".join([*said, how]) + "\n"


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Lines as a terminal shows them, however wide it is."""
    wide = {"width": None, "max_columns": None, "max_colwidth": None}
    options = [part for name, value in wide.items() for part in (f"display.{name}", value)]
    with pd.option_context(*options):
        return screen(pd.DataFrame(lines)).to_string(index=False)


def markdown(frame: pd.DataFrame) -> str:
    """A table whose cells are read as text, whatever is in them."""
    heading, rule = list(frame.columns), ["---"] * len(frame.columns)
    lines = [heading, rule, *frame.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(map(escaping.markdown, line)) + " |" for line in lines)


def _with_spread(mean: float, low: float, high: float, sd: float) -> str:
    half = sd if sd == sd else (high - low) / 2
    return number(mean, 3) + (f" ±{half:.3f}" if half == half and mean == mean else "")


def claim(value: float, low: float, high: float, p: float) -> str:
    if value != value:
        return ""
    value, low, high = (round(one, 3) + 0.0 for one in (value, low, high))  # no -0.000
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}] p {p:.3f}"


def number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value == value else ""


def _knob(value: float) -> str:
    """Two digits, and more where they tell thresholds apart (0.0025, 0.965)."""
    return max(number(value, 2), f"{value:g}", key=len) if value == value else ""
