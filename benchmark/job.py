"""Making rows: what the upstream does is recorded, heads that are missing are trained, test utterances scored, each row kept."""
import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import calibration, controls, cost, heads
from .errors import UsageError
from .exiting import Exit, replay
from .race import machine
from .result import Cell, Result, Score
from .stamp import git_commit, versions
from .team import Worker
from .trace import trace


@dataclass(frozen=True)
class Row:
    """One line of the table to be: a cell and how its utterances leave."""
    cell: Cell
    normalise: bool = False
    depth: int | None = None       # fixed; None = decided by evidence
    taus: tuple[float, ...] = ()   # the user's own thresholds; none = calibrated by the knob
    path: Path = Path()


def unprocessed(run: Any, row: Row) -> None:
    """The floor under every row: the score of doing nothing."""
    from tqdm import tqdm
    scored = []
    for item in tqdm(run.splits["test"], desc="unprocessed", file=sys.stderr, unit="utt", mininterval=1):
        scored.append({"id": item.id, **run.task.unprocessed(run.task.load(item), run.protocol)})
    Result(row.cell, {m.name: Score.over([u[m.name] for u in scored]) for m in run.task.metrics},
           detail=_detail(run)).save(run.request.results, plain(scored))


def train(job: "Job", workers: Sequence[Worker]) -> None:
    """All heads, the workers a share each. As many workers have the same shares in a repeated command, and go on where they were."""
    shares, keys = len(workers) + 1, list(job.heads)
    for share, worker in enumerate(workers, 1):
        worker.ask("train", keys[share::shares])
    job.train(keys[::shares])
    for worker in workers:
        worker.answer()
    job.train(keys)                         # what a worker left undone
    job.judge_rates()


def score(job: "Job", workers: Sequence[Worker]) -> list[list[dict]]:
    """Of every test utterance, its exit and scores in every row."""
    shares, everybody = len(workers) + 1, range(len(job.run.splits["test"]))
    for share, worker in enumerate(workers, 1):
        worker.ask("score", everybody[share::shares])
    found: list[list[dict]] = [[]] * len(everybody)
    found[::shares] = job.score(everybody[::shares])
    for share, worker in enumerate(workers, 1):
        found[share::shares] = worker.answer() or job.score(everybody[share::shares])
    return found


class Job:
    """Rows of a `Run` that are to be made, with all that their exits and heads follow from; traces are recorded now where there are none."""

    def __init__(self, run: Any, rows: Sequence[Row]):
        self.run, self.folder, self.blocks = run, run.request.results / "heads", run.upstream.card.depth
        deepest = max(self.blocks if row.depth is None else row.depth for row in rows)
        self.traces = {s: trace(run.upstream, items, run.task.load, f"{run.task.name} {s}", run.request.device, run.task.pooled, deepest)
                       for s, items in run.splits.items()}
        self.calibrated = {value: self._calibrate(value) for value in {r.cell.value for r in rows} - {None}}
        self.exits: dict[Row, Exit] = {}    # at test; in the order of the rows
        self.refused: list[str] = []
        for row in rows:
            try:
                self.exits[row] = self._exit(row)
            except UsageError as error:      # an empty span costs its own row, not the others
                self.refused.append(f"{row.cell.upstream}, {row.cell.knob} {row.cell.value:g}: {error}")
        self.plans = {row: self._plan(row) for row in self.exits}
        backbone = run.upstream.backbone.card      # its states are all that a head sees, whoever decided on the exits
        context = (run.task.name, run.task.version, run.recipe.head, run.corpus.hash, backbone.name, backbone.revision, run.request.seed)
        # for each row, every learning rate that is to be tried and the key of its head; rows that see the same share one
        self.keys = {row: {lr: replace(plan, lr=lr).key(*context) for lr in run.recipe.rates} for row, plan in self.plans.items()}
        several = len(run.recipe.rates) > 1
        self.heads = {key: replace(self.plans[row], lr=lr, name=self.plans[row].name + (f" lr {lr:g}" if several else ""))
                      for row, of in self.keys.items() for lr, key in of.items()}

    # ---- what follows from the traces -----------------------------------------------------------------------------------

    def _calibrate(self, value: float) -> dict:
        up, evidence = self.run.upstream, self.traces["train"].evidence
        if not np.isfinite(evidence).all():
            raise UsageError(f"{up.card.name}: its evidence is not finite on the training split, so no threshold can be set; "
                             f"run: run_benchmark.py check {self.run.request.upstream}")
        tau = up.tau(evidence, value)
        return {"tau": tau, "exits": replay(evidence, Exit(range(1, self.blocks + 1), tau)), "means": calibration.depth_means(evidence)}

    def _exit(self, row: Row) -> Exit:
        if row.depth is not None:
            return Exit((row.depth,))
        if row.taus:
            return _own(row, self.blocks)
        found = self.calibrated[row.cell.value]
        return Exit(calibration.span(row.cell.span, found["exits"], self.blocks), found["tau"])

    def _plan(self, row: Row) -> heads.Plan:
        """Heads are trained with their exits active at every depth; a span only narrows the test (DAISY, sec. 3.2 and 3.3)."""
        if row.depth is not None:
            exit, name = Exit((row.depth,)), row.cell.exit + (" + layer-norm" if row.normalise else "")
        elif row.taus:
            exit, name = _own(row, self.blocks), row.cell.exit
        else:
            exit, name = Exit(range(1, self.blocks + 1), self.calibrated[row.cell.value]["tau"]), f"{row.cell.knob} {row.cell.value:g}"
        train, dev = (replay(self.traces[split].evidence, exit) for split in ("train", "dev"))
        return heads.Plan(name, row.normalise, self.run.protocol.lr, train, dev)

    # ---- what takes long ------------------------------------------------------------------------------------------------

    def train(self, keys: Sequence[str]) -> None:
        """Train those of the heads that are not there."""
        run = self.run
        heads.fit({key: self.heads[key] for key in keys}, run.task, replace(run.setup, protocol=run.recipe.training),
                  self.traces["train"], self.traces["dev"], self.folder, run.request.seed, run.request.device)

    def chosen(self, row: Row) -> tuple[str, dict]:
        """The key of a row's head, and of every learning rate tried what the dev split said."""
        return heads.choose(self.folder, self.keys[row], self.run.task)

    def judge_rates(self) -> None:
        """Say where the best learning rate may lie beyond those tried."""
        ends = sum(sweep["chosen"] in (min(sweep["grid"]), max(sweep["grid"])) for sweep in (self.chosen(row)[1] for row in self.keys))
        if ends and self.run.recipe.sweep:
            print(f"notice: {ends} of {len(self.keys)} rows take a learning rate at an end of the grid, so a better one may lie beyond: "
                  "--lr sweep --set lr_grid=...", file=sys.stderr)

    def score(self, utterances: Sequence[int]) -> list[list[dict]]:
        """Of some test utterances, by their numbers: the exit and the scores in every row, from one reading of its states."""
        from tqdm import tqdm
        task, setup, test, rows = self.run.task, self.run.setup, self.traces["test"], list(self.exits)
        depths = {row: replay(test.evidence, exit) for row, exit in self.exits.items()}
        for row in rows:
            if row.cell.exit == "random":
                depths[row] = controls.shuffled(depths[row], self.run.request.seed)
        keys = {row: self.chosen(row)[0] for row in rows}
        readouts = {keys[row]: self._head(row, keys[row])[0].to(self.run.request.device) for row in rows}
        out: list[list[dict]] = []
        for i in tqdm(utterances, desc="scoring", file=sys.stderr, unit="utt", mininterval=1):
            example, batch = heads.example(task, test.items[i]), test.batch([i])

            @cache      # spans often agree; the same head on the same states is the same answer
            def scored(key: str, normalise: bool, depth: int) -> dict[str, Any]:
                with torch.no_grad():
                    prediction = readouts[key](batch.states[normalise][: depth + 1], torch.tensor([depth]), batch.frames, batch.samples)
                return task.score(prediction[0], example, int(batch.frames[0]), setup)
            out.append([])
            for row in rows:
                depth = int(depths[row][i])
                if row.cell.exit == "oracle":
                    depth = controls.oracle(lambda k: scored(keys[row], row.normalise, k)[task.metrics[0].name], self.blocks, task.metrics[0])
                out[-1].append({"id": test.items[i].id, "depth": depth, **scored(keys[row], row.normalise, depth)})
        return out

    def _head(self, row: Row, key: str) -> tuple[heads.Readout, dict]:
        return heads.load(self.folder, key, row.normalise, self.run.task, self.run.setup, self.blocks)

    def keep(self, row: Row, utterances: list[dict], timings: Mapping[str, np.ndarray]) -> None:
        """Write the row: its means, its cost, and all that it was made of."""
        run, exit, calibrated, plan, (key, sweep) = self.run, self.exits[row], self.calibrated.get(row.cell.value), self.plans[row], self.chosen(row)
        items, full, depth = run.splits["test"], Exit((self.blocks,)), np.array([u["depth"] for u in utterances])
        control = row.cell.exit in controls.CONTROLS      # it asks no branch, and cannot be run live
        spent, most = (cost.macs(run.upstream, items, d, e) for d, e in (
            (depth, full if control else exit), (np.full(len(items), self.blocks), full)))
        taken, whole = timings["full" if exit == full or control else str(exit)], timings["full"]
        detail = _detail(run) | {
            "exit": None if control else {"depths": list(exit.depths), "tau": None if exit.tau == -math.inf else exit.tau},
            "train_exit": {"histogram": self._histogram(plan.train), "mean": float(plan.train.mean())},
            "calibration": None if calibrated is None else {
                row.cell.knob: row.cell.value, "tau": calibrated["tau"], "depth_means": calibrated["means"].tolist(),
                "e_max": float(calibrated["means"].max()), "e_min": float(calibrated["means"].min()), "split": "train",
                "n": len(run.splits["train"]), "evidence": run.upstream.card.evidence},
            "cost": {"macs": spent, "macs_full": most, "audio_seconds": cost.audio_seconds(items),
                     "passes_seconds": [] if control else taken.sum(1).tolist(),
                     "passes_seconds_full": whole.sum(1).tolist(), "timed": len(cost.timed(items)), "threads": torch.get_num_threads(), "batch": 1},
            "training": self._head(row, key)[1]}
        if run.recipe.sweep:
            detail["lr_sweep"] = sweep
        Result(row.cell, {m.name: Score.over([u[m.name] for u in utterances]) for m in run.task.metrics},
               depth=float(depth.mean()), exit_histogram=self._histogram(depth), macs_saved=100 * (1 - spent / most),
               time_saved=None if control else cost.saved(whole, taken).median,
               device=machine(run.request.device), detail=detail).save(run.request.results, plain(utterances))

    def _histogram(self, depths: np.ndarray) -> list[int]:
        return np.bincount(depths, minlength=self.blocks + 1).tolist()


def _own(row: Row, blocks: int) -> Exit:
    return Exit(range(1, blocks + 1), row.taus if len(row.taus) > 1 else row.taus[0])


def _detail(run: Any) -> dict:
    return {"protocol": run.recipe.settings, "protocol_based_on": run.recipe.published.name, "protocol_differs": run.recipe.differs,
            "corpus_notices": list(run.corpus.notices), "utterances": {s: len(i) for s, i in run.splits.items()},
            "versions": versions(), "git": git_commit(), "command": shlex.join(sys.argv),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def plain(utterances: Sequence[Mapping[str, Any]]) -> list[dict]:
    """Numbers stay; a failure becomes its reason in a column of its own, never a number."""
    from .metrics import Failure, Ratio
    out = []
    for utterance in utterances:
        reasons = "; ".join(f"{k}: {v.reason}" for k, v in utterance.items() if isinstance(v, Failure))
        values = {k: None if isinstance(v, Failure) else v.part / v.whole if isinstance(v, Ratio) else v for k, v in utterance.items()}
        wholes = {f"{k}_of": v.whole for k, v in utterance.items() if isinstance(v, Ratio)}
        out.append(values | wholes | {"failure": reasons})
    return out
