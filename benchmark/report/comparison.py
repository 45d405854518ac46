"""All systems on one task as one table: `compare --task`.

A system's group says what makes it cheaper: exits of its own, less of the model than all of it, or
another model. Controls are no systems: they stand last and on no front.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from ..config import short_hash
from ..contract import Metric
from ..registry import untrained
from . import differences
from .board_lines import aggregated, cell_of, row
from .curve import FIXED, Pool, adaptive, point
from .interval import of_mean
from .result import Result, measured
from .trainings_apart import recipe_of, trainings_apart

CONTROLS = "controls"
# in this order; others follow, then controls
GROUPS = ("adaptive", "static", "distilled", "downsampled", "pruned")
NO_SYSTEM = ("unprocessed", "random", "oracle")  # exits that nobody could run
FRONTS = {"front_macs": ("gmacs_per_s", False), "front_rtfx": ("rtfx", True)}
SIZES = ("dim", "stride")  # of a state, and samples between two; rows of before do not say them
COSTS = ("depth", "gmacs_per_s", "macs_saved", "rtfx", "params_m", "params_all_m", "peak_mib")


class Reference(NamedTuple):
    """What models that do not exit by themselves are held against.

    Attributes:
        name: of the upstream; "" = there is none.
        revisions: its weights by seed; two files of one name are two models.
        curves: the upstreams that have several fixed depths.
    """

    name: str
    revisions: Mapping[int | None, str]
    curves: frozenset[str] = frozenset()


def frame(results: Sequence[Result]) -> pd.DataFrame:
    """A line for each cell, over its seeds: frozen upstreams first, then by group and cost.

    Columns: no (from 1, as the picture has it), group, kind, stepped, SIZES, tuned_on, upstream,
    weights (a short hash where two models have one name), model (the recipe of its training, or its
    revision), exit, knob, value, span, seeds, trainings (of what answers; of a head one a seed),
    metric, unit, higher_is_better (of the metric that ranks), every metric with its interval
    (<name>_low, _high), the columns of differences.py, COSTS, device, front_macs and front_rtfx
    (whether no other line of its part, frozen or tuned, is cheaper and at least as good), n,
    failed, task, protocol, corpus.

    Args:
        results: of one task, recipe and corpus.
    """
    cells: dict[Hashable, list[Result]] = {}
    results = trainings_apart(results)
    for result in results:
        cells.setdefault(cell_of(row(result)), []).append(result)
    pool, metrics = Pool(results), measured(results[0])
    references = {
        part: _reference([result for result in results if result.tuned_on == part])
        for part in dict.fromkeys(result.tuned_on for result in results)
    }
    lines = [_line(of, metrics, pool, references[of[0].tuned_on]) for of in cells.values()]
    lines.sort(key=_place)
    out = pd.DataFrame(lines)
    out["weights"] = _weights(lines)
    for column, (cost, more_is_better) in FRONTS.items():
        out[column] = _fronts(out, cost, more_is_better)
    out.insert(0, "no", range(1, len(out) + 1))
    return out


def group_of(result: Result) -> str:
    """One of GROUPS, CONTROLS, or a kind that a plug-in has named."""
    if result.cell.exit in NO_SYSTEM or untrained(result.cell.revision):
        return CONTROLS
    return "adaptive" if adaptive(result) else str(result.detail.get("kind") or "static")


def device_of(table: pd.DataFrame) -> str:
    """The device on which most lines were timed; only those are compared in seconds."""
    timed = table.loc[table["rtfx"].notna(), "device"].dropna()
    return Counter(timed).most_common(1)[0][0] if len(timed) else ""


def _place(line: Mapping[str, Any]) -> tuple:
    group, gmacs = line["group"], line["gmacs_per_s"]
    at = GROUPS.index(group) if group in GROUPS else len(GROUPS) + (group == CONTROLS)
    cost = -1.0 if gmacs is None else gmacs
    return line["tuned_on"], at, group, line["upstream"], cost, line["exit"]


def _weights(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What tells two models of one name apart, of which only the files differ; else ""."""
    known: dict[str, set[str]] = {}
    for line in lines:
        known.setdefault(line["upstream"], set()).add(line["model"])
    return [
        short_hash(line["model"])[:6] if len(known[line["upstream"]]) > 1 else "" for line in lines
    ]


# ---- a line --------------------------------------------------------------------------------------


def _line(
    rows: Sequence[Result], metrics: Sequence[Metric], pool: Pool, reference: Reference
) -> dict[str, Any]:
    single = [row(result) for result in rows]
    line, first = (aggregated(single) or single)[0], rows[0]
    answers = first.answered_by == "upstream"
    out = {
        "group": group_of(first),
        "kind": first.detail.get("kind", ""),
        "stepped": first.detail.get("stepped", True),
        **{name: first.detail.get(name) for name in SIZES},
        "tuned_on": first.tuned_on,
        "upstream": first.cell.upstream,
        "model": recipe_of(first) or first.cell.revision,
        "exit": _exit(first),
        **{name: line[name] for name in ("knob", "value", "span")},
        "seeds": len(rows),
        "trainings": len({one.cell.revision if answers else one.cell.seed for one in rows}),
        "metric": metrics[0].name,
        "unit": metrics[0].unit,
        "higher_is_better": metrics[0].higher_is_better,
    }
    for metric in metrics:
        out |= _scored(rows, line, metric.name)
    told = differences.of_cell(rows, pool, metrics[0].name)
    told["curve_of"] = first.cost.reference if told["curve"] else None
    other = reference.name not in ("", first.cell.upstream)
    # a system that answers at exits of its own is no rival of another one's
    own = answers and first.cell.upstream in reference.curves
    if out["group"] not in ("adaptive", CONTROLS) and other and not own:
        told |= _from_reference(rows, reference, pool, metrics[0].name)
    kept = ("device", "n", "failed", "task", "protocol", "corpus")
    return out | told | {name: line[name] for name in (*COSTS, *kept)}


def _exit(result: Result) -> str:
    """ "rho 0.7, mean", "depth 6", "random exits, rho 0.7, mean"."""
    cell = result.cell
    if cell.knob is None or cell.value is None:
        return cell.exit
    at = f"{cell.knob} {cell.value:g}, {cell.span}"
    at += "" if cell.test_value is None else f", {cell.test_value:g} at test"
    return {"adaptive": at, "random": f"random exits, {at}"}.get(cell.exit, f"{cell.exit}, {at}")


def _scored(rows: Sequence[Result], line: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A metric with its interval, over the test utterances whatever the number of seeds."""
    ends = (name, f"{name}_low", f"{name}_high")
    if len(rows) == 1:
        return {end: line[end] for end in ends}
    if any(one.scores[name].mean is None for one in rows):  # nothing scored there
        return dict.fromkeys(ends)
    return dict(zip(ends, (round(x, 4) for x in of_mean(rows, name)), strict=True))


# ---- what a line is held against -----------------------------------------------------------------


def _reference(results: Sequence[Result]) -> Reference:
    """The backbone with the most fixed depths, the first of several."""
    fixed = dict.fromkeys(
        (result.cell.upstream, result.cell.revision, result.cell.seed, result.cell.exit)
        for result in results
        if FIXED.fullmatch(result.cell.exit) and group_of(result) == "static"
    )
    counted = Counter(of[:3] for of in fixed).most_common()
    if not counted or counted[0][1] < 2:
        return Reference("", {})
    name, revisions = counted[0][0][0], {}
    for (upstream, revision, seed), _ in counted:
        if upstream == name:
            revisions.setdefault(seed, revision)
    curves = frozenset(upstream for (upstream, *_), count in counted if count > 1)
    return Reference(name, revisions, curves)


def _from_reference(
    rows: Sequence[Result], reference: Reference, pool: Pool, metric: str
) -> dict[str, Any]:
    """A line without exits of its own minus the reference's fixed depths at the same cost."""
    fixed = [
        one
        for one in pool.results
        if one.cell.upstream == reference.name
        and one.cell.revision == reference.revisions.get(one.cell.seed)
        and FIXED.fullmatch(one.cell.exit)
        and one.cell.layer_norm is not False
        and one.tuned_on == rows[0].tuned_on
    ]
    points = []
    for of in rows:
        curve, gmacs = [one for one in fixed if one.cell.seed == of.cell.seed], of.cost.gmacs_per_s
        points.append(None if gmacs is None else point(curve, gmacs))
    found = differences.from_curve(rows, points, metric)
    return found | ({"curve_of": reference.name} if found else {})


# ---- the front -----------------------------------------------------------------------------------


def _fronts(table: pd.DataFrame, cost: str, more_is_better: bool) -> list[bool]:
    """Of frozen and of tuned upstreams apart: the labelled data of the latter are no compute."""
    found, metric = pd.Series(False, index=table.index), table["metric"][0]
    usable = (table["group"] != CONTROLS) & table[cost].notna() & table[metric].notna()
    if cost == "rtfx":
        usable &= table["device"] == device_of(table)
    better = 1 if table["higher_is_better"][0] else -1
    for _, part in table[usable].groupby(table["tuned_on"] == ""):
        spent = (-1 if more_is_better else 1) * part[cost].astype(float)
        found[part.index] = front(spent.tolist(), (better * part[metric].astype(float)).tolist())
    return found.tolist()


def front(costs: Sequence[float], values: Sequence[float]) -> list[bool]:
    """Which points nobody beats: none costs less and is at least as good, or is better and costs no
    more (Pareto). Less cost and more value is better."""
    pairs = list(zip(costs, values, strict=True))
    return [
        not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in pairs)
        for cost, value in pairs
    ]
