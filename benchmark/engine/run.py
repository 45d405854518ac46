"""Make what is missing of an experiment's rows, and read them all back."""

import sys
from collections.abc import Sequence

from ..errors import need_all
from ..exiting import leaving
from ..extras import EXTRAS
from ..foreign import prints_to_stderr
from ..report import leaderboard
from ..report.folder import kept
from ..report.result import FIX, Result
from ..storage import writable
from . import head_files
from .bounded import bounded
from .controls import scores_needed
from .devices import made_elsewhere
from .evaluation import Evaluation, evaluation
from .experiment import Experiment, Row, RunConfig
from .resolve import resolve
from .rows import Timings, measure, save, unprocessed
from .scoring import believe_older, score, train
from .workers import worker_count, workers


@prints_to_stderr()
def results(
    exp: Experiment,
    parallel: bool = False,
    rows: Sequence[Row] | None = None,
    timings: Timings | None = None,
    board: list[Result] | None = None,
) -> tuple[list[Result], list[str]]:
    """A result a row, made now where it is missing, and a sentence for every row that could not be.

    Args:
        rows: some of the experiment's; default: all.
        timings: shared by several calls, so that seeds do not measure the same exits again.
        board: becomes all rows that the task's board shows by now.
        parallel: let other processes share the work where that pays; they import the caller's main
            module.
    """
    root, wanted = exp.config.results, exp.rows if rows is None else rows
    writable(root, FIX)
    missing = [row for row in wanted if exp.config.force or not kept(row.path, row.cell)]
    if missing:
        _need_packages(exp)
    if exp.recipe.differs:
        print(f"notice: {exp.recipe.sentence()}", file=sys.stderr)
    for notice in (*exp.corpus.notices, *exp.notices) if missing else ():
        print(f"notice: {notice}", file=sys.stderr)
    refused = _make(exp, missing, parallel, {} if timings is None else timings)
    shown = leaderboard.rebuilt(root, exp.task.name)
    if board is not None:
        board[:] = shown
    there = [Result.load(row.path) for row in wanted if row.path.exists()]
    for notice in made_elsewhere(there, exp.config.device):
        print(f"notice: {notice}", file=sys.stderr)
    return there, refused


def _need_packages(exp: Experiment) -> None:
    """MachineError before hours of recording, not after them, where training
    or scoring cannot be.
    """
    task = exp.task.name
    scoring = dict.fromkeys(EXTRAS[task].modules, task) if task in EXTRAS else {}
    training = {} if exp.answers else {"lightning_fabric": "train"}
    need_all(f"--task {task}", {**scoring, **training})


def _make(exp: Experiment, rows: Sequence[Row], parallel: bool, timings: Timings) -> list[str]:
    """Make rows; a sentence for every one that could not be."""
    if nothing := [row for row in rows if row.cell.exit == "unprocessed"]:
        unprocessed(exp, nothing[0])
    rows = [row for row in rows if row.cell.exit != "unprocessed"]
    if not rows:
        return []
    ev = evaluation(exp, rows)
    for key in ev.heads if exp.config.force else ():
        head_files.forget(ev.folder, key)
    believe_older(ev)
    missing = sum(not head_files.finished(ev.folder, key) for key in ev.heads)
    numbers = [exp.rows.index(row) for row in rows]
    scores = scores_needed(rows, len(leaving(exp.upstream)))
    count = worker_count(exp, missing, scores) if parallel else 0
    with workers(count, again, exp.config, numbers) as shared:
        train(ev, shared)
        ev = bounded(ev, shared)
        utterances = score(ev, shared)
    measured = measure(ev, timings)
    for n, row in enumerate(ev.exits):
        save(ev, row, [of[n] for of in utterances], measured)
    return list(ev.refused)


def again(config: RunConfig, rows: Sequence[int]) -> Evaluation:
    """The evaluation that another process of this run is at, from the numbers of its rows."""
    exp = resolve(config)
    return evaluation(exp, [exp.rows[i] for i in rows])
