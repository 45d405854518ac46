"""The command line: a verb first, bare flags mean `run`. stdout is results only; progress, notices
and errors go to stderr.

Exit status: 0 done, 1 something asked for could not be made, 2 the request is wrong, 3 this
machine cannot serve it.
"""

import codecs
import errno
import getpass
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from .commands import VERBS
from .errors import BenchmarkError, MachineError, UsageError, did_you_mean
from .foreign import as_sentence
from .memory import keep_freed
from .orphan import end_with_sweep

# of our tables, where the terminal's encoding has them not; anything else becomes its code, \\xe9
SPELLED = {"±": "+-", "↑": "^", "↓": "v", "†": "+", "…": "...", "²": "^2"}
# what a write to a full disk, or beyond a quota, ends with
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    # Threads that wait by spinning hold up every other job on a busy machine.
    # It must be said before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed()
    _any_encoding()
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s: %(message)s")
    logging.getLogger("earlyexit_superb").setLevel(logging.INFO)
    end_with_sweep()
    _named_user()
    try:
        status = _verb(argv)
        if sys.stdout is not None:  # closed by who started us
            sys.stdout.flush()  # now, where what is wrong with it can be said
        return status
    except BenchmarkError as error:
        return _told(error)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` closed our stdout
        _leave_stdout()
        return 0
    except BaseException as error:
        sentence = _of_this_machine(error) or as_sentence(error)
        if sentence is None:
            raise
        return _told(sentence)


def _named_user() -> None:
    """torch asks for the user's name, which a container's user may not have."""
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = "nobody"


def _verb(argv: list[str]) -> int:
    if argv and not argv[0].startswith("-"):
        if argv[0] not in VERBS:
            raise UsageError(f"there is no verb {argv[0]!r}: {did_you_mean(argv[0], VERBS)}")
        verb, argv = argv[0], argv[1:]
    else:
        verb = "run"
    return import_module(f".commands.{verb}", __package__).command(argv)


def _told(error: BenchmarkError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return error.code


def _of_this_machine(error: BaseException) -> MachineError | None:
    """A package that is missing, a stdout that takes no more; None where it is neither."""
    if isinstance(error, ModuleNotFoundError):
        if (error.name or __package__).split(".")[0] == __package__.split(".")[0]:
            return None
        from .extras import lacking, missing

        return MachineError(lacking("run_benchmark.py", missing() or [str(error.name)]))
    if isinstance(error, OSError) and error.filename is None and error.errno in FULL:
        _leave_stdout()
        return MachineError(
            f"the output cannot be written ({error.strerror}); send it elsewhere and repeat the "
            "command: what is finished is kept"
        )
    return None


def _any_encoding() -> None:
    """Let no letter end a finished run: stdout may be ASCII, names may have any letters."""
    codecs.register_error("spelled", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a test or a notebook stands for it
            stream.reconfigure(errors="spelled")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    said = "".join(
        SPELLED.get(letter) or letter.encode("ascii", "backslashreplace").decode()
        for letter in letters
    )
    return said, error.end


def _leave_stdout() -> None:
    """What is still in its buffer is not tried again at the end of the program."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # it has no file of its own
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  to the end of the program


if __name__ == "__main__":
    sys.exit(main())
