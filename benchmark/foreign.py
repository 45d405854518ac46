"""Code that is not ours: a plug-in may print, raise or end the process wherever it is called. A
user gets one sentence that says which file and line did it, and stdout stays results only.
"""

import contextlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from .errors import BenchmarkError, HelpShown, MachineError, UsageError

TRACEBACK = "EARLYEXIT_SUPERB_TRACEBACK"  # the environment variable that shows what was raised
HOUSE = Path(__file__).resolve().parents[1]
STANDARD = Path(sysconfig.get_path("stdlib")).resolve()
LIBRARIES = {"site-packages", "dist-packages"}
NO_MEMORY = (
    *("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory"),
    *("bad_alloc", "failed to map segment", "can't start new thread"),
)


@contextlib.contextmanager
def prints_to_stderr() -> Iterator[None]:
    """What is printed meanwhile is no result. Also a decorator."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def as_sentence(error: BaseException) -> BenchmarkError | None:
    """What a user is told of an exception that nobody caught; None where the fault is ours, or it
    is no error at all (--help).
    """
    if TRACEBACK in os.environ or isinstance(error, HelpShown):
        return None
    if not isinstance(error, Exception | SystemExit):
        return None
    said = " ".join(str(error).split())[:300]
    if lacks_memory(error):
        return MachineError(
            f"this machine has not enough memory for it ({said or type(error).__name__}); free "
            "some, raise the limit (ulimit -v), or take less at a time: fewer --workers, a "
            "smaller upstream, shorter audio"
        )
    place = foreign_place(error)
    if not place:
        return None
    if isinstance(error, SystemExit):
        what = f"ends the program, sys.exit({'' if error.code is None else repr(error.code)})"
        return UsageError(f"{place} {what}; let a plug-in raise an exception that says why")
    what = f"raises {type(error).__name__}{f': {said}' if said else ''}"
    return UsageError(f"{place} {what} (the whole traceback: set {TRACEBACK}=1 and repeat it)")


def lacks_memory(error: BaseException) -> bool:
    """Whether an exception says that there is not enough memory (torch's is a RuntimeError)."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(text in said for text in NO_MEMORY)


def foreign_place(error: BaseException) -> str:
    """ "mine.py line 12": where code that is not ours had the fault; "" where there is none."""
    package = __name__.split(".")[0]
    installed = {
        entry.module.split(".")[0]
        for room in ("upstreams", "tasks")
        for entry in entry_points(group=f"{package}.{room}")
    }
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file, module = frame.f_code.co_filename, frame.f_globals.get("__name__", "")
        if module.split(".")[0] in installed or _is_foreign(file):
            return f"{Path(file).name} line {line}"
    return ""


def _is_foreign(file: str) -> bool:
    """Whether a Python file is neither ours nor a library's."""
    path = Path(file).resolve()
    if not path.is_file():  # a frozen module, code from a string
        return False
    rooms = ("upstreams", "downstreams", "tasks", "benchmark", "run_benchmark.py")
    ours = path.is_relative_to(HOUSE) and path.relative_to(HOUSE).parts[0] in rooms
    return not (ours or path.is_relative_to(STANDARD) or LIBRARIES & set(path.parts))
