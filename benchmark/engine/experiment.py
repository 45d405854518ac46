"""What a command line asks for: every name, option and file resolved and checked, and
the rows of its table.
"""

import inspect
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from .. import calibration
from ..config import number, short_hash
from ..contract import Corpus, Item, Protocol, Setup, Task, Upstream
from ..errors import UsageError, did_you_mean
from ..exiting import leaving
from ..registry import build_upstream, tasks, upstream_class
from ..report.result import Cell
from ..validation import opened
from . import controls
from .precision import at_precision
from .protocols import RunProtocol, run_protocol


@dataclass(frozen=True)
class Row:
    """One line of the table to be: a cell and how its utterances leave.

    Attributes:
        normalise: layer-norm before the weighted sum; None where no head is trained.
        depth: a fixed exit; None = decided by evidence.
        taus: the user's own thresholds; () = calibrated by the knob.
        batch: utterances that leave together; 0 = each decides for itself.
        path: of its result.
    """

    cell: Cell
    normalise: bool | None = None
    depth: int | None = None
    taus: tuple[float, ...] = ()
    batch: int = 0
    path: Path = Path()

    @property
    def replayed_only(self) -> bool:
        """A control, or a decision by batches: it cannot be timed live, utterance by utterance."""
        return self.cell.exit in controls.CONTROLS or self.batch > 0


@dataclass(frozen=True)
class RunConfig:
    """What a command line says.

    Attributes:
        knobs: a knob's name -> its values; the upstream must have it.
        settings: of --set: options of the upstream, fields of the protocol, and `exits`; its knob
            may stand here too.
        lr: a number, or "sweep": the protocol's lr_grid, from which the dev split chooses.
    """

    upstream: str
    task: str
    knobs: Mapping[str, Sequence[float]] = field(default_factory=dict)
    span: Sequence[str] = ()
    data: Path | None = None
    protocol: str | None = None
    seed: int = 0
    device: str = "cpu"
    results: Path = Path("results/local")
    settings: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    lr: str | None = None
    precision: str = "fp32"


@dataclass(frozen=True)
class Experiment:
    """Everything a configuration resolves to, checked before anything is spent.

    Attributes:
        values: of the upstream's knob; spans: in which its exits are tested. Every pair is a row.
        extra: the rows asked for by --set exits=...
        splits: the items of train, dev and test, limited as the protocol says.
    """

    config: RunConfig
    task: Task
    recipe: RunProtocol
    upstream: Upstream
    corpus: Corpus
    splits: Mapping[str, Sequence[Item]]
    values: tuple[float, ...]
    spans: tuple[str, ...]
    extra: controls.Extra

    @property
    def protocol(self) -> Protocol:
        return self.recipe.protocol

    @property
    def setup(self) -> Setup:
        """What its heads are built for."""
        return Setup(self.protocol, self.corpus, self.upstream.card.dim, self.upstream.card.stride)

    @property
    def notices(self) -> tuple[str, ...]:
        """How its heads read the features, where a reader of the rows should know."""
        return (
            tuple(self.task.notices(self.setup)) if self.task.notices and not self.answers else ()
        )

    @property
    def answers(self) -> bool:
        """Whether the upstream answers the task by itself: no head is trained then."""
        return self.task.name in self.upstream.answers

    @cached_property
    def rows(self) -> list[Row]:
        """Unprocessed; full depth with and without layer-norm; a fixed exit in the middle; every
        knob value with every span; then what else was asked for."""
        backbone, upstream, blocks = self.upstream.backbone, self.upstream, self.upstream.card.depth
        ways = (None,) if self.answers else (True, False)  # layer-norm is on the way to a head
        usual = ways[0]
        places = leaving(upstream) if self.answers else range(1, blocks + 1)
        middle = places[max(0, len(places) // 2 - 1)]
        rows = [Row(self._cell(backbone, "full", way), way, blocks) for way in ways]
        for depth in dict.fromkeys((middle, *self.extra.depths)):
            rows.append(Row(self._cell(backbone, f"depth {depth}", usual), usual, depth))
        for exit in ("adaptive", *self.extra.controls, *self.extra.batches):
            for value in self.values:
                for span in ("all",) if exit == "oracle" else self.spans:
                    cell = self._cell(upstream, exit, usual, upstream.knob, value, span)
                    rows.append(Row(cell, usual, batch=self.extra.batches.get(exit, 0)))
        for taus in self.extra.taus:
            cell = self._cell(upstream, f"tau {'/'.join(map(str, taus))}", usual)
            rows.append(Row(cell, usual, taus=taus))
        if self.task.unprocessed:
            rows.insert(0, Row(self._cell(None, "unprocessed")))
        return [replace(row, path=row.cell.path(self.config.results)) for row in rows]

    def _cell(
        self,
        upstream: Upstream | None,
        exit: str,
        layer_norm: bool | None = None,
        knob: str | None = None,
        value: float | None = None,
        span: str | None = None,
    ) -> Cell:
        return Cell(
            upstream=upstream.card.name if upstream else "unprocessed",
            revision=upstream.card.revision if upstream else "",
            task=self.task.name,
            task_version=self.task.version,
            protocol=self.recipe.name,
            settings=short_hash(self.recipe.settings),
            corpus=self.corpus.name,
            corpus_hash=self.corpus.hash,
            seed=self.config.seed if upstream else None,
            exit=exit,
            layer_norm=layer_norm,
            knob=knob,
            value=value,
            span=span,
        )


def experiment(config: RunConfig) -> Experiment:
    """Every name, option and file of a configuration, found and checked.

    Raises: UsageError about the first that does not fit; MachineError where a package is missing.
    """
    task: Task = tasks.get(config.task)
    options, fields_given = _sorted_settings(config, task)
    name = config.protocol or (task.builtin if config.data is None else task.default)
    if name not in task.protocols:
        raise UsageError(
            f"task {task.name} has no protocol {name!r}: {did_you_mean(name, task.protocols)}"
        )
    if config.data is not None and not config.data.exists():
        raise UsageError(
            f"--data {config.data}: there is no such folder or list; leave the flag out to use the "
            "built-in corpus"
        )
    torch.manual_seed(config.seed)
    upstream = build_upstream(config.upstream, options).to(config.device).requires_grad_(False)
    upstream = at_precision(upstream, config.precision)
    knob_given, exits = fields_given.pop(upstream.knob, None), fields_given.pop("exits", "")
    _refuse_unknown(fields_given, config, task, upstream, options)
    values, spans = _knob(config, upstream, knob_given)
    _refuse_task(upstream, task)
    extra = controls.extra(str(exits), upstream)
    resolved = run_protocol(task.protocols[name], fields_given, config.lr)
    # where no head is trained, no target has to fit the upstream's frames: any number will do
    frames = torch.clone if task.name in upstream.answers else upstream.frames
    corpus = opened(task, config.data, resolved.protocol, frames)
    splits = {
        s: limited(
            corpus.splits[s], getattr(resolved.protocol, f"{s}_limit"), resolved.protocol.limit_seed
        )
        for s in ("train", "dev", "test")
    }
    return Experiment(config, task, resolved, upstream, corpus, splits, values, spans, extra)


def _sorted_settings(config: RunConfig, task: Task) -> tuple[dict[str, Any], dict[str, Any]]:
    """--set keys that the upstream's constructor takes, and the others."""
    known = set(inspect.signature(upstream_class(config.upstream)).parameters) - {"tag"}
    options = {k: v for k, v in config.settings.items() if k in known}
    return options, {k: v for k, v in config.settings.items() if k not in known}


def _refuse_unknown(
    given: Mapping[str, Any], config: RunConfig, task: Task, upstream: Upstream, options: Mapping
) -> None:
    """UsageError for a --set key that is neither the upstream's nor the protocol's."""
    protocol = {f.name for f in fields(next(iter(task.protocols.values())))} - {"name", "source"}
    for key in given:
        if key not in protocol:
            constructor = set(inspect.signature(upstream_class(config.upstream)).parameters) - {
                "tag"
            }
            known = sorted(
                {*constructor, *protocol, "exits", *([upstream.knob] if upstream.knob else [])}
            )
            raise UsageError(
                f"--set {key}: neither {config.upstream} nor a protocol of {task.name} has it; "
                f"{did_you_mean(key, known)}"
            )


def _refuse_task(upstream: Upstream, task: Task) -> None:
    """UsageError where the upstream was tuned for something else."""
    card = upstream.card
    if card.tasks and task.name not in card.tasks:
        raise UsageError(
            f"{card.name} was tuned on {card.tuned_on or 'labelled data'} and is only for "
            f"{', '.join(card.tasks)}, not for {task.name}; choose another --task, or a "
            "self-supervised upstream (run_benchmark.py ls upstreams)"
        )


def _knob(
    config: RunConfig, upstream: Upstream, given: Any
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """The values of the upstream's knob and the spans of its exits."""
    for name in config.knobs:
        if name != upstream.knob:
            own = (
                f"turn its own knob with --knob {upstream.knob}=VALUE"
                if upstream.knob
                else "it does not exit by itself"
            )
            raise UsageError(f"{config.upstream} has no {name}: {own}")
    if config.span and not upstream.knob:
        raise UsageError(
            f"{config.upstream} does not exit by itself, so it has no span; choose an adaptive "
            "upstream such as daisy"
        )
    spans = tuple(dict.fromkeys(config.span)) or upstream.spans
    for span in spans:
        if span not in calibration.SPANS:
            raise UsageError(f"there is no span {span!r}: {did_you_mean(span, calibration.SPANS)}")
    if not upstream.knob:
        return (), spans
    words = [] if given is None else str(given).split(",")
    values = tuple(config.knobs.get(upstream.knob, ())) or tuple(
        number(w, f"--set {upstream.knob}") for w in words
    )
    for value in values:
        if warning := upstream.check_knob(value):
            print(f"warning: {warning}", file=sys.stderr)
    return values or upstream.knob_values, spans


def limited(items: Sequence[Item], limit: int | None, seed: int) -> Sequence[Item]:
    """All, or `limit` of them drawn with `seed`, in their old order."""
    if limit is None or limit >= len(items):
        return items
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), limit))]
