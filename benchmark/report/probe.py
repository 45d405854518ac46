"""What every depth holds by itself, a model beside a control that learned less, from rows."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..contract import Metric
from . import paired
from .board_lines import row
from .interval import of_mean
from .result import Result


def lines(model: Sequence[Result], control: Sequence[Result], metric: Metric) -> pd.DataFrame:
    """A line for each depth that both have rows of.

    Columns: task, upstream, revision, protocol, corpus, depth, metric, unit, higher_is_better, then
    in the metric's unit model, model_low, model_high, control, control_low, control_high,
    difference (model minus control), low, high, with p and n, speakers, seeds: see
    `paired.Difference`. `against` is the control's upstream, `beats` says whether the interval of
    the difference lies wholly on the better side of zero.

    Args:
        model, control: probe rows (exit "depth k alone") of one task, of any seeds.
    """
    at_control = _by_depth(control)
    told = [
        _line(depth, of, at_control[depth], metric)
        for depth, of in _by_depth(model).items()
        if depth in at_control
    ]
    return pd.DataFrame(sorted(told, key=lambda line: line["depth"]))


def _by_depth(results: Sequence[Result]) -> dict[int, list[Result]]:
    found: dict[int, list[Result]] = {}
    for result in results:
        found.setdefault(int(result.cell.exit.split()[1]), []).append(result)
    return found


def _line(
    depth: int, model: Sequence[Result], control: Sequence[Result], metric: Metric
) -> dict[str, Any]:
    apart = paired.difference(model, control, metric.name)
    ours, theirs = of_mean(model, metric.name), of_mean(control, metric.name)
    known = row(model[0])
    return {
        **{key: known[key] for key in ("task", "upstream", "revision", "protocol", "corpus")},
        "against": control[0].cell.upstream,
        "depth": depth,
        "metric": metric.name,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        **{"model": ours.mean, "model_low": ours.low, "model_high": ours.high},
        **{"control": theirs.mean, "control_low": theirs.low, "control_high": theirs.high},
        **{"difference": apart.value, "low": apart.low, "high": apart.high, "p": apart.p},
        **{"n": apart.n, "speakers": apart.speakers, "seeds": apart.seeds},
        "beats": bool(apart.low > 0 if metric.higher_is_better else apart.high < 0),
    }


def text(table: pd.DataFrame) -> str:
    """The table of one task as a terminal shows it, and in a sentence what it says."""
    first = table.iloc[0]
    digits = 2 if first["unit"] in ("%", "dB") else 3

    def number(*names: str, sign: str = "") -> list[str]:
        """mean [low, high]"""
        rows = zip(*(table[name] for name in names), strict=True)
        form = f"{sign}.{digits}f"
        return [f"{a:{form}} [{b:{form}}, {c:{form}}]" for a, b, c in rows]

    shown = pd.DataFrame(
        {
            "depth": table["depth"],
            first["metric"]: number("model", "model_low", "model_high"),
            "control": number("control", "control_low", "control_high"),
            "difference": number("difference", "low", "high", sign="+"),
            "p": [f"{p:.3f}" for p in table["p"]],
        }
    )
    unit = f", {first['unit']}" if first["unit"] else ""
    better = "higher" if first["higher_is_better"] else "lower"
    head = (
        f"{first['task']}: {first['upstream']}, one depth at a time, {first['metric']}{unit} "
        f"({better} is better), protocol {first['protocol']}, {first['seeds']} seeds, {first['n']} "
        f"utterances of {first['speakers'] or 'unknown'} speakers"
    )
    beats, not_ = (table.loc[table["beats"] == x, "depth"].tolist() for x in (True, False))
    said = (
        f"better than {first['against']} (95 %, each depth by itself) at depths "
        f"{_listed(beats)}; not at {_listed(not_)}"
    )
    return f"{head}\n{shown.to_string(index=False)}\n{said}"


def _listed(depths: Sequence[int]) -> str:
    return ", ".join(map(str, depths)) or "none"
