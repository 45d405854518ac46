"""One command's worth of work: the rows it asks for, what is missing of them made, each kept as soon as it is finished."""
import inspect
import math
import random
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import calibration, controls, cost, heads, leaderboard
from .contract import Corpus, Item, Protocol, Task, Upstream
from .errors import UsageError, closest
from .exiting import Exit, replay
from .lowered import at_precision
from .recipe import recipe
from .registry import build_upstream, tasks, upstream_class
from .result import Cell, Result, Score, writable
from .settings import number, short_hash
from .stamp import git_commit, versions
from .trace import Trace, trace


@dataclass(frozen=True)
class Request:
    """What a command line says."""
    upstream: str
    task: str
    rho: Sequence[float] = ()
    span: Sequence[str] = ()
    data: Path | None = None
    protocol: str | None = None
    seed: int = 0
    device: str = "cpu"
    results: Path = Path("results/local")
    settings: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    lr: str | None = None          # a number, or "sweep": the protocol's lr_grid, chosen from by the dev split
    precision: str = "fp32"


@dataclass(frozen=True)
class Row:
    """One line of the table to be: a cell and how its utterances leave."""
    cell: Cell
    normalise: bool = False
    depth: int | None = None       # fixed; None = decided by evidence
    taus: tuple[float, ...] = ()   # the user's own thresholds; none = calibrated by the knob
    path: Path = Path()


class Run:
    """Everything a request resolves to. Checked on construction, before anything is spent."""

    def __init__(self, request: Request):
        self.request = request
        self.task: Task = tasks.get(request.task)
        plugin = upstream_class(request.upstream)
        upstream_options, protocol_fields, knob_values, exits = self._sorted_settings(plugin)
        self.values, self.spans = self._knob(plugin, knob_values)
        name = request.protocol or (self.task.builtin if request.data is None else self.task.default)
        if name not in self.task.protocols:
            raise UsageError(f"task {self.task.name} has no protocol {name!r}: {closest(name, self.task.protocols)}")
        self.recipe = recipe(self.task.protocols[name], protocol_fields, request.lr)
        self.protocol: Protocol = self.recipe.protocol
        if request.data is not None and not request.data.exists():
            raise UsageError(f"--data {request.data}: there is no such folder or list; leave the flag out to use the built-in corpus")
        torch.manual_seed(request.seed)
        built = build_upstream(request.upstream, upstream_options).to(request.device).requires_grad_(False)
        self.upstream: Upstream = at_precision(built, request.precision)
        self.extra = controls.extra(exits, self.upstream)
        self.corpus: Corpus = self.task.corpus(request.data, self.protocol)
        self.splits = {s: limited(self.corpus.splits[s], getattr(self.protocol, f"{s}_limit"), self.protocol.limit_seed)
                       for s in ("train", "dev", "test")}

    @cached_property
    def rows(self) -> list[Row]:
        """Unprocessed, full depth with and without layer-norm, half depth, every knob value with every span; then what else was asked for."""
        backbone, blocks, knob = self.upstream.backbone, self.upstream.card.depth, self.upstream.knob
        full = [Row(self._cell(backbone, exit="full", layer_norm=normalise), normalise, blocks) for normalise in (True, False)]
        fixed = [Row(self._cell(backbone, exit=f"depth {k}", layer_norm=True), True, k) for k in dict.fromkeys((blocks // 2, *self.extra.depths))]
        adaptive = [Row(self._cell(self.upstream, exit=exit, layer_norm=True, knob=knob, value=value, span=span), True)
                    for exit in ("adaptive", *self.extra.controls) for value in self.values
                    for span in (("all",) if exit == "oracle" else self.spans)]
        own = [Row(self._cell(self.upstream, exit=f"tau {'/'.join(map(str, taus))}", layer_norm=True), True, taus=taus) for taus in self.extra.taus]
        nothing = [Row(self._cell(None, exit="unprocessed"))] if self.task.unprocessed else []
        return [replace(row, path=row.cell.path(self.request.results)) for row in [*nothing, *full, *fixed, *adaptive, *own]]

    def _cell(self, upstream: Upstream | None, **exit: Any) -> Cell:
        return Cell(upstream=upstream.card.name if upstream else "unprocessed", revision=upstream.card.revision if upstream else "",
                    task=self.task.name, task_version=self.task.version, protocol=self.recipe.name,
                    settings=short_hash(self.recipe.settings), corpus=self.corpus.name, corpus_hash=self.corpus.hash,
                    seed=self.request.seed if upstream else None, **exit)

    def _sorted_settings(self, plugin: type[Upstream]) -> tuple[dict, dict, list, str]:
        """Each --set key goes to the upstream's constructor, the protocol, the knob or `exits`; an unknown one is an error."""
        options, knob = set(inspect.signature(plugin).parameters) - {"tag"}, plugin.knob
        protocol = {f.name for f in fields(next(iter(self.task.protocols.values())))} - {"name", "source"}
        upstream, recipe, values = {}, {}, []
        for key, value in self.request.settings.items():
            if key == knob:
                values = str(value).split(",")
            elif key == "exits":
                continue
            elif key in options:
                upstream[key] = value
            elif key in protocol:
                recipe[key] = value
            else:
                known = sorted({*options, *protocol, "exits", *([knob] if knob else [])})
                raise UsageError(f"--set {key}: neither {self.request.upstream} nor a protocol of {self.task.name} has it; {closest(key, known)}")
        return upstream, recipe, values, str(self.request.settings.get("exits", ""))

    def _knob(self, up: type[Upstream], given: Sequence[str]) -> tuple[tuple[float, ...], tuple[str, ...]]:
        request = self.request
        if request.rho and up.knob != "rho":
            turn = f"turn its own knob with --set {up.knob}=VALUE" if up.knob else "it does not exit by itself"
            raise UsageError(f"{request.upstream} has no rho: {turn}")
        if request.span and not up.knob:
            raise UsageError(f"{request.upstream} does not exit by itself, so it has no span; choose an adaptive upstream such as daisy")
        values = tuple(dict.fromkeys(request.rho)) or tuple(number(v, f"--set {up.knob}") for v in given) or up.knob_values
        for value in values if up.knob == "rho" else ():
            if value < 0:
                raise UsageError(f"rho is a ratio from 0 (never exit early) upwards, not {value:g}")
            if value > 1:
                print(f"warning: rho {value:g} is above 1, where the paper stops: nearly everything may leave at the first depth", file=sys.stderr)
        spans = tuple(dict.fromkeys(request.span)) or up.spans
        for span in spans:
            if span not in calibration.SPANS:
                raise UsageError(f"there is no span {span!r}: {closest(span, calibration.SPANS)}")
        return (values if up.knob else ()), spans

    # ---- doing it -----------------------------------------------------------------------------------------------------

    def results(self) -> tuple[list[Result], list[str]]:
        """A result a row, made now where it is missing, and a sentence for every row that could not be."""
        missing = [row for row in self.rows if self.request.force or not row.path.exists()]
        writable(self.request.results)
        refused: list[str] = []
        if self.recipe.differs:
            print(f"notice: {self.recipe.sentence()}", file=sys.stderr)
        if missing:
            for notice in self.corpus.notices:
                print(f"notice: {notice}", file=sys.stderr)
            self._make(missing, refused)
        leaderboard.write(self.request.results, self.task.name)
        return [Result.load(row.path) for row in self.rows if row.path.exists()], refused

    def _make(self, rows: Sequence[Row], refused: list[str]) -> None:
        if unprocessed := [row for row in rows if row.cell.exit == "unprocessed"]:
            self._unprocessed(unprocessed[0])
        rows = [row for row in rows if row.cell.exit != "unprocessed"]
        if not rows:
            return
        deepest = max(self.upstream.card.depth if row.depth is None else row.depth for row in rows)
        traces = {s: trace(self.upstream, items, self.task.load, f"{self.task.name} {s}", self.request.device, self.task.pooled, deepest)
                  for s, items in self.splits.items()}
        calibrated = {value: self._calibrate(value, traces["train"]) for value in {r.cell.value for r in rows} - {None}}
        exits: dict[Row, Exit] = {}
        for row in rows:
            try:
                exits[row] = self._exit(row, calibrated)
            except UsageError as error:      # an empty span costs its own row, not the others
                refused.append(f"{row.cell.upstream}, {row.cell.knob} {row.cell.value:g}: {error}")
        rows = list(exits)
        plans = {row: self._plan(row, calibrated, traces) for row in rows}
        keys, sweeps = self._trained(plans, traces)
        utterances = self._score(rows, keys, exits, traces["test"])
        full = Exit((self.upstream.card.depth,))
        live = {str(e): e for row, e in exits.items() if e != full and row.cell.exit not in controls.CONTROLS}
        timings = cost.seconds(self.upstream, self.splits["test"], self.task.load, {"full": full} | live, self.request.device)
        for row in rows:
            self._keep(row, exits[row], utterances[row], timings, calibrated.get(row.cell.value), plans[row], sweeps[row],
                       self._head(row, keys[row])[1])

    def _exit(self, row: Row, calibrated: Mapping) -> Exit:
        if row.depth is not None:
            return Exit((row.depth,))
        if row.taus:
            return _own(row, self.upstream.card.depth)
        found = calibrated[row.cell.value]
        return Exit(calibration.span(row.cell.span, found["exits"], self.upstream.card.depth), found["tau"])

    def _unprocessed(self, row: Row) -> None:
        from tqdm import tqdm
        scored = []
        for item in tqdm(self.splits["test"], desc="unprocessed", file=sys.stderr, unit="utt", mininterval=1):
            scored.append({"id": item.id, **self.task.unprocessed(self.task.load(item), self.protocol)})
        Result(row.cell, {m.name: Score.over([u[m.name] for u in scored]) for m in self.task.metrics},
               detail=self._detail()).save(self.request.results, plain(scored))

    def _trained(self, plans: Mapping[Row, heads.Plan], traces: Mapping[str, Trace]) -> tuple[dict[Row, str], dict[Row, dict]]:
        """A row's head, trained now where there is none, by its key; and of every learning rate tried what the dev split said."""
        tried = {row: {lr: replace(plan, lr=lr, name=plan.name + (f" lr {lr:g}" if len(self.recipe.rates) > 1 else "")) for lr in self.recipe.rates}
                 for row, plan in plans.items()}
        backbone = self.upstream.backbone.card      # its states are all that a head sees, whoever decided on the exits
        keys = {row: {lr: plan.key(self.task.name, self.task.version, self.recipe.head, self.corpus.hash, backbone.name, backbone.revision,
                                   self.request.seed) for lr, plan in of.items()} for row, of in tried.items()}
        for key in {key for of in keys.values() for key in of.values()} if self.request.force else ():
            (self.folder / f"{key}.json").unlink(missing_ok=True)
        heads.fit({keys[row][lr]: plan for row, of in tried.items() for lr, plan in of.items()}, self.task, self.recipe.training, self.corpus,
                  traces["train"], traces["dev"], self.folder, self.request.seed, self.request.device)
        chosen = {row: heads.choose(self.folder, of, self.task) for row, of in keys.items()}
        return {row: key for row, (key, _) in chosen.items()}, {row: sweep for row, (_, sweep) in chosen.items()}

    def _head(self, row: Row, key: str) -> tuple[heads.Readout, dict]:
        return heads.load(self.folder, key, row.normalise, self.task, self.protocol, self.corpus, self.upstream.card)

    @property
    def folder(self) -> Path:
        """Of trained heads."""
        return self.request.results / "heads"

    def _calibrate(self, value: float, train: Trace) -> dict:
        evidence, blocks = train.evidence, self.upstream.card.depth
        if not np.isfinite(evidence).all():
            raise UsageError(f"{self.upstream.card.name}: its evidence is not finite on the training split, so no threshold can be set; "
                             f"run: run_benchmark.py check {self.request.upstream}")
        tau = self.upstream.tau(evidence, value)
        return {"tau": tau, "exits": replay(evidence, Exit(range(1, blocks + 1), tau)), "means": calibration.depth_means(evidence)}

    def _plan(self, row: Row, calibrated: Mapping, traces: Mapping[str, Trace]) -> heads.Plan:
        """Heads are trained with their exits active at every depth; a span only narrows the test (DAISY, sec. 3.2 and 3.3)."""
        if row.depth is not None:
            exit, name = Exit((row.depth,)), row.cell.exit + (" + layer-norm" if row.normalise else "")
        elif row.taus:
            exit, name = _own(row, self.upstream.card.depth), row.cell.exit
        else:
            exit = Exit(range(1, self.upstream.card.depth + 1), calibrated[row.cell.value]["tau"])
            name = f"{row.cell.knob} {row.cell.value:g}"
        return heads.Plan(name, row.normalise, self.protocol.lr, replay(traces["train"].evidence, exit), replay(traces["dev"].evidence, exit))

    def _score(self, rows: Sequence[Row], keys: Mapping[Row, str], exits: Mapping[Row, Exit], test: Trace) -> dict[Row, list[dict]]:
        """Every row's exit and scores of every test utterance, from one reading of its states."""
        from tqdm import tqdm
        metric, blocks = self.task.metrics[0], self.upstream.card.depth
        depths = {row: replay(test.evidence, exits[row]) for row in rows}
        for row in rows:
            if row.cell.exit == "random":
                depths[row] = controls.shuffled(depths[row], self.request.seed)
        readouts = {keys[row]: self._head(row, keys[row])[0].to(self.request.device) for row in rows}
        out: dict[Row, list[dict]] = {row: [] for row in rows}
        for i, item in enumerate(tqdm(test.items, desc="scoring", file=sys.stderr, unit="utt", mininterval=1)):
            example, batch = heads.example(self.task, item), test.batch([i])

            @cache      # spans often agree; the same head on the same states is the same answer
            def scored(key: str, normalise: bool, depth: int) -> dict[str, Any]:
                with torch.no_grad():
                    prediction = readouts[key](batch.states[normalise][: depth + 1], torch.tensor([depth]), batch.frames, batch.samples)
                return self.task.score(prediction[0], example, int(batch.frames[0]), self.protocol)
            for row in rows:
                depth = int(depths[row][i])
                if row.cell.exit == "oracle":
                    depth = controls.oracle(lambda k: scored(keys[row], row.normalise, k)[metric.name], blocks, metric)
                out[row].append({"id": item.id, "depth": depth, **scored(keys[row], row.normalise, depth)})
        return out

    def _keep(self, row: Row, exit: Exit, utterances: list[dict], timings: Mapping[str, cost.Timing],
              calibrated: dict | None, plan: heads.Plan, sweep: dict, training: dict) -> None:
        items, blocks = self.splits["test"], self.upstream.card.depth
        full, depth = Exit((blocks,)), np.array([u["depth"] for u in utterances])
        control = row.cell.exit in controls.CONTROLS      # it asks no branch, and cannot be run live
        spent, most = (cost.macs(self.upstream, items, d, e) for d, e in (
            (depth, full if control else exit), (np.full(len(items), blocks), full)))
        taken, whole = timings["full" if exit == full or control else str(exit)], timings["full"]
        detail = self._detail() | {
            "exit": None if control else {"depths": list(exit.depths), "tau": None if exit.tau == -math.inf else exit.tau},
            "train_exit": {"histogram": np.bincount(plan.train, minlength=blocks + 1).tolist(), "mean": float(plan.train.mean())},
            "calibration": None if calibrated is None else {
                row.cell.knob: row.cell.value, "tau": calibrated["tau"], "depth_means": calibrated["means"].tolist(),
                "e_max": float(calibrated["means"].max()), "e_min": float(calibrated["means"].min()), "split": "train",
                "n": len(self.splits["train"]), "evidence": self.upstream.card.evidence},
            "cost": {"macs": spent, "macs_full": most, "audio_seconds": cost.audio_seconds(items), "passes_seconds": () if control else taken.seconds,
                     "passes_seconds_full": whole.seconds, "threads": torch.get_num_threads(), "batch": 1},
            "training": training}
        if self.recipe.sweep:
            detail["lr_sweep"] = sweep
        Result(row.cell, {m.name: Score.over([u[m.name] for u in utterances]) for m in self.task.metrics},
               depth=float(depth.mean()), exit_histogram=np.bincount(depth, minlength=blocks + 1).tolist(),
               macs_saved=100 * (1 - spent / most), time_saved=None if control else 0.0 if exit == full else 100 * (1 - taken.median / whole.median),
               device=cost.machine(self.request.device), detail=detail).save(self.request.results, plain(utterances))

    def _detail(self) -> dict:
        return {"protocol": self.recipe.settings, "protocol_based_on": self.recipe.published.name, "protocol_differs": self.recipe.differs,
                "corpus_notices": list(self.corpus.notices), "utterances": {s: len(i) for s, i in self.splits.items()},
                "versions": versions(), "git": git_commit(), "command": shlex.join(sys.argv),
                "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def _own(row: Row, blocks: int) -> Exit:
    return Exit(range(1, blocks + 1), row.taus if len(row.taus) > 1 else row.taus[0])


def limited(items: Sequence[Item], limit: int | None, seed: int) -> Sequence[Item]:
    """All, or `limit` of them drawn with `seed`, in their old order."""
    if limit is None or limit >= len(items):
        return items
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), limit))]


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
