"""The command line: a verb first, bare flags mean `run`. stdout is results only; progress, notices
and errors go to stderr.

Exit status: 0 done, 1 something asked for could not be made, 2 the request is wrong, 3 this
machine cannot serve it.
"""

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from .commands import VERBS
from .errors import BenchmarkError, MachineError, UsageError, did_you_mean


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    # Threads that wait by spinning hold up every other job on a busy machine.
    # It must be said before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s: %(message)s")
    logging.getLogger("earlyexit_superb").setLevel(logging.INFO)
    try:
        if argv and not argv[0].startswith("-"):
            if argv[0] not in VERBS:
                raise UsageError(f"there is no verb {argv[0]!r}: {did_you_mean(argv[0], VERBS)}")
            verb, argv = argv[0], argv[1:]
        else:
            verb = "run"
        return import_module(f".commands.{verb}", __package__).command(argv)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except ModuleNotFoundError as error:
        if (error.name or __package__).split(".")[0] == __package__.split(".")[0]:
            raise
        from .extras import lacking, missing

        print(
            f"error: {lacking('run_benchmark.py', missing() or [str(error.name)])}", file=sys.stderr
        )
        return MachineError.code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` closed our stdout
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
