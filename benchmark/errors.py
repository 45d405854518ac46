"""What a user is told when something is wrong: what, where, why, and the command that fixes it."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class BenchmarkError(Exception):
    """Ends the program with one sentence on stderr, no traceback, and `code` as the exit status."""

    code = 1


class UsageError(BenchmarkError):
    """The request is wrong: unknown name, bad option, data that does not fit."""

    code = 2


class MachineError(BenchmarkError):
    """The request is fine but this machine cannot serve it: a missing package, a full disk."""

    code = 3


class HelpShown(SystemExit):
    """--help was all that was asked for. A plain SystemExit comes from somebody else's code."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The tail of a sentence about an unknown name: the near misses, or else all there is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"


def first_line(error: BaseException) -> str:
    """What an exception says, in one line of a sentence; its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def listed(problems: Sequence[str], most: int = 10) -> str:
    """Several complaints in one sentence."""
    more = f" | and {len(problems) - most} more" if len(problems) > most else ""
    return " | ".join(problems[:most]) + more


def require(module: str, why: str, extra: str = "") -> Any:
    """Import `module` now, or say in one sentence which command makes it importable.

    Broken binary pairs raise more than ImportError (torchaudio beside another torch:
    OSError, RuntimeError; s3prl beside a new torchaudio: AttributeError), so all of them
    are caught here, once.

    Args:
        why: what needs it, as the sentence begins.
        extra: the extra that brings it (benchmark/extras.py); "" where it belongs to the core.
    """
    import importlib

    from .extras import install

    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise MachineError(
            f"{why} needs the package {module}, which cannot be imported here "
            f"({type(error).__name__}: {first_line(error)}); run: {install(extra)} "
            "(or run_benchmark.py doctor for a diagnosis)"
        ) from error


def need_all(why: str, modules: Mapping[str, str]) -> None:
    """One sentence about all of `modules` (module -> its extra) that are not installed."""
    from importlib.util import find_spec

    from .extras import install

    absent = [module for module in modules if find_spec(module.split(".")[0]) is None]
    if absent:
        extras = ",".join(dict.fromkeys(modules[module] for module in absent))
        raise MachineError(
            f"{why} needs {', '.join(absent)}, not installed here; run: {install(extras)}"
        )
