"""What an experiment's rows follow from: thresholds, exits, and which head each of them needs.

One frozen `Evaluation` holds it all; training, scoring and saving are functions on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from .. import calibration
from ..errors import UsageError
from ..exiting import Exit, leaving, replay, within
from . import heads
from .anytime import for_budget
from .experiment import Experiment, Row
from .feature_cache import FeatureCache, cached_features
from .promises import threshold


@dataclass(frozen=True)
class Calibration:
    """What one value of the knob means on the training split."""

    tau: float
    patience: int
    exits: np.ndarray  # (n,) where the training utterances leave, all exits allowed
    means: np.ndarray  # (E,) mean evidence of each exit


@dataclass(frozen=True)
class Bound:
    """What the dev split says of the exit chosen for a row with a bounded loss.

    Attributes:
        exit: the last one passed; full depth where none was.
        risk, p_value: of that exit, the mean loss in the metric's unit; 0 and None at full depth.
        n, left_out: dev utterances with and without a score at full depth.
        passed, tried: settings; fewest: utterances that would pass one without any loss.
        stopped_at: the risk of the first setting that was not passed; None where all were.
    """

    exit: Exit
    risk: float
    p_value: float | None
    n: int
    left_out: int
    passed: int
    tried: int
    fewest: int
    stopped_at: float | None


@dataclass(frozen=True)
class Evaluation:
    """Rows of an experiment that are to be made, with all that their exits and heads follow from.

    Attributes:
        features: by split; where the upstream answers by itself, of test and whatever
            calibration reads.
        exits: at test, in the order of the rows that can be made.
        refused: a sentence for every row that cannot.
        plans: of the head that each row needs; none where the upstream answers by itself.
        keys: for each row, every learning rate that is to be tried and the key of its head; rows
            that see the same share one.
        heads: key -> plan of every head.
        folder: where heads are kept.
        bounds: of the rows with a bounded loss, what the dev split said; none before it was asked.
    """

    experiment: Experiment
    features: Mapping[str, FeatureCache]
    calibrated: Mapping[float, Calibration]
    exits: Mapping[Row, Exit]
    refused: Sequence[str]
    plans: Mapping[Row, heads.Plan]
    keys: Mapping[Row, Mapping[float, str]]
    heads: Mapping[str, heads.Plan]
    folder: Path
    bounds: Mapping[Row, Bound] = field(default_factory=dict)


def evaluation(exp: Experiment, rows: Sequence[Row]) -> Evaluation:
    """What `rows` need, their features extracted now where there are none."""
    features = _features(exp, rows)
    values = {v for row in rows for v in (row.cell.value, row.cell.test_value)} - {None}
    calibrated = {value: _calibrate(exp, features["train"], value) for value in values}
    exits, refused = {}, []
    for row in rows:
        try:
            exits[row] = _exit(exp, row, calibrated, features)
        except UsageError as error:  # an empty span costs its own row, not the others
            refused.append(f"{row.cell.upstream}, {row.cell.knob} {row.cell.value:g}: {error}")
    plans = {} if exp.answers else {row: _plan(exp, row, features, calibrated) for row in exits}
    keys = _keys(exp, plans)
    several = len(exp.recipe.rates) > 1
    named = {
        key: replace(plans[row], lr=lr, name=plans[row].name + (f" lr {lr:g}" if several else ""))
        for row, of in keys.items()
        for lr, key in of.items()
    }
    folder = exp.config.results / "heads"
    return Evaluation(exp, features, calibrated, exits, refused, plans, keys, named, folder)


def _features(exp: Experiment, rows: Sequence[Row]) -> dict[str, FeatureCache]:
    blocks = exp.upstream.card.depth
    deepest = max(blocks if row.depth is None else row.depth for row in rows)
    keep = dict.fromkeys(exp.splits, "means" if exp.task.pooled else "states")
    if exp.answers:
        keep, deepest = {"test": "answers"}, blocks
        if any(row.cell.knob for row in rows):
            keep["train"] = "evidence"
        if any(row.max_loss is not None for row in rows):
            keep["dev"] = "answers"
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
    tau, patience = threshold(up, evidence, value), up.patience(value)
    exits = replay(evidence, Exit(leaving(up), tau, patience), up.exits)
    return Calibration(tau, patience, exits, calibration.depth_means(evidence))


def _exit(
    exp: Experiment,
    row: Row,
    calibrated: Mapping[float, Calibration],
    features: Mapping[str, FeatureCache],
) -> Exit:
    if row.depth is not None:
        return Exit((row.depth,))
    if row.taus:
        return _own_taus(exp, row)
    trained = calibrated[row.cell.value]
    at_test = trained if row.cell.test_value is None else calibrated[row.cell.test_value]
    span = calibration.span(row.cell.span, trained.exits, leaving(exp.upstream))
    if row.max_loss is not None:  # until the dev split has been asked
        return Exit((exp.upstream.card.depth,))
    if row.budget is not None:
        train, evidence = exp.splits["train"], features["train"].evidence
        exit = within(exp.upstream, span, -np.inf, trained.patience)
        return for_budget(exp.upstream, train, evidence, exit, row.budget, exp.answers)
    return within(exp.upstream, span, at_test.tau, at_test.patience)


def _own_taus(exp: Experiment, row: Row) -> Exit:
    """With the patience that all values of the knob have, or the least of them."""
    upstream = exp.upstream
    patience = min(map(upstream.patience, upstream.knob_values), default=1)
    return Exit(leaving(upstream), row.taus if len(row.taus) > 1 else row.taus[0], patience)


def _plan(
    exp: Experiment,
    row: Row,
    features: Mapping[str, FeatureCache],
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
        trained = calibrated[row.cell.value]
        exit = Exit(leaving(exp.upstream), trained.tau, trained.patience)
        name = f"{row.cell.knob} {row.cell.value:g}"
    train, dev = (replay(features[s].evidence, exit, exp.upstream.exits) for s in ("train", "dev"))
    together = None
    if exp.protocol.exits_together and exit.tested:
        samples = torch.tensor([item.samples for item in exp.splits["train"]])
        frames = exp.upstream.frames(samples).numpy()
        evidence = features["train"].evidence
        together = heads.Together(exit, exp.upstream.exits, evidence, frames)
    return heads.Plan(name, bool(row.normalise), exp.protocol.lr, train, dev, row.alone, together)


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
