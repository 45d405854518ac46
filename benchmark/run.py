"""What a command line asks for: every name, option and file resolved and checked, and the rows of its table."""
import inspect
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from . import calibration, controls, cost, leaderboard
from .contract import Corpus, Item, Protocol, Setup, Task, Upstream
from .errors import UsageError, closest
from .exiting import Exit
from .job import Job, Row, score, train, unprocessed
from .lowered import at_precision
from .paths import writable
from .recipe import recipe
from .registry import build_upstream, tasks, upstream_class
from .result import FIX, Cell, Result
from .settings import number, short_hash
from .team import size, workers
from .validation import opened


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
        self.corpus: Corpus = opened(self.task, request.data, self.protocol, self.upstream.frames)
        self.setup = Setup(self.protocol, self.corpus, self.upstream.card.dim, self.upstream.card.stride)
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

    def results(self, parallel: bool = False) -> tuple[list[Result], list[str]]:
        """A result a row, made now where it is missing, and a sentence for every row that could not be.

        Args:
            parallel: let other processes share the work where that pays; they import the caller's main module.
        """
        missing = [row for row in self.rows if self.request.force or not row.path.exists()]
        writable(self.request.results, FIX)
        if self.recipe.differs:
            print(f"notice: {self.recipe.sentence()}", file=sys.stderr)
        for notice in self.corpus.notices if missing else ():
            print(f"notice: {notice}", file=sys.stderr)
        refused = self._make(missing, parallel)
        leaderboard.write(self.request.results, self.task.name)
        return [Result.load(row.path) for row in self.rows if row.path.exists()], refused

    def _make(self, rows: Sequence[Row], parallel: bool) -> list[str]:
        """Make rows; a sentence for every one that could not be."""
        if nothing := [row for row in rows if row.cell.exit == "unprocessed"]:
            unprocessed(self, nothing[0])
        rows = [row for row in rows if row.cell.exit != "unprocessed"]
        if not rows:
            return []
        job = Job(self, rows)
        for key in job.heads if self.request.force else ():
            (job.folder / f"{key}.json").unlink(missing_ok=True)
        missing = sum(not (job.folder / f"{key}.json").exists() for key in job.heads)
        count = size(self, missing) if parallel else 0
        with workers(count, again, self.request, [self.rows.index(row) for row in rows]) as shared:
            train(job, shared)
            utterances = score(job, shared)
        full = Exit((self.upstream.card.depth,))
        live = {str(e): e for row, e in job.exits.items() if e != full and row.cell.exit not in controls.CONTROLS}
        timings = cost.seconds(self.upstream, cost.timed(self.splits["test"]), self.task.load, {"full": full} | live, self.request.device)
        for n, row in enumerate(job.exits):
            job.keep(row, [of[n] for of in utterances], timings)
        return job.refused


def again(request: Request, rows: Sequence[int]) -> Job:
    """The job that another process of this run is at, from the numbers of its rows."""
    run = Run(request)
    return Job(run, [run.rows[i] for i in rows])


def limited(items: Sequence[Item], limit: int | None, seed: int) -> Sequence[Item]:
    """All, or `limit` of them drawn with `seed`, in their old order."""
    if limit is None or limit >= len(items):
        return items
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), limit))]
