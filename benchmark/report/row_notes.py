"""Rows in words: where their utterances left, what a threshold was chosen for, and one that decides
nothing.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from .curve import adaptive
from .result import Result
from .screen import number

BARS = "▁▂▃▄▅▆▇█"


def histogram(result: Result) -> str:
    """Where the utterances of a row left, in one line."""
    return f"exits by depth, {_named(result)}: {_bars(result)}"


def one_sided(results: Sequence[Result]) -> list[str]:
    """A sentence for every row whose threshold never or always fires, though it is tested at
    several depths: with where all left, and evidence on the training split where a row tells it.
    """
    means = {
        result.cell.upstream: _means(result)
        for result in reversed(results)
        if adaptive(result) and _means(result)
    }
    found = []
    for result in results:
        exit = result.detail.get("exit") or {}
        depths, left = exit.get("depths", ()), [k for k, n in enumerate(result.exit_histogram) if n]
        tested_all = result.cell.span in (None, "all")
        if not (adaptive(result) and tested_all and len(depths) > 2 and len(left) == 1):
            continue
        [at] = left
        if at == depths[-1]:
            what = "never fires: every utterance runs to the end"
        elif at == _soonest(exit, depths):
            what = "always fires: every utterance leaves as soon as it may"
        else:
            continue
        told = means.get(result.cell.upstream, "")
        beside = f"; mean evidence on the training split: {told}" if told else ""
        found.append(f"{_named(result)}: its threshold {what} ({_bars(result)}){beside}")
    return found


def _soonest(exit: Mapping[str, Any], depths: Sequence[int]) -> int:
    """The first depth where a threshold can fire. Where exits are compared, the first one has none
    to agree with."""
    [tau, *_] = exit["tau"] if isinstance(exit["tau"], Sequence) else [exit["tau"]]
    alone = bool(exit.get("compares_exits")) and tau <= 1
    return depths[min(exit.get("patience", 1) - 1 + alone, len(depths) - 1)]


def warn(results: Sequence[Result]) -> None:
    """Say on stderr which thresholds decide nothing."""
    for sentence in one_sided(results):
        print(f"warning: {sentence}", file=sys.stderr)


def chosen(result: Result) -> str:
    """What a test threshold was chosen for, and what came of it; "" where it follows the knob."""
    budget, loss = result.detail.get("budget"), result.detail.get("max_loss")
    if not (budget or loss):
        return ""
    cell, tau = result.cell, (result.detail.get("exit") or {}).get("tau")
    at = f"tau {tau:.4g}, " if isinstance(tau, float | int) else "no threshold, "
    who = f"{cell.upstream} {cell.knob} {cell.value:g} {cell.span}, {cell.exit}: {at}"
    if budget:
        return (
            f"{who}saves {budget['saved']:.1f} % of the training split's multiply-accumulates, "
            f"{result.cost.macs_saved:.1f} % of the test split's"
        )
    on_test = "" if loss["test_risk"] is None else f"{loss['test_risk']:.3g} on test: "
    held = {True: "it holds", False: "it does not hold", None: "nothing could be scored"}
    return (
        f"{who}loses {loss['risk']:.3g} {loss['unit'].split(',')[0]} on dev ({loss['n']} "
        f"utterances), {on_test}{held[loss['held']]}"
    )


def _named(result: Result) -> str:
    cell = result.cell
    if cell.knob is None or cell.value is None:
        return f"{cell.upstream} {cell.exit}"
    control = "" if cell.exit == "adaptive" else f"{cell.exit} "
    at_test = "" if cell.test_value is None else f" at test {cell.test_value:g}"
    return f"{control}{cell.upstream} {cell.knob} {cell.value:g}{at_test} {cell.span}"


def _bars(result: Result) -> str:
    counts = list(result.exit_histogram)
    most = max(counts)
    return "  ".join(f"{k}:{n}{BARS[round(7 * n / most)]}" for k, n in enumerate(counts) if n)


def _means(result: Result) -> str:
    """Of a row that was calibrated: the mean evidence of each exit."""
    known = result.detail.get("calibration") or {}
    exits, means = known.get("exits"), known.get("depth_means", ())
    exits = exits or range(1, len(means) + 1)
    return ", ".join(f"{number(v, 4)} at {k}" for k, v in zip(exits, means, strict=False))
