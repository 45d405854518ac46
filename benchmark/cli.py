"""The command line: a verb first, bare flags mean `run`. stdout is results only; progress, notices
and errors go to stderr.

Exit status: 0 done, 1 something asked for could not be made, 2 the request is wrong, 3 this
machine cannot serve it.
"""

import getpass
import io
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from .commands import VERBS
from .errors import BenchmarkError, MachineError, UsageError, did_you_mean
from .foreign import as_sentence
from .orphan import end_with_sweep


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    # Threads that wait by spinning hold up every other job on a busy machine.
    # It must be said before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s: %(message)s")
    logging.getLogger("earlyexit_superb").setLevel(logging.INFO)
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show ends no run
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    end_with_sweep()
    _named_user()
    try:
        status = _verb(argv)
        sys.stdout.flush()
        return status
    except BenchmarkError as error:
        return _told(error)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` closed our stdout
        sys.stderr.close()
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
    """A package that is missing, a stdout that takes nothing; None where it is neither."""
    if isinstance(error, ModuleNotFoundError):
        if (error.name or __package__).split(".")[0] == __package__.split(".")[0]:
            return None
        from .extras import lacking, missing

        return MachineError(lacking("run_benchmark.py", missing() or [str(error.name)]))
    if isinstance(error, OSError) and error.filename is None and (why := _stdout_fails()):
        return MachineError(
            f"stdout takes no more ({why}); what was made is kept: the same command prints it again"
        )
    return None


def _stdout_fails() -> str:
    """Why stdout cannot be written to; "" where it can. From then on it goes nowhere."""
    try:
        print()  # what failed before is forgotten by now
        sys.stdout.flush()
    except OSError as error:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return error.strerror or str(error)
    return ""


if __name__ == "__main__":
    sys.exit(main())
