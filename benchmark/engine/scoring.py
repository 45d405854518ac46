"""Training the heads of an evaluation and scoring its test utterances, shared among workers."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from .. import risk
from ..contract import Item
from ..exiting import Exit, leaving, replay, replay_batches
from . import controls, head_files, head_training, heads, older_heads
from .anytime import most_lost
from .evaluation import Evaluation
from .experiment import Experiment, Row
from .workers import Worker

# (row, depth) -> the scores of one utterance
Scorer = Callable[[Row, int], dict[str, Any]]


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


def believe_older(ev: Evaluation) -> None:
    """Heads of a version without digests, where nothing speaks against them."""
    exp = ev.experiment
    setup, blocks = replace(exp.setup, protocol=exp.recipe.training), exp.upstream.card.depth
    older_heads.believe(ev.folder, ev.heads, exp.task, setup, blocks, exp.config.seed)


def train_heads(ev: Evaluation, keys: Sequence[str]) -> None:
    """Train those of the heads that are not there."""
    if keys:
        exp = ev.experiment
        head_training.fit(
            {key: ev.heads[key] for key in keys},
            exp.task,
            replace(exp.setup, protocol=exp.recipe.training),
            ev.features["train"],
            ev.features["dev"],
            ev.folder,
            exp.config.seed,
            exp.config.device,
        )


def chosen(ev: Evaluation, row: Row) -> tuple[str, dict]:
    """The key of a row's head, and of every learning rate tried what the dev split said."""
    return head_files.choose(ev.folder, ev.keys[row], ev.experiment.task)


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
        worker.ask(score_utterances, everybody[share::shares], ev.exits)
    found: list[list[dict]] = [[]] * len(everybody)
    found[::shares] = score_utterances(ev, everybody[::shares], ev.exits)
    for share, worker in enumerate(workers, 1):
        found[share::shares] = worker.answer() or score_utterances(
            ev, everybody[share::shares], ev.exits
        )
    for n, row in enumerate(ev.exits):
        if row.cell.exit == "oracle":
            _choose(ev, row, [of[n] for of in found])
    return found


def score_utterances(
    ev: Evaluation, utterances: Sequence[int], exits: Mapping[Row, Exit]
) -> list[list[dict]]:
    """Of some test utterances, by their numbers: exit and scores in every row, from one reading;
    of an oracle, which sees them all first, the scores at every depth ("at").
    """
    from tqdm import tqdm

    ev = replace(ev, exits=exits)
    exp = ev.experiment
    rows, depths = list(ev.exits), {row: depths_at_test(ev, row) for row in ev.exits}
    metrics, allowed = [metric.name for metric in exp.task.metrics], leaving(exp.upstream)
    scorer = by_utterance(ev, "test", rows)
    out: list[list[dict]] = []
    for i in tqdm(utterances, desc="scoring", file=sys.stderr, unit="utt", mininterval=1):
        scored = scorer(i)
        out.append([])
        item = exp.splits["test"][i]
        for row in rows:
            depth, known = int(depths[row][i]), about(item)
            if row.cell.exit == "oracle":
                told = {"depth": depth, **known, "at": {k: scored(row, k) for k in allowed}}
            elif row.cell.exit == "random":
                told = {"depth": float(depths[row].mean()), **known} | controls.expected(
                    lambda k: {name: scored(row, k)[name] for name in metrics},
                    controls.shares(depths[row]),
                )
            else:
                lost = {} if row.max_loss is None else {"loss": loss(exp, scored, row, depth)}
                told = {"depth": depth, **known, **scored(row, depth), **lost}
            out[-1].append({"id": item.id, **told})
    return out


def _choose(ev: Evaluation, row: Row, utterances: Sequence[dict]) -> None:
    """Give every utterance of an oracle its depth and the scores there."""
    metric, allowed = ev.experiment.task.metrics[0], leaving(ev.experiment.upstream)
    at = [utterance.pop("at") for utterance in utterances]
    worth = controls.worth([[of[k][metric.name] for k in allowed] for of in at], metric)
    total = int(depths_at_test(ev, row).sum())
    depths = controls.oracle(worth, allowed, total).tolist()
    for utterance, depth, of in zip(utterances, depths, at, strict=True):
        utterance |= {"depth": depth, **of[depth]}


def loss(exp: Experiment, scored: Scorer, row: Row, depth: int) -> float | None:
    """What an utterance loses at `depth` against full depth; see `risk.loss`."""
    metric = exp.task.metrics[0]
    full, early = (scored(row, k)[metric.name] for k in (exp.upstream.card.depth, depth))
    most = most_lost(exp.config.anytime, metric)
    return risk.loss(full, early, metric.higher_is_better, most)


def about(item: Item) -> dict[str, Any]:
    """What pairs, clusters and groups utterances in their table: speaker, and the noise in it."""
    known = {name: item.more[name] for name in ("snr", "noise") if name in item.more}
    return {"speaker": item.speaker, **known}


def depths_at_test(ev: Evaluation, row: Row) -> np.ndarray:
    """(n,) where the test utterances leave, replayed from their evidence; in a control, where those
    of its adaptive row do.
    """
    test, exit, exits = ev.features["test"], ev.exits[row], ev.experiment.upstream.exits
    if row.batch:
        samples = torch.tensor([item.samples for item in test.items])
        frames = ev.experiment.upstream.frames(samples).numpy()
        order = np.argsort(samples.numpy(), kind="stable") if row.by_length else None
        return replay_batches(test.evidence, frames, exit, exits, row.batch, order)
    return replay(test.evidence, exit, exits)


def by_utterance(ev: Evaluation, split: str, rows: Sequence[Row]) -> Callable[[int], Scorer]:
    """The number of an utterance of a split -> its scores in these rows, at any depth."""
    return _by_answers(ev, split) if ev.experiment.answers else _by_heads(ev, split, rows)


def _by_answers(ev: Evaluation, split: str) -> Callable[[int], Scorer]:
    """Utterance number -> scores of the upstream's own answer."""
    exp, features = ev.experiment, ev.features[split]

    def of_utterance(i: int) -> Scorer:
        example = heads.example(exp.task, features.items[i])

        @cache
        def at(depth: int) -> dict[str, Any]:
            said = exp.upstream.decode(features.answer(i, depth), exp.task.name)
            return exp.task.judge(said, example, exp.protocol)

        return lambda row, depth: at(depth)

    return of_utterance


def _by_heads(ev: Evaluation, split: str, rows: Sequence[Row]) -> Callable[[int], Scorer]:
    """Utterance number -> scores of the row's head on the states up to there."""
    exp, features = ev.experiment, ev.features[split]
    keys = {row: chosen(ev, row)[0] for row in rows}
    one_of = {key: row for row, key in keys.items()}
    readouts = {key: load_head(ev, row)[0].to(exp.config.device) for key, row in one_of.items()}

    def of_utterance(i: int) -> Scorer:
        example, batch = heads.example(exp.task, features.items[i]), features.batch([i])

        @cache  # spans often agree: the same head on the same states is the same answer
        def at(key: str, normalise: bool, depth: int) -> dict[str, Any]:
            readout, states = readouts[key], batch.states[normalise][: depth + 1]
            with torch.no_grad():
                prediction = readout(
                    readout.prepared(states), torch.tensor([depth]), batch.frames, batch.samples
                )
            return exp.task.score(prediction[0], example, int(batch.frames[0]), exp.setup)

        return lambda row, depth: at(keys[row], bool(row.normalise), depth)

    return of_utterance


def load_head(ev: Evaluation, row: Row) -> tuple[heads.Downstream, dict]:
    exp, key = ev.experiment, chosen(ev, row)[0]
    blocks = exp.upstream.card.depth
    built = (bool(row.normalise), exp.task, exp.setup, blocks, row.alone)
    return head_files.load(ev.folder, key, *built)
