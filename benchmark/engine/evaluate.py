"""Making rows: features recorded, missing heads trained, test utterances scored, each row saved.

Everything is a function on one frozen `Evaluation`, which holds what follows from the experiment
and its recorded evidence: thresholds, exits, and which head each row needs.
"""

import math
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import calibration
from ..contract import Item
from ..errors import UsageError
from ..exiting import Exit, leaving, replay, replay_batches
from ..metrics import Failure, Ratio
from ..report.provenance import git_commit, versions
from ..report.result import Cost, Result, Score
from . import controls, cost, heads
from .experiment import Experiment, Row
from .feature_cache import FeatureCache, cached_features
from .parameters import Parameters
from .timing import machine
from .workers import Worker


@dataclass(frozen=True)
class Calibration:
    """What one value of the knob means on the training split."""

    tau: float
    exits: np.ndarray  # (n,) where the training utterances leave, all exits allowed
    means: np.ndarray  # (E,) mean evidence of each exit


@dataclass(frozen=True)
class Evaluation:
    """Rows of an experiment that are to be made, with all that their exits and heads follow from.

    Attributes:
        traces: by split; where the upstream answers by itself, of test and what calibration reads.
        exits: at test, in the order of the rows that can be made.
        refused: a sentence for every row that cannot.
        plans: of the head that each row needs; none where the upstream answers by itself.
        keys: for each row, every learning rate that is to be tried and the key of its head; rows
            that see the same share one.
        heads: key -> plan of every head.
        folder: where heads are kept.
    """

    experiment: Experiment
    traces: Mapping[str, FeatureCache]
    calibrated: Mapping[float, Calibration]
    exits: Mapping[Row, Exit]
    refused: Sequence[str]
    plans: Mapping[Row, heads.Plan]
    keys: Mapping[Row, Mapping[float, str]]
    heads: Mapping[str, heads.Plan]
    folder: Path


# ---- what follows from the evidence ----


def evaluation(exp: Experiment, rows: Sequence[Row]) -> Evaluation:
    """What `rows` need, their features recorded now where there are none."""
    traces = _traces(exp, rows)
    values = {row.cell.value for row in rows} - {None}
    calibrated = {value: _calibrate(exp, traces["train"], value) for value in values}
    exits, refused = {}, []
    for row in rows:
        try:
            exits[row] = _exit(exp, row, calibrated)
        except UsageError as error:  # an empty span costs its own row, not the others
            refused.append(f"{row.cell.upstream}, {row.cell.knob} {row.cell.value:g}: {error}")
    plans = {} if exp.answers else {row: _plan(exp, row, traces, calibrated) for row in exits}
    keys = _keys(exp, plans)
    several = len(exp.recipe.rates) > 1
    named = {
        key: replace(plans[row], lr=lr, name=plans[row].name + (f" lr {lr:g}" if several else ""))
        for row, of in keys.items()
        for lr, key in of.items()
    }
    folder = exp.config.results / "heads"
    return Evaluation(exp, traces, calibrated, exits, refused, plans, keys, named, folder)


def _traces(exp: Experiment, rows: Sequence[Row]) -> dict[str, FeatureCache]:
    blocks = exp.upstream.card.depth
    deepest = max(blocks if row.depth is None else row.depth for row in rows)
    keep = dict.fromkeys(exp.splits, "means" if exp.task.pooled else "states")
    if exp.answers:
        keep, deepest = {"test": "answers"}, blocks
        if any(row.cell.knob for row in rows):
            keep["train"] = "evidence"
    return {
        split: cached_features(
            exp.upstream,
            exp.splits[split],
            exp.task.load,
            f"{exp.task.name} {split}",
            exp.config.device,
            kind,
            deepest,
        )
        for split, kind in keep.items()
    }


def _calibrate(exp: Experiment, train: FeatureCache, value: float) -> Calibration:
    up, evidence = exp.upstream, train.evidence
    if not np.isfinite(evidence).all():
        raise UsageError(
            f"{up.card.name}: its evidence is not finite on the training split, so no threshold "
            f"can be set; run: run_benchmark.py check {exp.config.upstream}"
        )
    tau = up.tau(evidence, value)
    exits = replay(evidence, Exit(leaving(up), tau), up.exits)
    return Calibration(tau, exits, calibration.depth_means(evidence))


def _exit(exp: Experiment, row: Row, calibrated: Mapping[float, Calibration]) -> Exit:
    if row.depth is not None:
        return Exit((row.depth,))
    if row.taus:
        return _own_taus(exp, row)
    found = calibrated[row.cell.value]
    return Exit(calibration.span(row.cell.span, found.exits, leaving(exp.upstream)), found.tau)


def _own_taus(exp: Experiment, row: Row) -> Exit:
    return Exit(leaving(exp.upstream), row.taus if len(row.taus) > 1 else row.taus[0])


def _plan(
    exp: Experiment,
    row: Row,
    traces: Mapping[str, FeatureCache],
    calibrated: Mapping[float, Calibration],
) -> heads.Plan:
    """Heads are trained with their exits active at every depth; a span only narrows the test
    (DAISY, sec. 3.2 and 3.3).
    """
    if row.depth is not None:
        exit, name = Exit((row.depth,)), row.cell.exit + (" + layer-norm" if row.normalise else "")
    elif row.taus:
        exit, name = _own_taus(exp, row), row.cell.exit
    else:
        exit = Exit(leaving(exp.upstream), calibrated[row.cell.value].tau)
        name = f"{row.cell.knob} {row.cell.value:g}"
    train, dev = (replay(traces[s].evidence, exit, exp.upstream.exits) for s in ("train", "dev"))
    return heads.Plan(name, bool(row.normalise), exp.protocol.lr, train, dev)


def _keys(exp: Experiment, plans: Mapping[Row, heads.Plan]) -> dict[Row, dict[float, str]]:
    # its states are all that a head sees, whoever decided on the exits
    card = exp.upstream.backbone.card
    context = (
        exp.task.name,
        exp.task.version,
        exp.recipe.head,
        exp.corpus.hash,
        card.name,
        card.revision,
        exp.config.seed,
    )
    return {
        row: {lr: replace(plan, lr=lr).key(*context) for lr in exp.recipe.rates}
        for row, plan in plans.items()
    }


# ---- training ----


def train(ev: Evaluation, workers: Sequence[Worker]) -> None:
    """All heads, the workers a share each.

    As many workers have the same shares in a repeated command, and go on where they were.
    """
    shares, keys = len(workers) + 1, list(ev.heads)
    for share, worker in enumerate(workers, 1):
        worker.ask(train_heads, keys[share::shares])
    train_heads(ev, keys[::shares])
    for worker in workers:
        worker.answer()
    train_heads(ev, keys)  # what a worker left undone
    _judge_rates(ev)


def train_heads(ev: Evaluation, keys: Sequence[str]) -> None:
    """Train those of the heads that are not there."""
    if keys:
        exp = ev.experiment
        heads.fit(
            {key: ev.heads[key] for key in keys},
            exp.task,
            replace(exp.setup, protocol=exp.recipe.training),
            ev.traces["train"],
            ev.traces["dev"],
            ev.folder,
            exp.config.seed,
            exp.config.device,
        )


def chosen(ev: Evaluation, row: Row) -> tuple[str, dict]:
    """The key of a row's head, and of every learning rate tried what the dev split said."""
    return heads.choose(ev.folder, ev.keys[row], ev.experiment.task)


def _judge_rates(ev: Evaluation) -> None:
    """Say where the best learning rate may lie beyond those tried."""
    if not ev.experiment.recipe.sweep:
        return
    sweeps = [chosen(ev, row)[1] for row in ev.keys]
    ends = sum(s["chosen"] in (min(s["grid"]), max(s["grid"])) for s in sweeps)
    if ends:
        print(
            f"notice: {ends} of {len(sweeps)} rows take a learning rate at an end of the grid, so "
            "a better one may lie beyond: --lr sweep --set lr_grid=...",
            file=sys.stderr,
        )


# ---- scoring ----


def score(ev: Evaluation, workers: Sequence[Worker]) -> list[list[dict]]:
    """Of every test utterance, its exit and scores in every row."""
    shares, everybody = len(workers) + 1, range(len(ev.experiment.splits["test"]))
    for share, worker in enumerate(workers, 1):
        worker.ask(score_utterances, everybody[share::shares])
    found: list[list[dict]] = [[]] * len(everybody)
    found[::shares] = score_utterances(ev, everybody[::shares])
    for share, worker in enumerate(workers, 1):
        found[share::shares] = worker.answer() or score_utterances(ev, everybody[share::shares])
    return found


def score_utterances(ev: Evaluation, utterances: Sequence[int]) -> list[list[dict]]:
    """Of some test utterances, by their numbers: exit and scores in every row, from one reading."""
    from tqdm import tqdm

    exp, metric = ev.experiment, ev.experiment.task.metrics[0]
    rows, depths = list(ev.exits), {row: depths_at_test(ev, row) for row in ev.exits}
    scorer = _by_answers(ev) if exp.answers else _by_heads(ev)
    out: list[list[dict]] = []
    for i in tqdm(utterances, desc="scoring", file=sys.stderr, unit="utt", mininterval=1):
        scored = scorer(i)
        out.append([])
        for row in rows:
            depth = int(depths[row][i])
            if row.cell.exit == "oracle":
                allowed = leaving(exp.upstream)
                depth = controls.oracle(lambda k: scored(row, k)[metric.name], allowed, metric)
            out[-1].append({"id": exp.splits["test"][i].id, "depth": depth, **scored(row, depth)})
    return out


def depths_at_test(ev: Evaluation, row: Row) -> np.ndarray:
    """(n,) where the test utterances leave, replayed from their evidence."""
    test, exit, exits = ev.traces["test"], ev.exits[row], ev.experiment.upstream.exits
    if row.batch:
        samples = torch.tensor([item.samples for item in test.items])
        frames = ev.experiment.upstream.frames(samples).numpy()
        return replay_batches(test.evidence, frames, exit, exits, row.batch)
    depth = replay(test.evidence, exit, exits)
    return (
        controls.shuffled(depth, ev.experiment.config.seed) if row.cell.exit == "random" else depth
    )


def _by_answers(ev: Evaluation) -> Any:
    """utterance -> (row, depth) -> scores of the upstream's own answer."""
    exp, test = ev.experiment, ev.traces["test"]

    def of_utterance(i: int) -> Any:
        example = heads.example(exp.task, test.items[i])

        @cache
        def at(depth: int) -> dict[str, Any]:
            said = exp.upstream.decode(test.answer(i, depth), exp.task.name)
            return exp.task.judge(said, example, exp.protocol)

        return lambda row, depth: at(depth)

    return of_utterance


def _by_heads(ev: Evaluation) -> Any:
    """utterance -> (row, depth) -> scores of the row's head on the states up to there."""
    exp, test = ev.experiment, ev.traces["test"]
    keys = {row: chosen(ev, row)[0] for row in ev.exits}
    one_of = {key: row for row, key in keys.items()}
    readouts = {key: load_head(ev, row)[0].to(exp.config.device) for key, row in one_of.items()}

    def of_utterance(i: int) -> Any:
        example, batch = heads.example(exp.task, test.items[i]), test.batch([i])

        @cache  # spans often agree: the same head on the same states is the same answer
        def at(key: str, normalise: bool, depth: int) -> dict[str, Any]:
            states = batch.states[normalise][: depth + 1]
            with torch.no_grad():
                prediction = readouts[key](
                    states, torch.tensor([depth]), batch.frames, batch.samples
                )
            return exp.task.score(prediction[0], example, int(batch.frames[0]), exp.setup)

        return lambda row, depth: at(keys[row], bool(row.normalise), depth)

    return of_utterance


def load_head(ev: Evaluation, row: Row) -> tuple[heads.Downstream, dict]:
    exp, key = ev.experiment, chosen(ev, row)[0]
    blocks = exp.upstream.card.depth
    return heads.load(ev.folder, key, bool(row.normalise), exp.task, exp.setup, blocks)


# ---- saving ----


def unprocessed(exp: Experiment, row: Row) -> None:
    """The floor under every row: the score of doing nothing."""
    from tqdm import tqdm

    scored = []
    for item in tqdm(
        exp.splits["test"], desc="unprocessed", file=sys.stderr, unit="utt", mininterval=1
    ):
        scored.append({"id": item.id, **exp.task.unprocessed(exp.task.load(item), exp.protocol)})
    scores = {m.name: Score.over([u[m.name] for u in scored]) for m in exp.task.metrics}
    Result(row.cell, scores, detail=_detail(exp)).save(exp.config.results, plain(scored))


@dataclass(frozen=True)
class Measured:
    """What a run measured once for all of its rows.

    Attributes:
        seconds: by exit, (passes, utterances timed), all exits by turns; "full" is no exit at all.
        parameters: of the upstream, by depth.
        peak_mib: by exit, of a live run.
    """

    seconds: Mapping[str, np.ndarray]
    parameters: Parameters
    peak_mib: Mapping[str, float | None]


def measure(ev: Evaluation) -> Measured:
    """Time, memory and parameters of every exit that can be run live."""
    exp = ev.experiment
    items, device = cost.timed(exp.splits["test"]), exp.config.device
    full = Exit((exp.upstream.card.depth,))
    exits = {"full": full} | {
        str(exit): exit for row, exit in ev.exits.items() if exit != full and not row.replayed_only
    }
    seconds = cost.seconds(exp.upstream, items, exp.task.load, exits, device, answers=exp.answers)
    peak = {
        name: cost.peak_memory(exp.upstream, items, exp.task.load, exit, device, exp.answers)
        for name, exit in exits.items()
    }
    return Measured(seconds, Parameters(exp.upstream, exp.answers), peak)


def save(ev: Evaluation, row: Row, utterances: list[dict], measured: Measured) -> None:
    """Write the row: its means, its cost, and all that it was made of."""
    exp, exit, blocks = ev.experiment, ev.exits[row], ev.experiment.upstream.card.depth
    depth = np.array([u["depth"] for u in utterances])
    control = row.cell.exit in controls.CONTROLS
    detail = _detail(exp) | {
        "exit": None
        if control
        else {"depths": list(exit.depths), "tau": None if exit.tau == -math.inf else exit.tau},
        "calibration": _calibration_detail(ev, row),
        "timing": _timing_detail(ev, row, measured),
    }
    weights: Sequence[float] = ()
    if row in ev.plans:
        readout, training = load_head(ev, row)
        weights = readout.mix.scores.detach().softmax(0).tolist()
        detail |= {"training": training} | _training_detail(ev, row)
    Result(
        row.cell,
        {m.name: Score.over([u[m.name] for u in utterances]) for m in exp.task.metrics},
        depth=float(depth.mean()),
        exit_histogram=histogram(depth, blocks),
        cost=_cost(ev, row, depth, measured),
        device=machine(exp.config.device),
        answered_by="upstream" if exp.answers else "head",
        tuned_on=exp.upstream.card.tuned_on,
        layer_weights=weights,
        detail=detail,
    ).save(exp.config.results, plain(utterances))


def _cost(ev: Evaluation, row: Row, depth: np.ndarray, measured: Measured) -> Cost:
    """A control asks no branch and cannot be run live, so it has neither branches nor time."""
    exp, blocks = ev.experiment, ev.experiment.upstream.card.depth
    items, full = exp.splits["test"], Exit((blocks,))
    exit = full if row.cell.exit in controls.CONTROLS else ev.exits[row]
    rows = cost.timed_rows(items)
    timed = [items[i] for i in rows]

    def saved(some: Sequence[Item], left: np.ndarray) -> tuple[int, float]:
        spent = cost.macs(exp.upstream, some, left, exit, exp.answers)
        whole = np.full(len(some), blocks)
        return spent, 100 * (1 - spent / cost.macs(exp.upstream, some, whole, full, exp.answers))

    spent, macs_saved = saved(items, depth)
    deepest = int(depth.max())
    tested = {k for k in exit.tested if k <= deepest} | ({deepest} if exp.answers else set())
    known = Cost(
        gmacs_per_s=spent / cost.audio_seconds(items) / 1e9,
        macs_saved=macs_saved,
        params_m=measured.parameters.needed(deepest, tested) / 1e6,
        params_all_m=measured.parameters.all / 1e6,
        reference=exp.upstream.backbone.card.name,
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
        timed_macs_saved=saved(timed, depth[rows])[1],
    )


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
    return {
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
