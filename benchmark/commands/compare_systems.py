"""`compare --task T`: all systems on one task in one table and one picture; rows that are missing
are made.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError, need_all
from .config_file import with_config
from .controls import add_controls, split
from .parser import LOCAL, Parser, check_device

if TYPE_CHECKING:
    import pandas as pd

    from ..engine.experiment import RunConfig
    from ..engine.systems import System
    from ..report.result import Result

DEFAULT_CONTROLS = ("random", "random-weights", "random-blocks")
ABOUT = """\
Make the rows of all systems on one task that are missing, and print one table of them:
adaptive, static, distilled, downsampled and pruned ones, and controls, with what each costs,
what it scores against fixed depths of the same cost, and which nobody beats (Pareto). A picture
of the metric against multiply-accumulates and against speed goes beside it. A second run prints
what is there; a run that was stopped goes on.

Nobody named, it takes every registered upstream that stands in a comparison (`compared` of its
class) and whose weights are on this machine, at its own knob values, at the smallest size, for
one seed. Those that stand there with weights=trained (on asr hubert_ee, wav2vec2_ctc, zaiem) are
tuned first, by their recipes for the built-in corpus, a training a seed, and a line is a mean over
them; --system 'hubert_ee weights=trained criterion=confidence' asks for another of the kind.

Left out: upstreams whose weights are random or would have to be downloaded (named with
--upstream they are taken), published sizes (hubert.base), further values and spans of a knob,
the oracle, further seeds, and what the recipe does not fit: on asr the mini recipe asks for
more frames than a shortened input has; --set join=1 outputs=2 makes room, for all systems."""


def command(argv: Sequence[str]) -> int:
    args = with_config(_parser(), argv)
    _check(args)
    need_all("compare --task", {"matplotlib": "figures"})  # now, not after the work
    from ..engine.several import made
    from ..report.row_notes import warn

    parts, left_out = _parts(args)
    results, refused = made(parts, "compare")
    warn(results)
    for sentence in dict.fromkeys((*left_out, *refused)):
        print(f"notice: left out of the comparison: {sentence}", file=sys.stderr)
    if not results:
        raise UsageError("compare: none of its rows could be made; the notices say why")
    table, paths = written(results, args.out or args.results)
    _print(table, results, args.json)
    for path in paths:
        print(path, file=sys.stderr)
    return 0


def _parser() -> Parser:
    out = Parser(
        prog="run_benchmark.py compare",
        usage="run_benchmark.py compare --task T [options]",
        description=ABOUT,
        example="run_benchmark.py compare --task se --upstream hubert --system 'daisy rho=0.7,1.0'",
    )
    add = out.add_argument
    add("--task", metavar="T", help="a task, as `run` takes it")
    upstream = "these alone, as `run` takes them, each as it stands in the comparison by default"
    add("--upstream", nargs="+", default=[], metavar="NAME", help=upstream)
    system = "an upstream and what --set would say of it (span=... too), one or several, beside"
    system += " --upstream or alone"
    several = {"nargs": "+", "action": "extend", "metavar": "'NAME KEY=VALUE ...'"}
    add("--system", **several, default=[], help=system)
    add_controls(out, DEFAULT_CONTROLS, "all but the oracle")
    seed = "default 0, for a first look; a table to publish takes three: 0 1 2"
    add("--seed", nargs="+", default=["0"], metavar="N", help=seed)
    data = "a corpus in the task's layout; default: the built-in one"
    add("--data", type=Path, metavar="DIR", help=data)
    add("--protocol", metavar="NAME", help="default: mini on built-in data, else SUPERB's")
    setting = "a field of the recipe, for all systems; what is of one system goes with --system"
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=setting)
    add("--lr", metavar="LR", help="of the heads, or `sweep`")
    add("--device", default="cpu", metavar="DEV", help="cpu, cuda, cuda:1, ...; default cpu")
    add("--results", type=Path, default=LOCAL, metavar="DIR", help=f"of rows; default {LOCAL}")
    files = "where compare_<task>.csv, .md, .png and .svg go; default: the results folder"
    add("--out", type=Path, metavar="DIR", help=files)
    add("--config", type=Path, metavar="YAML", help="options from a file; the command line wins")
    add("--json", action="store_true", help="print the lines as JSON instead of a table")
    return out


def _check(args: Namespace) -> None:
    from ..config import seeds
    from ..registry import tasks

    if not args.task:
        raise UsageError("compare: --task is missing; for example: compare --task se")
    tasks.get(args.task)
    args.dealt, args.weights = split(args.controls, "compare")
    args.seed = seeds(args.seed)
    check_device(args.device)


def _parts(args: Namespace):
    """The runs behind the table, each checked before the first begins, and a sentence for all that
    is left out."""
    from ..engine.ahead import asks
    from ..engine.several import jobs
    from ..engine.system_runs import Controls, checked, name_of, parts
    from ..engine.system_weights import trained
    from ..engine.systems import defaults, named, spelled_out

    systems = [one for spec in args.upstream for one in named(spec)]
    systems += [spelled_out(text) for text in args.system]
    left_out: list[str] = []
    if not systems:
        systems, left_out = defaults(args.task)
    lenient = not (args.upstream or args.system)
    controls = Controls(args.dealt, args.weights)
    likes = [replace(_like(args), seed=seed) for seed in args.seed]

    def runs(of: "Sequence[tuple[RunConfig, Sequence[System]]]"):
        found = [parts(ones, controls, like) for like, ones in of]
        ready, without = checked([part for of_seed, _ in found for part in of_seed], lenient)
        return ready, [*left_out, *(why for _, some in found for why in some), *without]

    # random ones stand in for weights that are still to be made
    stand_ins, refused = runs([(like, [one.without_weights for one in systems]) for like in likes])
    if not any(one.trained for one in systems):
        return stand_ins, refused
    able = {part.name for part in stand_ins}
    systems = [one for one in systems if name_of(one.without_weights, likes[0]) in able]
    tuned = {name_of(one.without_weights, like) for one in systems for like in likes if one.trained}
    beside = asks(jobs([part for part in stand_ins if part.name not in tuned], {}))
    ready, further = runs(trained(systems, likes, "compare", beside))
    return ready, [*refused, *further]


def _like(args: Namespace) -> "RunConfig":
    from ..engine.experiment import RunConfig

    return RunConfig(
        upstream="",
        task=args.task,
        data=args.data,
        protocol=args.protocol,
        device=args.device,
        results=args.results,
        settings=args.set,
        lr=args.lr,
    )


# ---- what is written -----------------------------------------------------------------------------


def written(results: "Sequence[Result]", out: Path) -> "tuple[pd.DataFrame, list[Path]]":
    """Write the table as CSV and Markdown and the picture as PNG and SVG; the table, and their
    paths. What is drawn is what the CSV says, read back."""
    from ..report import comparison, comparison_text
    from ..report.figures import style, systems
    from ..report.result import measured, slug
    from ..report.screen import markdown
    from ..storage import write_text

    table, task = comparison.frame(results), results[0].cell.task
    text = table.to_csv(index=False, lineterminator="\n")
    parts = comparison_text.tables(table, [metric.name for metric in measured(results[0])])
    said = [f"## {heading}\n\n{markdown(of)}\n" for heading, of in parts]
    said += ["\n".join(f"* {note}" for note in comparison_text.notes(table)) + "\n"]
    paths = [out / f"compare_{slug(task)}{end}" for end in (".csv", ".md", ".png", ".svg")]
    write_text(paths[0], text)
    write_text(paths[1], "\n".join([f"# All systems on {task}\n", *said]))
    figure = systems.draw(systems.read(text))
    return table, [*paths[:2], *(style.save(figure, path) for path in paths[2:])]


def _print(table: "pd.DataFrame", results: "Sequence[Result]", as_json: bool) -> None:
    import pandas as pd

    from ..report import comparison_text
    from ..report.result import measured

    if as_json:
        for line in json.loads(table.to_json(orient="records", double_precision=10)):
            print(json.dumps(line))
        return
    wide = ("display.width", None, "display.max_columns", None, "display.max_colwidth", None)
    with pd.option_context(*wide):
        for heading, of in comparison_text.tables(table, [m.name for m in measured(results[0])]):
            print(f"{heading}\n{of.to_string(index=False)}\n")
    print("\n".join(comparison_text.notes(table)))
