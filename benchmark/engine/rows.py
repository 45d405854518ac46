"""Where a row is made and saved: its scores, its cost, and all that it was made of."""

import math
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from ..contract import Item
from ..exiting import Exit, leaving, replay
from ..metrics import Failure, Ratio
from ..report.provenance import git_commit, versions
from ..report.result import Cost, Result, Score
from . import bounded, controls, cost
from .anytime import saved
from .evaluation import Evaluation
from .experiment import Experiment, Row
from .parameters import Parameters
from .scoring import about, chosen, depths_at_test, load_head
from .timing import machine


def unprocessed(exp: Experiment, row: Row) -> None:
    """The floor under every row: the score of doing nothing."""
    from tqdm import tqdm

    scored = []
    for item in tqdm(
        exp.splits["test"], desc="unprocessed", file=sys.stderr, unit="utt", mininterval=1
    ):
        score = exp.task.unprocessed(exp.task.load(item), exp.protocol)
        scored.append({"id": item.id, **about(item), **score})
    nothing = Result(row.cell, _scores(exp, scored), answered_by="", detail=_detail(exp))
    nothing.save(exp.config.results, plain(scored))


def _scores(exp: Experiment, utterances: Sequence[Mapping[str, Any]]) -> dict[str, Score]:
    speakers = [u["speaker"] for u in utterances]
    return {m.name: Score.over([u[m.name] for u in utterances], speakers) for m in exp.task.metrics}


@dataclass(frozen=True)
class Measured:
    """What a run measured once for all of its rows.

    Attributes:
        seconds: by exit, (passes, utterances timed), all exits by turns; "full" is no exit at all.
        parameters: by the name of the upstream that a row is of: itself or its backbone.
        peak_mib: by exit, of a live run.
    """

    seconds: Mapping[str, np.ndarray]
    parameters: Mapping[str, Parameters]
    peak_mib: Mapping[str, float | None]


# (upstream, its revision, utterances, ...) -> of every exit seconds and MiB, as in `Measured`
Timings = dict[tuple, tuple[Mapping[str, np.ndarray], Mapping[str, float | None]]]


def measure(ev: Evaluation, timings: Timings) -> Measured:
    """Time, memory and parameters of every exit that can be run live.

    Args:
        timings: what was measured before on this machine; an upstream's exits are the same for
            every seed. What is measured now is added.
    """
    exp = ev.experiment
    items, device = cost.timed(exp.splits["test"]), exp.config.device
    full = Exit((exp.upstream.card.depth,))
    live = [exit for row, exit in ev.exits.items() if not row.replayed_only]
    exits = {"full": full} | {str(exit): exit for exit in live if exit != full} if live else {}
    card, ids = exp.upstream.card, tuple(item.id for item in items)
    at = (card.name, card.revision, exp.task.name, exp.corpus.hash, ids, device)
    known = timings.get(at)
    if exits and (known is None or not exits.keys() <= known[0].keys()):
        given = (exp.upstream, items, exp.task.load)
        answers = exp.task.name if exp.answers else ""
        seconds = cost.seconds(*given, exits, device, answers=answers)
        peak = {
            name: cost.peak_memory(*given, exit, device, answers) for name, exit in exits.items()
        }
        known = timings[at] = seconds, peak
    seconds, peak = known or ({}, {})
    both = (exp.backbone, exp.upstream)
    return Measured(seconds, {u.card.name: Parameters(u, exp.answers) for u in both}, peak)


def save(ev: Evaluation, row: Row, utterances: list[dict], measured: Measured) -> None:
    """Write the row: its means, its cost, and all that it was made of."""
    exp, exit, blocks = ev.experiment, ev.exits[row], ev.experiment.upstream.card.depth
    control = row.cell.exit in controls.CONTROLS
    depth = np.array([u["depth"] for u in utterances])
    if row.cell.exit == "random":
        depth = depths_at_test(ev, row)
    detail = _detail(exp) | {
        "exit": None if control else _exit_detail(exit, exp.upstream.compares_exits),
        "calibration": _calibration_detail(ev, row),
        "timing": _timing_detail(ev, row, measured),
    }
    if control:
        detail |= {"control": _control_detail(ev, row)}
    detail |= _chosen_detail(ev, row, utterances)
    if recomputed := [split for split, features in ev.features.items() if features.recomputed]:
        detail |= {"states_recomputed": recomputed}  # the last bits may differ from stored ones
    card = (exp.upstream if row.depth is None else exp.backbone).card
    detail |= {name: getattr(card, name) for name in ("kind", "stepped", "dim", "stride", "recipe")}
    weights: Sequence[float] = ()
    if row in ev.plans:
        readout, training = load_head(ev, row)
        seen = blocks if row.depth is None else row.depth  # a fixed head has no deeper weights
        shares = readout.featurizer.weights(seen + 1, torch.tensor([seen]))
        weights = shares[:, 0].detach().tolist()
        detail |= {"training": training} | _training_detail(ev, row)
    Result(
        row.cell,
        _scores(exp, utterances),
        depth=float(depth.mean()),
        exit_histogram=histogram(depth, blocks),
        cost=_cost(ev, row, depth, measured),
        device=machine(exp.config.device),
        answered_by="upstream" if exp.answers else "head",
        tuned_on=card.tuned_on,
        layer_weights=weights,
        detail=detail,
    ).save(exp.config.results, plain(utterances))


def _exit_detail(exit: Exit, compared: bool) -> dict:
    told = {"depths": list(exit.depths), "tau": None if exit.tau == -math.inf else exit.tau}
    told |= {"patience": exit.patience} if exit.patience > 1 else {}
    return told | ({"compares_exits": True} if compared and exit.tested else {})


def _cost(ev: Evaluation, row: Row, depth: np.ndarray, measured: Measured) -> Cost:
    """A control asks no branch and cannot be run live, so it has neither branches nor time."""
    exp, blocks = ev.experiment, ev.experiment.upstream.card.depth
    items, full = exp.splits["test"], Exit((blocks,))
    exit = full if row.cell.exit in controls.CONTROLS else ev.exits[row]
    rows = cost.timed_rows(items)
    timed = [items[i] for i in rows]

    def spared(some: Sequence[Item], left: np.ndarray) -> tuple[float, float]:
        if row.cell.exit == "random":
            spent = cost.expected_macs(exp.upstream, some, controls.shares(left), exp.answers)
        else:
            spent = cost.macs(exp.upstream, some, left, exit, exp.answers)
        whole = cost.macs(exp.upstream, some, np.full(len(some), blocks), full, exp.answers)
        # a spectrum alone multiplies no matrices
        return spent, 100 * (1 - spent / whole) if whole else 0.0

    spent, macs_saved = spared(items, depth)
    deepest, parameters = int(depth.max()), measured.parameters[row.cell.upstream]
    answered = set(depth.tolist()) if exp.answers else set()
    known = Cost(
        gmacs_per_s=spent / cost.audio_seconds(items) / 1e9,
        macs_saved=macs_saved,
        params_m=parameters.needed(deepest, exit.tested, answered) / 1e6,
        params_all_m=parameters.all / 1e6,
        reference=exp.backbone.card.name,
    )
    if row.replayed_only:
        return known
    name = "full" if exit == full else str(exit)
    time = cost.saved(measured.seconds["full"], measured.seconds[name])
    return replace(
        known,
        rtfx=cost.rtfx(timed, measured.seconds[name]),
        peak_mib=measured.peak_mib[name],
        time_saved=time.median,
        time_saved_low=time.low,
        time_saved_high=time.high,
        timed=len(rows),
        timed_macs_saved=spared(timed, depth[rows])[1],
    )


def _control_detail(ev: Evaluation, row: Row) -> dict:
    """What a control is held against: the exits of its adaptive row, whose head it uses."""
    adaptive = depths_at_test(ev, row)
    of = {"adaptive_depths": list(ev.exits[row].depths), "adaptive_mean": float(adaptive.mean())}
    if row.cell.exit == "random":
        return of | {"shares": list(controls.shares(adaptive).items())}
    metric = ev.experiment.task.metrics[0].name
    return of | {"best": metric, "depths": list(leaving(ev.experiment.upstream))}


def _timing_detail(ev: Evaluation, row: Row, measured: Measured) -> dict | None:
    if row.replayed_only:
        return None
    exit, blocks = ev.exits[row], ev.experiment.upstream.card.depth
    taken = measured.seconds["full" if exit == Exit((blocks,)) else str(exit)]
    timed = cost.timed(ev.experiment.splits["test"])
    return {
        "passes_seconds": taken.sum(1).tolist(),
        "passes_seconds_full": measured.seconds["full"].sum(1).tolist(),
        "batch": 1,
        "audio_seconds": cost.audio_seconds(timed),
        "threads": torch.get_num_threads(),
    }


def _calibration_detail(ev: Evaluation, row: Row) -> dict | None:
    found = ev.calibrated.get(row.cell.value)
    if found is None:
        return None
    at_test = row.cell.test_value
    tested = {} if at_test is None else {"test_value": at_test, "test_tau": ev.exits[row].tau}
    return tested | {
        "knob": row.cell.knob,
        "value": row.cell.value,
        "tau": found.tau,
        "exits": list(ev.experiment.upstream.exits),
        "depth_means": found.means.tolist(),
        "e_max": float(found.means.max()),
        "e_min": float(found.means.min()),
        "split": "train",
        "n": len(ev.experiment.splits["train"]),
        "evidence": ev.experiment.upstream.card.evidence,
    }


def _chosen_detail(ev: Evaluation, row: Row, utterances: Sequence[Mapping[str, Any]]) -> dict:
    """What the test threshold was chosen for, and what came of it where it was chosen."""
    exp, exit = ev.experiment, ev.exits[row]
    if row.max_loss is not None:
        return {"max_loss": bounded.detail(ev, row, utterances)}
    if row.budget is None:
        return {}
    left = replay(ev.features["train"].evidence, exit, exp.upstream.exits)
    reached = saved(exp.upstream, exp.splits["train"], left, exit, exp.answers)
    return {"budget": {"target": 100 * row.budget, "split": "train", "saved": 100 * reached}}


def _training_detail(ev: Evaluation, row: Row) -> dict:
    train, sweep = ev.plans[row].train, chosen(ev, row)[1]
    blocks = ev.experiment.upstream.card.depth
    return {
        "train_exit": {"histogram": histogram(train, blocks), "mean": float(train.mean())},
    } | ({"lr_sweep": sweep} if ev.experiment.recipe.sweep else {})


def histogram(depths: np.ndarray, blocks: int) -> list[int]:
    """How many left at depth 0, 1, ..., L."""
    return np.bincount(depths, minlength=blocks + 1).tolist()


def _detail(exp: Experiment) -> dict:
    return {
        "protocol": exp.recipe.settings,
        "protocol_based_on": exp.recipe.published.name,
        "protocol_differs": exp.recipe.differs,
        "corpus_notices": list(exp.corpus.notices),
        "notices": list(exp.notices),
        "metrics": [asdict(metric) for metric in exp.task.metrics],
        "utterances": {s: len(i) for s, i in exp.splits.items()},
        "versions": versions(),
        "git": git_commit(),
        "command": shlex.join(sys.argv),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def plain(utterances: Sequence[Mapping[str, Any]]) -> list[dict]:
    """Numbers stay; a failure becomes its reason in a column of its own, never a number."""
    return [dict(_columns(utterance)) for utterance in utterances]


def _columns(utterance: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in utterance.items():
        if isinstance(value, Ratio):
            value = value.part / value.whole
        yield name, None if isinstance(value, Failure) else value
    for name, value in utterance.items():
        if isinstance(value, Ratio):
            yield f"{name}_of", value.whole
    failed = [f"{k}: {v.reason}" for k, v in utterance.items() if isinstance(v, Failure)]
    yield "failure", "; ".join(failed)
