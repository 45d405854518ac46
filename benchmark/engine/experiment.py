"""What a command line asks for: every name, option and file resolved and checked, and
the rows of its table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path

from ..config import short_hash
from ..contract import Corpus, Item, Protocol, Setup, Task, Upstream
from ..exiting import leaving
from ..report.result import Cell
from . import controls
from .anytime import Anytime
from .protocols import RunProtocol


@dataclass(frozen=True)
class Row:
    """One line of the table to be: a cell and how its utterances leave.

    Attributes:
        normalise: layer-norm before the weighted sum; None where no head is trained.
        depth: a fixed exit; None = decided by evidence.
        alone: a probe: the head reads the state at that depth and none below it.
        taus: the user's own thresholds; () = calibrated by the knob.
        batch: utterances that leave together, neighbours in the corpus or, `by_length`, in length;
            0 = each decides for itself.
        budget, max_loss: what the test threshold is chosen for; see `Anytime`.
        path: of its result.
    """

    cell: Cell
    normalise: bool | None = None
    depth: int | None = None
    taus: tuple[float, ...] = ()
    batch: int = 0
    budget: float | None = None
    max_loss: float | None = None
    alone: bool = False
    path: Path = Path()

    @property
    def by_length(self) -> bool:
        return self.cell.exit.endswith(controls.BY_LENGTH)

    @property
    def replayed_only(self) -> bool:
        """Not timed: a control or a decision by batches cannot be run live, utterance by utterance,
        and a probe of one depth is no system.
        """
        return self.cell.exit in controls.CONTROLS or self.batch > 0 or self.alone


@dataclass(frozen=True)
class RunConfig:
    """What a command line says.

    Attributes:
        knobs: a knob's name -> its values; the upstream must have it.
        test_knobs: the same, of the values at test; none = those that heads are trained with.
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
    test_knobs: Mapping[str, Sequence[float]] = field(default_factory=dict)
    anytime: Anytime = field(default_factory=Anytime)
    settings: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    lr: str | None = None
    precision: str = "fp32"


@dataclass(frozen=True)
class Experiment:
    """Everything a configuration resolves to, checked before anything is spent.

    Attributes:
        values: of the upstream's knob, and test_values, those at test where they are not the same;
            spans: in which exits are tested. Every combination is a row.
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
    test_values: tuple[float, ...] = ()

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
    def backbone(self) -> Upstream:
        """Whose full-depth and fixed-depth rows these are: the upstream's backbone; itself where
        that has no answer to give."""
        of = self.upstream.backbone
        return self.upstream if self.answers and self.task.name not in of.answers else of

    @cached_property
    def rows(self) -> list[Row]:
        """Unprocessed; full depth with and without layer-norm; for heads depth 0, the front-end
        alone, without which nobody sees what the blocks add; a fixed exit in the middle; every knob
        value with every value at test and every span; then what else was asked for."""
        backbone, upstream, blocks = self.backbone, self.upstream, self.upstream.card.depth
        ways = (None,) if self.answers else (True, False)  # layer-norm is on the way to a head
        usual = ways[0]
        places = leaving(upstream) if self.answers else range(1, blocks + 1)
        middle = [k for k in places if k < blocks][: len(places) // 2][-1:]
        rows = [Row(self._cell(backbone, "full", way), way, blocks) for way in ways]
        front = () if self.answers or blocks == 0 else (0,)
        fixed = (*front, *middle, *self.extra.depths)
        for depth in dict.fromkeys(fixed):
            rows.append(Row(self._cell(backbone, f"depth {depth}", usual), usual, depth))
        for depth in self.extra.alone:
            cell = self._cell(backbone, f"depth {depth} alone", usual)
            rows.append(Row(cell, usual, depth, alone=True))
        for exit in ("adaptive", *self.extra.controls, *self.extra.batches):
            for value, at_test, span in self._adaptive():
                cell = self._cell(upstream, exit, usual, upstream.knob, value, span, at_test)
                rows.append(Row(cell, usual, batch=self.extra.batches.get(exit, 0)))
        chosen_in = tuple(dict.fromkeys(self.config.span)) or ("all",)
        for exit, (budget, max_loss) in self.config.anytime.exits.items():
            for value, span in product(self.values, chosen_in):
                cell = self._cell(upstream, exit, usual, upstream.knob, value, span)
                rows.append(Row(cell, usual, budget=budget, max_loss=max_loss))
        for taus, (name, batch) in product(self.extra.taus, {"": 0, **self.extra.batches}.items()):
            exit = ", ".join(filter(None, (f"tau {'/'.join(map(str, taus))}", name)))
            rows.append(Row(self._cell(upstream, exit, usual), usual, taus=taus, batch=batch))
        if self.task.unprocessed:
            rows.insert(0, Row(self._cell(None, "unprocessed")))
        return [replace(row, path=row.cell.path(self.config.results)) for row in rows]

    def _adaptive(self) -> list[tuple[float, float | None, str]]:
        """Of every adaptive row: the knob's value, its value at test where that differs, the
        span."""
        pairs = [
            (value, None if at_test == value else at_test)
            for value in self.values
            for at_test in self.test_values or (value,)
        ]
        return [(value, at_test, span) for value, at_test in pairs for span in self.spans]

    def _cell(
        self,
        upstream: Upstream | None,
        exit: str,
        layer_norm: bool | None = None,
        knob: str | None = None,
        value: float | None = None,
        span: str | None = None,
        test_value: float | None = None,
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
            test_value=test_value,
        )
