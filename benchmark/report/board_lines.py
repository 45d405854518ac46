"""Results as lines of a table, and lines over several seeds."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from ..errors import UsageError
from . import differences
from .curve import Pool
from .result import Result, measured
from .screen import metrics_of
from .trainings_apart import one_or_count, recipe_of

LEADING = [
    "upstream",
    "revision",
    "recipe",
    "tuned_on",
    "answered_by",
    "task",
    "task_version",
    "protocol",
    "corpus",
    "exit",
    "knob",
    "value",
    "rho",
    "test_value",
    "span",
    "seed",
]
COST = [
    "gmacs_per_s",
    "rtfx",
    "params_m",
    "params_all_m",
    "peak_mib",
    "reference",
    "macs_saved",
    "time_saved",
    "time_saved_low",
    "time_saved_high",
    "timed",
    "timed_macs_saved",
]
MEASURED = ["rtfx", "peak_mib", "time_saved", "time_saved_low", "time_saved_high"]
TRAILING = ["n", "failed", "depth", *COST, "device"]
DIGITS = {"peak_mib": 1, "macs_saved": 2, "time_saved": 2, "timed_macs_saved": 2}


def row(result: Result) -> dict[str, Any]:
    """One result as one line. Numbers stay numbers; what does not apply is None."""
    cell, cost = result.cell, asdict(result.cost)
    scores = {m.name: result.scores[m.name] for m in measured(result)}  # in its task's order
    layer_norm = " + layer-norm" if cell.layer_norm and not cell.knob else ""
    custom = f"custom-{cell.settings}"
    line = {
        "upstream": cell.upstream,
        "revision": cell.revision,
        "recipe": recipe_of(result),
        "tuned_on": result.tuned_on,
        "answered_by": result.answered_by,
        "task": cell.task,
        "task_version": cell.task_version,
        "protocol": custom if cell.protocol == "custom" else cell.protocol,
        "corpus": f"{cell.corpus}@{cell.corpus_hash}",
        "exit": cell.exit + layer_norm,
        "knob": cell.knob,
        "value": cell.value,
        "rho": cell.value if cell.knob == "rho" else None,  # what DAISY's users look for
        "test_value": cell.test_value,
        "span": cell.span,
        "seed": None if cell.seed is None else str(cell.seed),
    }
    line |= {name: _rounded(s.mean) for name, s in scores.items()}
    for name, score in scores.items():
        line |= {f"{name}_low": _rounded(score.low), f"{name}_high": _rounded(score.high)}
    line |= {f"{name}_sd": None for name in scores} | dict.fromkeys(differences.COLUMNS)
    return line | {
        "n": min(s.n for s in scores.values()),
        "failed": max(s.failed for s in scores.values()),
        "depth": _rounded(result.depth),
        **{name: _rounded(cost[name], DIGITS.get(name, 4)) for name in COST},
        "device": result.device,
    }


def compared(lines: Sequence[dict[str, Any]], results: Sequence[Result]) -> list[dict[str, Any]]:
    """The lines with their differences to static systems (differences.py); of a line over seeds,
    over those of its seeds that have a line, too.

    Args:
        results: of one task, those of the lines and all that they may be held against.
    """
    pool = Pool(results)
    found: dict[Hashable, dict[str | None, Result]] = {}
    for result in results:
        line = row(result)
        found.setdefault(cell_of(line), {})[line["seed"]] = result
    seeds: dict[Hashable, list[str | None]] = {}
    for line in lines:
        if line["seed"] in found.get(cell_of(line), {}):
            seeds.setdefault(cell_of(line), []).append(line["seed"])
    out = []
    for line in lines:
        cell, seed = cell_of(line), line["seed"]
        rows = [found[cell][s] for s in seeds.get(cell, ()) if s == seed or seed not in found[cell]]
        metric = metrics_of(line)[0]
        out.append(line | (differences.of_cell(rows, pool, metric) if rows else {}))
    return out


def cell_of(line: dict[str, Any]) -> Hashable:
    """What the lines of one cell have in common, whatever their seeds."""
    return tuple(line[k] for k in named_by(line))


def named_by(line: Mapping[str, Any], columns: Sequence[str] = LEADING) -> list[str]:
    """The columns that name a line whatever its seeds; of one recipe, whatever its weights, too."""
    apart = ("seed", "revision") if line["recipe"] else ("seed",)
    return [column for column in columns if column not in apart]


def aggregated(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for every cell that was run with several seeds: the mean over seeds of each metric's
    mean, its standard deviation (n - 1) in <metric>_sd, no interval, the mean of every cost; what
    is measured only where all seeds ran on one device."""
    cells: dict[Hashable, dict[str, dict]] = {}
    for line in lines:
        if line["seed"] is not None:
            cells.setdefault(cell_of(line), {})[line["seed"]] = line
    out = []
    for by_seed in cells.values():
        group, seeds = list(by_seed.values()), sorted(by_seed, key=int)
        if len(seeds) < 2:
            continue
        names = metrics_of(group[0])
        frame = pd.DataFrame(group)
        line = dict(group[0]) | {"seed": f"mean of {len(seeds)}"}
        line["revision"] = one_or_count(one["revision"] for one in group)
        for name in [*names, "depth", *COST]:
            if name != "reference":
                values = pd.to_numeric(frame[name]).dropna()
                line[name] = _rounded(float(values.mean())) if len(values) else None
        for name in names:
            spread = pd.to_numeric(frame[name]).std(ddof=1)
            line |= {
                f"{name}_low": None,
                f"{name}_high": None,
                f"{name}_sd": _rounded(float(spread)),
            }
        if frame["device"].nunique() > 1:
            line |= dict.fromkeys((*MEASURED, "device"))
        line |= {"n": int(frame["n"].min()), "failed": int(frame["failed"].max())}
        out.append(line)
    return out


def against(
    lines: Sequence[dict[str, Any]], reference: str, others: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The lines with their savings against another upstream's full depth on the same corpus, which
    is found among them or `others`.

    Multiply-accumulates and seconds are taken a second of audio. Times of two machines are not
    compared: where the devices differ, time_saved is None.

    Raises: UsageError where no full-depth line of `reference` is among them.
    """
    out = []
    for line in lines:
        if line["gmacs_per_s"] is None:
            out.append(line)
            continue
        full = _full_depth([*lines, *others], reference, line)
        same = line["device"] == full["device"] and line["rtfx"] and full["rtfx"] is not None
        share = line["gmacs_per_s"] / full["gmacs_per_s"] if full["gmacs_per_s"] else None
        out.append(
            line
            | {
                "reference": full["upstream"],
                "macs_saved": None if share is None else _rounded(100 * (1 - share), 2),
                "time_saved": _rounded(100 * (1 - full["rtfx"] / line["rtfx"]), 2)
                if same
                else None,
                "time_saved_low": None,
                "time_saved_high": None,
                "timed_macs_saved": None,
            }
        )
    return out


def _full_depth(
    lines: Sequence[dict[str, Any]], reference: str, like: dict[str, Any]
) -> dict[str, Any]:
    """On the corpus of `like`; of several, one of exactly that name, and one of its device."""
    full = [line for line in lines if line["exit"].startswith("full")]
    found = [
        line
        for line in full
        if line["corpus"] == like["corpus"]
        and (line["upstream"] == reference or line["upstream"].startswith(f"{reference}("))
    ]
    if found:
        exactly = [line for line in found if line["upstream"] == reference] or found
        return next((x for x in exactly if x["device"] == like["device"]), exactly[0])
    known = sorted({line["upstream"] for line in full})
    raise UsageError(
        f"--reference {reference}: there is no full-depth row of it on {like['corpus']} (there "
        f"are: {', '.join(known) or 'none'}); make one with: run_benchmark.py "
        f"--upstream {reference} --task {lines[0]['task']}"
    )


def _rounded(value: Any, digits: int = 4) -> Any:
    return round(value, digits) if isinstance(value, float) else value
