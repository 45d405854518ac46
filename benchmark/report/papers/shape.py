"""What a table or a figure of a publication is, as values: lines, the systems behind them and the
trainings behind those. Two sizes of everything: the publication's, and a small one for the built-in
data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SMALL, PUBLISHED = "tiny", "paper"
SIZES = (SMALL, PUBLISHED)
ALL = ""  # the only arm of a table whose lines have one system each


@dataclass(frozen=True)
class Model:
    """An upstream in both sizes.

    Attributes:
        upstream: the plug-in.
        tag, small_tag: of the published size and of the other one.
        blocks, first: of the published size its depth and its first exit; small_blocks,
            small_first: those of the other.
    """

    upstream: str
    tag: str = "base"
    blocks: int = 12
    first: int = 2
    small_blocks: int = 12
    small_first: int = 2
    small_tag: str = SMALL

    def spec(self, size: str) -> str:
        return f"{self.upstream}.{self.tag if size == PUBLISHED else self.small_tag}"

    def block(self, published: int, size: str) -> int:
        """The block that stands as far down as the publication's block."""
        return published if size == PUBLISHED else published * self.small_blocks // self.blocks

    def last(self, size: str) -> int:
        return self.block(self.blocks, size)

    def mean_depth(self, published: float, size: str) -> float:
        """The mean exit that lies as far between the first exit and the last block."""
        if size == PUBLISHED:
            return published
        share = (published - self.first) / (self.blocks - self.first)
        return round(self.small_first + share * (self.small_blocks - self.small_first), 2)


@dataclass(frozen=True, eq=False)
class Training:
    """Weights of a system, by one of its upstream's recipes. No two are the same.

    Attributes:
        name: what it is called on the command line.
        preset: of the published size; the other one's is `tiny`.
        recipe: fields of either preset that differ here.
        single: the published number of blocks of a model with one exit, at its end; 0 = all.
        own: further options of the upstream; sized: by size, more of them.
        start: makes the weights that it begins with; None = the upstream's own.
        teacher: of a distillation, which learns from speech alone.
    """

    name: str
    model: Model
    preset: str = "paper"
    recipe: Mapping[str, str] = field(default_factory=dict)
    single: int = 0
    own: Mapping[str, str] = field(default_factory=dict)
    sized: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    start: "Training | None" = None
    teacher: Model | None = None

    @property
    def chain(self) -> "tuple[Training, ...]":
        """All that must be trained for it, in their order, itself last."""
        return (*(self.start.chain if self.start else ()), self)

    def preset_at(self, size: str) -> str:
        return self.preset if size == PUBLISHED else SMALL

    def options(self, size: str) -> dict[str, str]:
        """Of the upstream's constructor, in its training as in its runs."""
        single = {"single": str(self.model.block(self.single, size))} if self.single else {}
        return {**self.own, **self.sized.get(size, {}), **single}


@dataclass(frozen=True, eq=False)
class Line:
    """One line of a table, or one of its arms, or a point of a figure. No two are the same.

    An exit is a fixed block, or a threshold; neither is the whole model.

    Attributes:
        label, group: the line and the part of the table that it stands in, as printed.
        training: of its weights; None where there are none, and `lacking` says why in a sentence.
        options: of the upstream, in the runs alone.
        arm: one of the table's.
        criterion: as the upstream takes it.
        block: a fixed exit, by the published number.
        threshold: in the publication's unit.
        aim: the mean exit, by published numbers, that a threshold of one's own is set for where
            the published one does not apply.
        needs: module -> the extra that brings it, of what it takes beside the upstream's own.
        control: it is no line of the publication.
        lm: whether it is decoded with a language model, which a user gives: never, where one is
            given, or always, so that without one it has no rows.
    """

    label: str
    group: str = ""
    training: Training | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    arm: str = ALL
    criterion: str = "entropy"
    block: int | None = None
    threshold: float | None = None
    aim: float | None = None
    needs: Mapping[str, str] = field(default_factory=dict)
    lacking: str = ""
    control: bool = False
    lm: Literal["never", "given", "always"] = "never"

    @property
    def adaptive(self) -> bool:
        return self.threshold is not None or self.aim is not None


@dataclass(frozen=True)
class Table:
    """
    Attributes:
        title: what it shows, a sentence without its end.
        heading: of the column that names its lines.
        measures: its columns, names of paper_table.MEASURES.
        arms: systems side by side in a line, as the columns are headed.
        minus: two arms; the first minus the second is told for every line.
        pairs: what the difference of two of its lines is called, and the two.
        notes: sentences about what is printed there, or differs here.
    """

    title: str
    heading: str
    measures: tuple[str, ...]
    lines: tuple[Line, ...]
    arms: tuple[str, ...] = (ALL,)
    minus: tuple[str, ...] = ()
    pairs: tuple[tuple[str, Line, Line], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """
    Attributes:
        kind: a module of report/figures that draws it: paper_cost, paper_exits or paper_shares.
        lines: its points, a curve a group.
    """

    title: str
    kind: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Paper:
    """
    Attributes:
        name: on the command line and in names of files.
        reference: authors, year, where it stands.
        tables, figures: by their numbers there.
    """

    name: str
    reference: str
    tables: Mapping[str, Table]
    figures: Mapping[str, Figure]
