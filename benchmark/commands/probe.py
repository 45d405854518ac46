"""`probe`: what every depth of an upstream holds by itself, beside random weights of its shape.

A head is trained on one depth alone, not on the weighted sum up to it: with the task's own recipe,
or, with --linear, a head without recurrent layers. What such a head cannot read may still be there
for another one.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import MINISUPERB
from ..errors import UsageError
from .parser import LOCAL, Parser, check_device, several_tasks

if TYPE_CHECKING:
    from ..engine.several import Part


AGAINST = ("random", "random-blocks")


def command(argv: Sequence[str]) -> int:
    args = _parser().parse_args(argv)
    from ..config import corpora, pairs, seeds

    args.set = pairs(args.set)
    args.task = list(MINISUPERB) if "all" in args.task else list(dict.fromkeys(args.task))
    args.data, args.seed = corpora(args.data, args.task, "probe"), seeds(args.seed)
    check_device(args.device)
    from ..engine.several import made

    model, refused = made(parts(args, {}), "probe of the model")
    control, sentences = made(parts(args, {"weights": args.against}), f"probe of {args.against}")
    refused += sentences
    path = printed(args, model, control)
    print(path, file=sys.stderr)
    for sentence in refused:
        print(f"error: {sentence}", file=sys.stderr)
    return 1 if refused else 0


def _parser() -> Parser:
    parser = Parser(
        prog="run_benchmark.py probe",
        description="Train a head on each depth alone, of an upstream and of random weights of its "
        "shape, and print what each scores and how far they are apart. A second run prints what is "
        "there.",
        example="run_benchmark.py probe --upstream hubert --task se --depths 0 3 6 12 --seed 0 1 2",
    )
    add = parser.add_argument
    upstream = "one whose weights may be random (--set weights=random); default hubert"
    add("--upstream", default="hubert", metavar="NAME", help=upstream)
    add("--task", nargs="+", default=["all"], metavar="NAME", help="asr, sid, se, ss; default all")
    add("--depths", nargs="+", type=int, metavar="K", help="default: every one, 0 included")
    add("--seed", nargs="+", default=["0", "1", "2"], metavar="N", help="default 0 1 2")
    linear = "a linear head (layers=0) where the task's has recurrent layers: much faster"
    add("--linear", action="store_true", help=linear)
    against = (
        "what stands beside it: `random` weights, or `random-blocks` under its own front-end, "
        "which tells what the blocks learned; default random"
    )
    add("--against", choices=AGAINST, default="random", help=against)
    several_tasks(parser)
    results = f"of the probes' rows, apart from those of systems; default {LOCAL}/probe"
    add("--results", type=Path, default=LOCAL / "probe", metavar="DIR", help=results)
    add("--out", type=Path, metavar="DIR", help="where probe.csv goes; default: the results folder")
    return parser


def parts(args: Namespace, settings: dict[str, str]) -> "list[Part]":
    """The runs of one set of weights, a part a task and seed."""
    from ..engine.experiment import RunConfig
    from ..engine.several import Part
    from ..registry import build_upstream, options_of

    known = options_of(args.upstream)
    if "weights" not in known:
        raise UsageError(
            f"probe: {args.upstream} has no option `weights`, so there are no random ones to hold "
            "it against; take hubert, hubert.base or daisy"
        )
    options = {key: value for key, value in args.set.items() if key in known} | settings
    depths = args.depths
    if depths is None:
        depths = range(build_upstream(args.upstream, options).card.depth + 1)
    out = []
    for task in args.task:
        alone = {"exits": ",".join(f"alone:{depth}" for depth in depths)}
        if args.linear and _recurrent(task):
            alone["layers"] = "0"
        for seed in args.seed:
            config = RunConfig(
                upstream=args.upstream,
                task=task,
                data=args.data.get(task, args.data.get("")),
                protocol=args.protocol,
                seed=seed,
                device=args.device,
                results=args.results,
                settings={**args.set, **alone, **settings},
            )
            out.append(Part(f"{task}, seed {seed}", config, lambda row: row.alone))
    return out


def _recurrent(task: str) -> bool:
    """Whether the protocols of a task say how many recurrent layers its head has."""
    from ..registry import tasks

    return hasattr(next(iter(tasks.get(task).protocols.values())), "layers")


def printed(args: Namespace, model: Sequence, random: Sequence) -> Path:
    """Print every task's table; the CSV of all of them, written."""
    import pandas as pd

    from ..registry import tasks
    from ..report import probe
    from ..storage import write_text

    tables = []
    for task in args.task:
        of_model, of_random = ([r for r in of if r.cell.task == task] for of in (model, random))
        table = probe.lines(of_model, of_random, tasks.get(task).metrics[0])
        if len(table):
            tables.append(table)
            print(probe.text(table) + "\n")
    path = (args.out or args.results) / "probe.csv"
    text = pd.concat(tables).to_csv(index=False, lineterminator="\n") if tables else ""
    write_text(path, text)
    return path
