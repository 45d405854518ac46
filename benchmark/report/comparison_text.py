"""The table of `compare --task` as a person reads it: on a terminal and in Markdown."""

from collections.abc import Sequence

import pandas as pd

from . import escaping, screen
from .comparison import device_of
from .differences import KINDS

PUBLISHED_SEEDS = 3  # of a table that claims something
SHOWN = 2  # metrics; the CSV has all
ALL_DEPTHS, ON_FRONT = "†", "*"


def tables(table: pd.DataFrame, metrics: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """Heading and text of each part: frozen upstreams, and those that have seen labelled data."""
    device, frozen = device_of(table), table["tuned_on"] == ""
    return [
        (screen.HEADINGS[kind], _text(table[frozen == kind], metrics[:SHOWN], device))
        for kind in (True, False)
        if (frozen == kind).any()
    ]


def _text(part: pd.DataFrame, metrics: Sequence[str], device: str) -> pd.DataFrame:
    out = part[["no", "group", "upstream", "exit"]].astype(str)
    out["upstream"] += [f" [{weights}]" if weights else "" for weights in part["weights"]]
    out["upstream"] += [("" if stepped else f" {ALL_DEPTHS}") for stepped in part["stepped"]]
    if (part["tuned_on"] != "").any():
        out["tuned on"] = part["tuned_on"]
    if part["seeds"].nunique() > 1 or part["seeds"].max() > 1:
        out["seeds"] = part["seeds"]
    for name in metrics:
        columns = (part[f"{name}{end}"].astype(float) for end in ("", "_low", "_high"))
        out[name] = [_with_interval(*values) for values in zip(*columns, strict=True)]
    for kind in KINDS:
        columns = (part[kind + end].astype(float) for end in ("", "_low", "_high", "_p"))
        out[kind.replace("_", " ")] = [screen.claim(*v) for v in zip(*columns, strict=True)]
    saved = part["macs_saved"].astype(float)
    rtfx = part["rtfx"].astype(float).where(part["device"] == device)
    out["depth"] = [screen.number(v, 2) for v in part["depth"].astype(float)]
    out["GMAC/s"] = [screen.number(v, 3) for v in part["gmacs_per_s"].astype(float)]
    out["MACs saved"] = [screen.number(v, 1) + (" %" if v == v else "") for v in saved]
    out["RTFx"] = [screen.number(v, 0) for v in rtfx]
    out["params (M)"] = [screen.number(v, 1) for v in part["params_m"].astype(float)]
    out["front"] = [ON_FRONT if on else "" for on in part["front_macs"]]
    empty = [name for name in ("vs curve", "vs random") if not (out[name] != "").any()]
    return out.drop(columns=empty).fillna("").astype(str).map(escaping.plain)


def _with_interval(mean: float, low: float, high: float) -> str:
    text = screen.number(mean, 3)
    return f"{text} [{low:.3f}, {high:.3f}]" if text and low == low else text


def notes(table: pd.DataFrame) -> list[str]:
    """What the columns are and what is not compared, a line each."""
    metric, line = table["metric"].iloc[0], table.iloc[0]
    said = [
        f"{line['task']}, protocol {line['protocol']}, corpus {line['corpus']}; heads read "
        "layer-normed states. In brackets: 95 % interval over test utterances, by speaker.",
    ]
    if curves := list(dict.fromkeys(table["curve_of"].dropna())):
        said.append(
            f"vs curve: {metric} minus that of fixed depths of {' or '.join(curves)} (one's own "
            "backbone where one exits, else the full model with the most fixed depths here) mixed "
            "to the same multiply-accumulates; interval; p-value."
        )
    if table["vs_random"].notna().any():
        said.append(screen.SAID["vs_random"].format(metric))
    said.append("MACs saved: of one's own full depth, nothing tested.")
    said.append(
        f"front {ON_FRONT}: no other line of its table has fewer GMAC/s and at least the same "
        f"{metric} (Pareto), by means alone, whatever their intervals; controls are not asked."
    )
    if curves:
        said.append("Intervals and p-values: each line by itself, not corrected for their number.")
    if (table["seeds"] < PUBLISHED_SEEDS).any():
        said.append(f"Fewer than {PUBLISHED_SEEDS} seeds: a first look, no ranking.")
    once = table[table["trainings"] < table["seeds"]]
    if len(once):
        numbers = ", ".join(map(str, once["no"]))
        said.append(f"No. {numbers} are fewer trainings than seeds: no head, the same weights.")
    if not table["stepped"].all():
        said.append(f"{ALL_DEPTHS} All depths are computed whatever the exit is.")
    return [escaping.plain(sentence) for sentence in (*said, *_of_devices(table))]


def _of_devices(table: pd.DataFrame) -> list[str]:
    device = device_of(table)
    if not device:
        return ["No line was timed, so there is no RTFx."]
    said = [f"RTFx: seconds of audio a second, batch 1, on {device}."]
    others = table[table["rtfx"].notna() & (table["device"] != device)]
    for other, lines in others.groupby("device"):
        numbers = ", ".join(map(str, lines["no"]))
        said.append(
            f"No. {numbers} were timed on another device ({other}); their RTFx is left out, since "
            "seconds of two machines are not compared."
        )
    return said
