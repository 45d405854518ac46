"""`table1`: DAISY's Table 1 on the defaults or on corpora of one's own, with the controls that the
paper has not, the published numbers beside it.
"""

import sys
from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import MINISUPERB
from .controls import add_controls, split
from .parser import LOCAL, Parser, check_device, check_published, several_tasks

if TYPE_CHECKING:
    import pandas as pd

    from ..engine.several import Part
    from ..report.result import Result


RHOS, DEPTHS = ("1.0", "0.76", "0.7"), (0, 3, 6, 9)
NAMES = ("table1.csv", "table1.md", "table1.tex")


def command(argv: Sequence[str]) -> int:
    args = _parser().parse_args(argv)
    from ..config import pairs

    args.set = pairs(args.set)
    _check(args)
    from ..engine.several import made
    from ..report.row_notes import warn

    results, refused = made(parts(args), "table1")
    warn(results)
    for sentence in refused:
        print(f"notice: left out of the table: {sentence}", file=sys.stderr)
    by_task = {task: [r for r in results if r.cell.task == task] for task in args.task}
    for path in written(by_task, args.published, args.out or args.results):
        print(path, file=sys.stderr)
    return 0


def _parser() -> Parser:
    out = Parser(
        prog="run_benchmark.py table1",
        description="Make the rows of DAISY's Table 1 that are missing, and print the table with "
        "the published numbers beside it. A second run prints what is there.",
        example="run_benchmark.py table1 --task se ss --seed 0 1 2",
    )
    _rows(out)
    _conditions(out)
    return out


def _rows(parser: Parser) -> None:
    add = parser.add_argument
    add("--task", nargs="+", default=["all"], metavar="NAME", help="asr, sid, se, ss; default all")
    upstream = "adaptive, with a rho, as `run` takes it; default daisy"
    add("--upstream", default="daisy", metavar="NAME", help=upstream)
    add("--rho", nargs="+", default=RHOS, metavar="R", help="default 1.0 0.76 0.7")
    add("--span", nargs="+", default=(), metavar="SPAN", help="default: all of the upstream's own")
    depths = "fixed exits; default 0 3 6 9, as far as the upstream has them"
    add("--depths", nargs="+", type=int, metavar="K", help=depths)
    add_controls(parser, ["random"], "random")
    seed = "default 0, for a first look; a table to publish takes three: 0 1 2"
    add("--seed", nargs="+", default=["0"], metavar="N", help=seed)


def _conditions(parser: Parser) -> None:
    several_tasks(parser)
    add = parser.add_argument
    add("--lr", metavar="LR", help="of the heads, or `sweep`")
    add("--results", type=Path, default=LOCAL, metavar="DIR", help=f"of rows; default {LOCAL}")
    out = f"where {', '.join(NAMES)} go; default: the results folder"
    add("--out", type=Path, metavar="DIR", help=out)
    published = "of published_<task>.csv; default: results/ of the checkout"
    add("--published", type=Path, metavar="DIR", help=published)


def _check(args: Namespace) -> None:
    from ..config import corpora, seeds
    from ..extras import HERE, checkout
    from ..registry import tasks

    args.task = list(MINISUPERB) if "all" in args.task else list(dict.fromkeys(args.task))
    for task in args.task:
        tasks.get(task)
    args.dealt, args.weights = split(args.controls, "table1")
    args.data, args.seed = corpora(args.data, args.task, "table1"), seeds(args.seed)
    check_published(args.published)
    if args.published is None and checkout():
        args.published = HERE / "results"
    check_device(args.device)


# ---- what is run ---------------------------------------------------------------------------------


def parts(args: Namespace) -> "list[Part]":
    """The runs behind the table: for each task and seed the upstream itself, its 12-layer reference
    with s3prl's depth 0, and on request random weights or random blocks under the trained
    front-end, of all but the first the full-depth rows alone.
    """
    from ..engine.several import Part
    from ..registry import options_of

    known = options_of(args.upstream)
    exits = ",".join([*map(str, _depths(args, known)), *args.dealt])
    out = []
    for task in args.task:
        for seed in args.seed:
            name = f"{task}, seed {seed}"
            out.append(Part(name, _config(args, task, seed, {"exits": exits})))
            if "front" in known:
                config = _config(args, task, seed, {"front": "block_input"})
                out.append(Part(f"{name}, block_input", config, _full))
            for weights in args.weights:
                config = _config(args, task, seed, {"weights": weights})
                out.append(Part(f"{name}, weights {weights}", config, _full))
    return out


def _config(args: Namespace, task: str, seed: int, settings: dict[str, str]):
    from ..config import knobs
    from ..engine.experiment import RunConfig

    return RunConfig(
        upstream=args.upstream,
        task=task,
        knobs=knobs(args.rho, None),
        span=tuple(args.span),
        data=args.data.get(task, args.data.get("")),
        protocol=args.protocol,
        seed=seed,
        device=args.device,
        results=args.results,
        settings=args.set | settings,
        lr=args.lr,
    )


def _full(row) -> bool:
    return row.cell.exit == "full"


def _depths(args: Namespace, known: Collection[str]) -> list[int]:
    """The fixed exits asked for; by default those that the upstream has."""
    if args.depths is not None:
        return args.depths
    from ..registry import build_upstream

    options = {key: value for key, value in args.set.items() if key in known}
    last = build_upstream(args.upstream, options).card.depth
    return [depth for depth in DEPTHS if depth < last]


# ---- what is written -----------------------------------------------------------------------------


def written(results: "Mapping[str, Sequence[Result]]", known: Path | None, out: Path) -> list[Path]:
    """Print the table and write its three files; their paths."""
    from ..report import table1
    from ..report.latex import latex
    from ..report.screen import markdown
    from ..storage import write_text

    published = table1.published(known, results) if known else {}
    numbers = table1.lines(results, published)
    shown = {task: _shown(task, published.get(task)) for task in results}
    tables = (
        (table1.wide(numbers, shown), table1.caption(numbers), "tab:daisy"),
        (table1.against(numbers, shown), table1.explained(), "tab:daisy-differences"),
    )
    print("\n\n".join(f"{of.to_string(index=False)}\n\n{said}" for of, said, _ in tables))
    texts = (
        numbers.to_csv(index=False, lineterminator="\n"),
        "# Table 1\n" + "".join(f"\n{said}\n\n{markdown(_flat(of))}\n" for of, said, _ in tables),
        "\n".join(latex(*table) for table in tables),
    )
    paths = [out / name for name in NAMES]
    for path, text in zip(paths, texts, strict=True):
        write_text(path, text)
    return paths


def _flat(table: "pd.DataFrame") -> "pd.DataFrame":
    """Columns of two levels as one."""
    return table.set_axis([" ".join(filter(None, name)) for name in table.columns], axis=1)


def _shown(task: str, published: "pd.DataFrame | None") -> list:
    """The metrics that the published table has; of another task, the one that ranks."""
    from ..registry import tasks

    metrics = tasks.get(task).metrics
    there = [m for m in metrics if published is not None and m.name in published]
    return there or list(metrics[:1])
