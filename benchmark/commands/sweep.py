"""Many runs side by side: a grid of upstreams, tasks, protocols and seeds, every cell a `run` in a
process of its own.

Cells run in local processes, or over Ray on several machines that share the results folder. They
meet only in the results folder and the cache, where feature caches and heads are claimed
(`storage.locked`), so they may run anywhere, in any order and twice. A cell that fails is reported
with its command and costs the others nothing.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .config_file import with_config
from .parser import LOCAL, Parser, asked, run_options, run_parser

if TYPE_CHECKING:
    from argparse import _ArgumentGroup

    from ..engine.sweep_grid import Cell
    from ..engine.sweep_local import Outcome
    from ..report.result import Result

# Options of run that the grid hands out itself, or that are about what is printed. Every other one
# reaches the cells as it is given.
OWN = ("upstream", "task", "protocol", "seed", "data", "set", "results", "device", "config")
OWN += ("rho", "knob", "test_rho", "test_knob", "span", "budget", "max_loss")
OWN += ("help", "version", "json", "reference", "force")


def command(argv: Sequence[str]) -> int:
    args = parsed(argv)
    from ..engine.sweep_grid import grid, shard

    cells: Sequence[Cell] = grid(args)
    if args.shard:
        cells = shard(cells, args.shard)
    if args.list:
        print("\n".join(cell.command for cell in cells))
        return 0
    from ..report.result import FIX
    from ..storage import writable

    writable(args.results, FIX)
    (args.results / "sweep").mkdir(exist_ok=True)
    rows, failed = _run(cells, args)
    try:
        _print(rows, args)
    finally:  # also where --reference names no row
        for sentence in failed:
            print(f"error: {sentence}", file=sys.stderr)
    if failed:
        print(
            f"error: {len(failed)} of {len(cells)} cells failed; the same command repeats those",
            file=sys.stderr,
        )
    return 1 if failed else 0


def parsed(argv: Sequence[str]) -> Namespace:
    """The options, those of --config among them; `passed_on` are the words that every cell is given
    as they are.
    """
    parser = Parser(
        prog="run_benchmark.py sweep",
        description="Run a grid of cells: upstreams x tasks x protocols x seeds. It takes the "
        "options of run and passes them on to the cells.",
        example="run_benchmark.py sweep --upstream daisy hubert --task se --seed 0 1 2 --workers 2",
        conflict_handler="resolve",  # what the grid takes otherwise stands in run's place
    )
    run_options(parser)
    _grid_options(parser.add_argument_group("the grid"))
    _worker_options(parser.add_argument_group("where cells run, and what is printed"))
    args = with_config(parser, argv)
    asked(args)
    if args.force:  # cells share heads, and each would throw away what another has just trained
        raise UsageError(
            "sweep: --force is for single runs; name a new --results folder to make every row "
            "again, or repeat the commands that --list prints with --force, one after the other"
        )
    args.passed_on = _passed_on(args)
    return args


def _passed_on(args: Namespace) -> list[str]:
    words = []
    for option in run_parser()._actions:
        value = None if option.dest in OWN else getattr(args, option.dest)
        if value in (None, option.default):
            continue
        given = value if isinstance(value, list) else [] if value is True else [value]
        words += [option.option_strings[0], *map(str, given)]
    return words


def _grid_options(group: _ArgumentGroup) -> None:
    def several(flag: str, metavar: str, about: str, **more: Any) -> None:
        group.add_argument(flag, nargs="+", metavar=metavar, help=about, **more)

    several("--upstream", "NAME", "one or several, as `run` takes them")
    several("--task", "NAME", "one or several")
    several("--seed", "N", "default 0", default=["0"])
    several("--protocol", "NAME", "default: mini on built-in data, else SUPERB's")
    several("--rho", "R", "for the upstreams that have a rho")
    several("--knob", "NAME=V,V", "for the upstreams that have a knob of that name")
    several("--test-rho", "R", "rho at test, for the upstreams that have one")
    several("--test-knob", "NAME=V,V", "a knob at test, for the upstreams that have it")
    several("--span", "SPAN", "for the upstreams that exit by themselves")
    saves = "rows that save this share of MACs (30%%), of the upstreams that exit by themselves"
    several("--budget", "P", saves, default=[])
    loses = "rows that lose at most this by a bound, of the upstreams that exit by themselves"
    several("--max-loss", "X", loses, default=[])
    several(
        "--data", "[TASK=]DIR", "a corpus for every task or for one; default: the built-in ones"
    )


def _worker_options(group: _ArgumentGroup) -> None:
    add = group.add_argument
    add("--device", default="cpu", metavar="DEV", help="cpu or cuda: each cell then sees one GPU")
    where = f"one folder for all; default {LOCAL}"
    add("--results", type=Path, default=LOCAL, metavar="DIR", help=where)
    apart = "a cell for each value of a knob, where there are more workers than cells"
    add("--apart", action="store_true", help=apart)
    add("--workers", type=int, default=1, metavar="N", help="local processes; default 1")
    threads = "threads a cell; default: the cores divided by the workers"
    add("--threads", type=int, metavar="N", help=threads)
    retries = "how often a cell that died is started again; default 2"
    add("--retries", type=int, default=2, metavar="N", help=retries)
    share = "only every N-th cell from the I-th (1 to N), for job arrays"
    add("--shard", metavar="I/N", help=share)
    ray = "over Ray: this machine, or a cluster's address (auto, HOST:PORT)"
    add("--ray", nargs="?", const="local", metavar="ADDRESS", help=ray)
    gpus = "GPUs a cell takes from Ray with --device cuda, 0.5 = two cells share one; default 1"
    add("--gpus", type=float, default=1.0, metavar="G", help=gpus)
    add("--list", action="store_true", help="print the cells' commands and do nothing")


def _run(cells: Sequence[Cell], args: Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Every row that a cell printed, in the grid's order, and a sentence for every cell that
    failed.
    """
    from tqdm import tqdm

    rows: dict[Cell, list[dict[str, Any]]] = {}
    failed = []
    style: dict[str, Any] = {"unit": "cell", "dynamic_ncols": True}
    outcomes = _outcomes(cells, args)
    with tqdm(total=len(cells), desc="sweep", file=sys.stderr, **style) as bar:
        for done in outcomes:
            rows[done.cell], others = _rows(done)
            how, also = "done", ""
            if done.status or not rows[done.cell]:
                how = "failed"
                failed.append(_sentence(done))
            elif others:
                also = f"; what else it printed: {done.cell.log}"
            else:
                done.cell.log.unlink(missing_ok=True)
            tried = f" (started {done.tries} times)" if done.tries > 1 else ""
            bar.write(f"{how}: {done.cell.name}{tried}{also}", file=sys.stderr)
            bar.update()
    ordered = [row for cell in cells for row in rows.get(cell, [])]
    # cells share a backbone's rows; two that made one at once timed it apart
    unique = {_cell(row): row for row in ordered}
    return list(unique.values()), failed


def _cell(line: Mapping[str, Any]) -> tuple:
    """What a row is of, whatever came out; weights have their revision."""
    from ..report.board_lines import LEADING

    return tuple(line.get(column) for column in LEADING if column != "recipe")


def _rows(done: Outcome) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows among what a cell printed, and the lines that a plug-in wrote to its stdout beside
    them. Those go to the log, where they can be looked up."""
    rows, others = [], []
    for line in done.printed.splitlines():
        try:
            read = json.loads(line)
        except (ValueError, RecursionError):
            read = None
        if isinstance(read, dict) and "task" in read:
            rows.append(read)
        else:
            others.append(f"on stdout: {line}\n")
    if others:
        with open(done.cell.log, "a", encoding="utf-8") as log:
            log.writelines(others)
    return rows, others


def _outcomes(cells: Sequence[Cell], args: Namespace) -> Iterator[Outcome]:
    """Start the cells; yields each as it ends."""
    from ..engine.sweep_local import Pool, over_processes, threads_each
    from ..engine.sweep_ray import over_ray

    threads = args.threads or threads_each(args.workers)
    logs = args.results / "sweep"
    print(
        f"{len(cells)} cells, {threads} threads each; their progress: {logs}/*.log", file=sys.stderr
    )
    pool = Pool(args.device, args.workers, threads, args.retries)
    if args.ray:
        return over_ray(cells, pool, args.ray, args.gpus)
    return over_processes(cells, pool)


def _sentence(failed: Outcome) -> str:
    """Why a cell failed, and the command that runs it alone."""
    cell, status = failed.cell, failed.status
    text = cell.log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    reasons = errors or lines[-1:] if status else ["it printed no row"]
    how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    tried = f" after {failed.tries} tries" if failed.tries > 1 else ""
    why = f": {reasons[-1]}" if reasons else ""
    return f"{cell.name}: {how}{tried}{why} (log: {cell.log}); alone: {cell.command}"


def _print(rows: Sequence[dict[str, Any]], args: Namespace) -> None:
    """JSON lines, or a table for each task."""
    from ..report.board_lines import against, row
    from ..report.folder import load_all
    from ..report.row_notes import warn
    from ..report.trainings_apart import recipe_of

    for task in dict.fromkeys(line["task"] for line in rows):
        of_task = [line for line in rows if line["task"] == task]
        there = load_all(args.results, task)
        printed = {_cell(line) for line in of_task}
        warn([result for result in there if _cell(row(result)) in printed])
        averaged = {recipe_of(result) for result in there}
        for line in of_task:  # as the board has them
            if line.get("recipe") and line["recipe"] not in averaged:
                line["recipe"] = ""
        if args.reference:
            of_task = against(of_task, args.reference, [row(result) for result in there])
        if args.json:
            for line in of_task:
                print(json.dumps(line))
        else:
            _print_table(of_task, there)


def _print_table(rows: Sequence[dict[str, Any]], there: Sequence[Result]) -> None:
    import pandas as pd

    from ..report.board_lines import aggregated, compared
    from ..report.screen import screen

    whole = ("display.width", None, "display.max_columns", None, "display.max_colwidth", None)
    frame = pd.DataFrame(compared([*rows, *aggregated(rows)], there))
    table = screen(frame)
    for axis in ("protocol", "corpus"):
        if frame[axis].nunique() > 1:
            table.insert(0, axis, frame[axis].fillna("").astype(str))
    with pd.option_context(*whole):
        print(table.to_string(index=False))
