"""Which rows of a results folder belong together: an adaptive upstream's on one task, corpus and
recipe, beside those of its backbone.
"""

from collections.abc import Sequence
from pathlib import Path

from ..config import MINISUPERB
from ..errors import UsageError
from .folder import files, load_all
from .result import Result


def tasks_in(root: Path, wanted: Sequence[str] = ()) -> list[str]:
    """The tasks to be shown: those `wanted`, or else all that have rows, DAISY's order first."""
    if wanted:
        return list(dict.fromkeys(wanted))
    there = {path.relative_to(root).parts[0] for path in files(root)}
    return [*(t for t in MINISUPERB if t in there), *sorted(there - set(MINISUPERB))]


def chosen(root: Path, task: str, upstream: str, only: str = "") -> list[Result]:
    """The rows of one table, made by the newest version of the task that there is.

    Args:
        upstream: as `run` takes it, "daisy" or "daisy.base", or the name that its rows have.
        only: a part of the rows' folder, such as "mini-31d2f988", where there are several corpora,
            recipes or sets of weights.

    Raises: UsageError where there are none, or where they belong to more than one table.
    """
    results = load_all(root, task)
    adaptive: dict[Path, Result] = {}
    for result in results:
        folder = _folder(result)
        if result.cell.knob and _called(result.cell.upstream, upstream) and only in str(folder):
            adaptive.setdefault(folder, result)
    if not adaptive:
        where = f" in a folder called {only}" if only else ""
        raise UsageError(
            f"{root} has no rows of {upstream} on {task}{where}; make them with: run_benchmark.py "
            f"table1 --task {task} --upstream {upstream} --results {root}"
        )
    if len(adaptive) > 1:
        raise UsageError(
            f"{root} has rows of {upstream} on {task} that do not belong in one figure; say which "
            f"with --only and a part of one of these names: {', '.join(map(str, adaptive))}"
        )
    [(folder, one)] = adaptive.items()
    # a folder may hold rows of several versions of its task, which are no seeds of one another
    newest = max(r.cell.task_version for r in results if _folder(r) == folder)
    of_version = [r for r in results if r.cell.task_version == newest]
    beside = [r for r in of_version if _folder(r).parent == folder.parent]
    return [r for r in beside if _folder(r) == folder or _belongs(r, one)]


def _folder(result: Result) -> Path:
    return result.cell.path(Path()).parent


def _called(name: str, wanted: str) -> bool:
    """Options that are not at their default make another name: daisy.tiny(branches=random) is not
    called daisy, daisy.tiny is.
    """
    return wanted in (name, name.partition(".")[0] if "(" not in name else name)


def _belongs(result: Result, to: Result) -> bool:
    """Whether a row is the unprocessed one, or of the backbone and the weights of `to`."""
    cell = result.cell
    same = to.cell.revision.startswith(cell.revision)  # a wrapper's begins with its backbone's
    return cell.exit == "unprocessed" or (cell.upstream == to.cost.reference and same)
