"""Which files of a results folder are rows, and which of them can be believed.

What is wrong with one file is said once, on stderr, and that file is left out: the others stand.
"""

import os
from collections import Counter
from pathlib import Path

from ..errors import MachineError, UsageError
from ..migration import path_of_schema_1
from ..soundness import NOT_THERE, set_aside
from .escaping import plain
from .notices import notice
from .result import Cell, Result, measured, slug
from .schema import Damaged
from .trainings_apart import trainings_apart

CELLS = "*/*/*/*/*.json"  # task, corpus, recipe, upstream, row


def load_all(root: Path, task: str | None = None, tables: bool = True) -> list[Result]:
    """Every cell below `root` that can be believed, each once, in the order of their paths.

    Left out, with a notice: what is no result, does not follow from its utterances' table, lies
    where another cell belongs, or is the copy of a cell that lies at its own path.

    Args:
        tables: hold each against its utterances now; else when they are first asked for, and what
            is wrong is an error there.

    Raises: MachineError where the folder cannot be read.
    """
    found: dict[Cell, Result] = {}
    for path in files(root, task):
        try:
            result = Result.load(path)
            _in_place(result, root)
        except UsageError as error:
            notice(f"left out: {error}")
            continue
        there = found.get(result.cell)
        if there is None:
            found[result.cell] = result
            continue
        own = result.cell.path(root)
        kept, copy = (result, there) if path == own else (there, result)
        found[result.cell] = kept
        notice(
            f"left out: {plain(str(copy.path))} is another copy of the row {plain(str(kept.path))};"
            " move it away"
        )
    rows = sorted(found.values(), key=lambda result: result.path or Path())
    rows = [row for row in rows if _follows(row)] if tables else rows
    return trainings_apart(_of_one_kind(rows))


def need(root: Path) -> None:
    """UsageError where a results folder is none, whatever its name."""
    try:
        there = root.is_dir()
    except OSError:  # a name that is too long for a file system
        there = False
    if not there:
        raise UsageError(
            f"there is no results folder {plain(str(root), 200)}; run a benchmark first, or name "
            "the folder"
        )


def _follows(result: Result) -> bool:
    """Whether a row follows from its utterances' table; a notice where it does not."""
    try:
        result.utterances  # noqa: B018  it is checked when it is read
    except UsageError as error:
        notice(f"left out: {error}")
        return False
    return True


def kept(path: Path, cell: Cell) -> bool:
    """Whether a row is there. One that cannot be believed is set aside, with a notice, to be made
    again; one of a newer version is left to it.

    Raises: NewerSchema where a newer version wrote it; MachineError where it cannot be read or set
        aside.
    """
    if not os.path.lexists(path):
        return False
    try:
        result = Result.load(path)
        result.utterances  # noqa: B018  it is checked when it is read
        if result.cell == cell:
            return True
        why = "holds another row"
    except Damaged as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, NOT_THERE):
            raise MachineError(
                f"{plain(str(error.path))} cannot be read ({cause.strerror or cause}); it may be "
                "whole and is left as it is: mend the cause and repeat the command, or remove it"
            ) from error
        of_table = error.path != path
        why = f"cannot be believed: {plain(error.path.name)} {error.why}" if of_table else error.why
    set_aside(path, why)
    return False


def files(root: Path, task: str | None = None) -> list[Path]:
    """The JSONs where rows are kept, but for hidden ones (what other programs leave beside)."""
    try:
        there = sorted(root.glob(CELLS if task is None else f"{slug(task)}/*/*/*/*.json"))
    except OSError as error:
        raise MachineError(
            f"the results folder {plain(str(root), 200)} cannot be read ({error.strerror}); name "
            "another, or mend its permissions"
        ) from error
    return [path for path in there if not path.name.startswith(".")]


def _in_place(result: Result, root: Path) -> None:
    """UsageError where a file's path says that it is another cell."""
    path, own = result.path or Path(), result.cell.path(root)
    if path not in (own, path_of_schema_1(result.cell, root)):
        raise UsageError(
            f"{plain(str(path))} holds the row of {plain(str(own.relative_to(root)))}; move it "
            "there, or away"
        )


def _of_one_kind(results: list[Result]) -> list[Result]:
    """Those whose version of their task measures what most rows of that version say it does."""
    kinds: dict[tuple[str, int], Counter] = {}
    for result in results:
        kinds.setdefault(_version(result), Counter())[_metrics(result)] += 1
    usual = {version: counted.most_common(1)[0][0] for version, counted in kinds.items()}
    kept = []
    for result in results:
        if _metrics(result) == usual[_version(result)]:
            kept.append(result)
            continue
        names = ", ".join(name for name, _ in usual[_version(result)])
        notice(
            f"left out: {plain(str(result.path))} has other metrics than other rows of its task "
            f"({plain(names)}); run its command again with --force, or move it away"
        )
    return kept


def _version(result: Result) -> tuple[str, int]:
    return result.cell.task, result.cell.task_version


def _metrics(result: Result) -> tuple[tuple[str, bool], ...]:
    return tuple((metric.name, metric.higher_is_better) for metric in measured(result))
