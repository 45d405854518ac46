"""`run_benchmark.py compare A B`: the paired difference of two rows, metric by metric. With --task
it is another verb: all systems in one table (compare_systems.py).
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .parser import LOCAL, Parser

if TYPE_CHECKING:
    from ..report.curve import Pool
    from ..report.paired import Difference, Seeds
    from ..report.result import Result

STATIC = ("curve", "random", "oracle")


def command(argv: Sequence[str]) -> int:
    if any(word.partition("=")[0] in ("--task", "--config") for word in argv):
        from . import compare_systems

        return compare_systems.command(argv)
    parser = Parser(
        prog="run_benchmark.py compare",
        description="Print the difference A - B of two rows on the utterances that both scored, "
        "with a 95 % interval and a p-value: utterances are averaged over the seeds that both "
        "have, then speakers are resampled, and the utterances of each.",
        epilog="A row is a JSON, or columns of the board: 'task=se exit=adaptive rho=0.7 "
        "span=mean'.\nB may also be what the board holds an adaptive row A against: curve (fixed "
        "depths at\nthe same multiply-accumulates), random or oracle.\n\n"
        "All systems on a task in one table and one picture: compare --task T (compare --task T "
        "--help).",
        example="run_benchmark.py compare 'task=se rho=0.7 span=mean exit=adaptive' curve "
        "--results results",
    )
    parser.add_argument("a", metavar="A", help="a row, with all its seeds")
    parser.add_argument("b", metavar="B", help="another one; or curve, random, oracle")
    folders = f"results folders, earlier ones first; default {LOCAL}"
    parser.add_argument("--results", nargs="+", type=Path, default=[LOCAL], help=folders)
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of a table")
    args = parser.parse_args(argv)
    from ..report.curve import Pool
    from ..report.folder import load_all, need
    from ..report.result import measured
    from ..report.selecting import select
    from ..report.trainings_apart import trainings_apart

    results: dict = {}
    for folder in args.results:
        need(folder)
        for result in load_all(folder, tables=False):
            results.setdefault(result.cell, result)
    pool = Pool(trainings_apart(list(results.values())))
    a = select(args.a, pool.results)
    b = [] if args.b in STATIC else select(args.b, pool.results)
    _refuse(a, b)
    found: dict[str, Difference] = {}
    unscored: dict[str, UsageError] = {}
    for metric in measured(a[0]):
        try:
            found[metric.name] = _difference(a, b, args.b, metric.name, pool)
        except UsageError as error:
            unscored[metric.name] = error
    if not found:
        raise next(iter(unscored.values()))
    for name, error in unscored.items():
        print(f"notice: {name}: {error}", file=sys.stderr)
    if args.json:
        for metric, difference in found.items():
            print(json.dumps({"metric": metric, **asdict(difference)}))
    else:
        print(_table(a, b, args.b, found))
    return 0


def _refuse(a: "Sequence[Result]", b: "Sequence[Result]") -> None:
    """UsageError where the rows were not measured on the same thing."""
    for name in ("task", "task_version", "corpus_hash"):
        values = [getattr(rows[0].cell, name) for rows in (a, b) if rows]
        if len(set(values)) > 1:
            raise UsageError(
                f"A and B have another {name} ({values[0]} and {values[1]}), so no utterance pairs "
                "them; compare rows of one task on one corpus"
            )


def _difference(
    a: "Sequence[Result]", b: "Sequence[Result]", named: str, metric: str, pool: "Pool"
) -> "Difference":
    from ..report.paired import by_seed, of_scores

    return of_scores(by_seed(a, metric), by_seed(b, metric) or _static(a, named, metric, pool))


def _static(a: "Sequence[Result]", kind: str, metric: str, pool: "Pool") -> "Seeds":
    """What an adaptive row is held against, for each of its seeds.

    Raises: UsageError where it is not there.
    """
    from ..report.utterances import scores

    found = {}
    for row in a:
        if kind == "curve":
            point = pool.at_equal_macs(row)
            found[row.cell.seed] = point and point.scores(metric)
        else:
            control = pool.control(row, kind)
            found[row.cell.seed] = control and scores(control, metric)
    if missing := [seed for seed, one in found.items() if one is None]:
        what = (
            "no fixed depths of its backbone below and above its cost; make them with --set "
            "exits=static"
            if kind == "curve"
            else f"no {kind} row beside it; make it with --set exits={kind}"
        )
        raise UsageError(f"{kind}: A has {what} (seed {', '.join(map(str, missing))})")
    return {seed: one for seed, one in found.items() if one is not None}


def _table(
    a: "Sequence[Result]", b: "Sequence[Result]", named: str, found: "dict[str, Difference]"
) -> str:
    import pandas as pd

    from ..report.selecting import described

    lines = [
        {
            "metric": metric,
            "A": f"{d.a:.4f}",
            "B": f"{d.b:.4f}",
            "A - B": f"{d.value:+.4f}",
            "95 % interval": f"[{d.low:+.4f}, {d.high:+.4f}]",
            "p": f"{d.p:.4f}",
            "utterances": d.n,
            "left out": d.left_out,
            "speakers": d.speakers or "unknown",
            "seeds": d.seeds,
            "sd over seeds": "" if d.spread is None else f"{d.spread:.4f}",
        }
        for metric, d in found.items()
    ]
    heading = [f"A: {described(a)}", f"B: {described(b) if b else named}"]
    if any(d.left_out for d in found.values()):
        heading += ["left out: utterances that did not score in every row"]
    if not all(d.speakers for d in found.values()):
        heading += ["no speakers known: utterances are resampled one by one (too narrow)"]
    with pd.option_context("display.width", None, "display.max_columns", None):
        return "\n".join([*heading, pd.DataFrame(lines).to_string(index=False)])
