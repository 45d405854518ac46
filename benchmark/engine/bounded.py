"""Rows with a bounded loss: the cheapest exit that the dev split lets pass, once heads are trained.

Settings are tried from never exiting towards earlier: full depth first, then thresholds at even
steps of the training split's mean exit depth, so that neither dev nor test has a say in what is
tried or in which order, as Learn then Test asks (benchmark/risk.py).
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from .. import calibration, risk
from ..exiting import Exit, leaving, replay, within
from .anytime import most_lost
from .evaluation import Bound, Evaluation
from .experiment import Row
from .scoring import by_utterance, loss
from .workers import Worker

STEPS = 50  # thresholds tried, at most
Losses = list[list[float | None]]  # of one utterance: for every row and setting


def bounded(ev: Evaluation, workers: Sequence[Worker]) -> Evaluation:
    """The evaluation with the exits of its bounded rows, as the dev split allows them."""
    rows = bounded_rows(ev)
    if not rows:
        return ev
    bounds = dict(zip(rows, _bounds(ev, rows, _shared(ev, workers)), strict=True))
    for row, bound in bounds.items():
        if said := notice(ev, row, bound):
            print(f"notice: {said}", file=sys.stderr)
    exits = {row: bounds[row].exit if row in bounds else exit for row, exit in ev.exits.items()}
    return replace(ev, exits=exits, bounds=bounds)


def bounded_rows(ev: Evaluation) -> list[Row]:
    return [row for row in ev.exits if row.max_loss is not None]


def settings(ev: Evaluation, row: Row) -> list[Exit]:
    """What is tried after full depth, in this order."""
    upstream, evidence = ev.experiment.upstream, ev.features["train"].evidence
    trained = ev.calibrated[row.cell.value]
    span = calibration.span(row.cell.span, trained.exits, leaving(upstream))
    never = within(upstream, span, -np.inf, trained.patience)
    taus = calibration.ladder(evidence, never, upstream.exits, STEPS)
    tried = [replace(never, tau=tau) for tau in taus]
    return tried if span[-1] < upstream.card.depth else [exit for exit in tried if exit != never]


def _shared(ev: Evaluation, workers: Sequence[Worker]) -> list[Losses]:
    """The losses of all dev utterances, the workers a share each."""
    shares, everybody = len(workers) + 1, range(len(ev.experiment.splits["dev"]))
    for share, worker in enumerate(workers, 1):
        worker.ask(dev_losses, everybody[share::shares])
    found: list[Losses] = [[]] * len(everybody)
    found[::shares] = dev_losses(ev, everybody[::shares])
    for share, worker in enumerate(workers, 1):
        found[share::shares] = worker.answer() or dev_losses(ev, everybody[share::shares])
    return found


def dev_losses(ev: Evaluation, utterances: Sequence[int]) -> list[Losses]:
    """Of some dev utterances, by their numbers."""
    from tqdm import tqdm

    exp, rows, evidence = ev.experiment, bounded_rows(ev), ev.features["dev"].evidence
    depths = [
        [replay(evidence, exit, exp.upstream.exits) for exit in settings(ev, row)] for row in rows
    ]
    scorer, out = by_utterance(ev, "dev", rows), []
    for i in tqdm(utterances, desc="scoring dev", file=sys.stderr, unit="utt", mininterval=1):
        scored = scorer(i)
        out.append(
            [
                [loss(exp, scored, row, int(left[i])) for left in of_row]
                for row, of_row in zip(rows, depths, strict=True)
            ]
        )
    return out


def _bounds(ev: Evaluation, rows: Sequence[Row], lost: Sequence[Losses]) -> list[Bound]:
    metric, asked = ev.experiment.task.metrics[0], ev.experiment.config.anytime
    most, bounds = most_lost(asked, metric), []
    for number, row in enumerate(rows):
        assert row.max_loss is not None
        tried, of_row = settings(ev, row), [utterance[number] for utterance in lost]
        # (n, settings): where full depth has no score, no setting has a loss
        known = [u for u in of_row if None not in u]
        losses = np.array(known, dtype=float).reshape(len(known), len(tried)) / most
        share = row.max_loss / most
        p = risk.passed((risk.p_value(column, share) for column in losses.T), asked.delta)
        means = most * losses.mean(0) if len(losses) else np.full(len(tried), np.nan)
        last, stopped = len(p) - 1, len(known) > 0 and len(p) < len(tried)
        bounds.append(
            Bound(
                exit=tried[last] if p else Exit((ev.experiment.upstream.card.depth,)),
                risk=float(means[last]) if p else 0.0,
                p_value=p[last] if p else None,
                n=len(known),
                left_out=len(of_row) - len(known),
                passed=len(p),
                tried=len(tried),
                fewest=risk.fewest(share, asked.delta),
                stopped_at=float(means[len(p)]) if stopped else None,
            )
        )
    return bounds


def notice(ev: Evaluation, row: Row, bound: Bound) -> str:
    """A sentence where nothing may exit; else ""."""
    if bound.passed:
        return ""
    unit = ev.experiment.task.metrics[0].unit.split(",")[0]
    who = f"{row.cell.upstream} {row.cell.knob} {row.cell.value:g}, {row.cell.exit}: never exits"
    if not bound.tried:
        return f"{who}, since its span is full depth alone"
    if bound.n < bound.fewest:
        return (
            f"{who}, since {bound.n} dev utterances are too few to tell; without any loss on dev "
            f"it takes {bound.fewest}"
        )
    return (
        f"{who}, since the first threshold tried already loses {bound.stopped_at:.3g} {unit} "
        f"on dev ({bound.n} utterances)"
    )


def detail(ev: Evaluation, row: Row, utterances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a bounded row says of its bound, and whether it held on the test utterances."""
    metric, asked, bound = (
        ev.experiment.task.metrics[0],
        ev.experiment.config.anytime,
        ev.bounds[row],
    )
    lost = [u["loss"] for u in utterances if u["loss"] is not None]
    at_test = float(np.mean(lost)) if lost else None
    assert row.max_loss is not None
    return {
        "metric": metric.name,
        "unit": metric.unit,
        "bound": row.max_loss,
        "delta": asked.delta,
        "largest_loss": most_lost(asked, metric),
        "split": "dev",
        **{name: value for name, value in asdict(bound).items() if name != "exit"},
        "test_risk": at_test,
        "test_n": len(lost),
        "held": None if at_test is None else at_test <= row.max_loss,
        "notice": notice(ev, row, bound),
    }
