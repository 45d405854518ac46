"""`run_benchmark.py leaderboard`: the tables again, from the JSONs of a results folder."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from .parser import LOCAL, Parser


def command(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="run_benchmark.py leaderboard",
        description="Rebuild the tables from the JSONs of a results folder.",
        example="run_benchmark.py leaderboard results/local --reference hubert.tiny",
    )
    parser.add_argument("results", nargs="?", type=Path, default=LOCAL, help=f"default {LOCAL}")
    parser.add_argument(
        "--reference",
        default="",
        metavar="NAME",
        help="savings against this upstream's full depth; default: each row's own backbone",
    )
    args = parser.parse_args(argv)
    folder = args.results
    from ..report.folder import files, need
    from ..report.leaderboard import write

    need(folder)
    found = sorted({p.relative_to(folder).parts[0] for p in files(folder)})
    if not found:
        raise UsageError(
            f"{folder} holds no results; run a benchmark first: run_benchmark.py --upstream daisy "
            "--task se --rho 0.7"
        )
    for task in found:
        for path in write(folder, task, args.reference):
            print(path)
    return 0
