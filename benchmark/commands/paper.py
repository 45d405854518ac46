"""`paper`: tables and figures of papers whose systems answer by themselves, each by one command:
weights that are missing are trained, rows made, and the printed numbers stand beside ours.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError, did_you_mean, need_all
from .parser import LOCAL, Parser, check_device, check_published

if TYPE_CHECKING:
    import pandas as pd

    from ..engine.paper_weights import Conditions
    from ..report.papers.shape import Figure, Line, Paper, Table

ABOUT = """\
Make a table or a figure of a paper, and print it with the printed numbers beside ours. Without
--table or --figure, say what there is. Weights that are missing are trained first, into
<results>/trained; a training and a run that were stopped go on, and a second command only prints.

By default systems are small ones and corpus, trainings and rows those built in: minutes to a
quarter of an hour a training on two cores. With --preset paper they have the published size and
recipe, thresholds are the published ones, and a corpus is needed."""
PUBLISHED_BY, AIMED_BY = "published", "aimed"


def command(argv: Sequence[str]) -> int:
    args = _parser().parse_args(argv)
    from ..report.paper_table import name_of
    from ..report.papers import PAPERS
    from .paper_output import described, figure, table, trainings

    if not args.name:
        print("\n\n".join("\n".join(described(paper)) for paper in PAPERS.values()))
        return 0
    if args.name not in PAPERS:
        raise UsageError(f"there is no paper {args.name!r}: {did_you_mean(args.name, PAPERS)}")
    paper = PAPERS[args.name]
    if not args.table and not args.figure:
        print("\n".join([*described(paper), *trainings(paper)]))
        return 0
    if args.table and args.figure:
        raise UsageError("paper: --table or --figure, one of them at a time")
    kind, number = ("table", args.table) if args.table else ("figure", args.figure)
    known = paper.tables if kind == "table" else paper.figures
    if number not in known:
        raise UsageError(
            f"paper {paper.name} has no {kind} {number} here; it has: "
            f"{', '.join(known) or f'no {kind}'} (run_benchmark.py paper {paper.name})"
        )
    if kind == "figure":
        need_all("paper --figure", {"matplotlib": "figures"})  # now, not after the work
    asked = _conditions(args, paper)
    shown = _published(args, paper, kind, number)
    lines, made = _only(known[number], args.only), table if kind == "table" else figure
    stem = f"paper_{name_of(paper.name, kind, number)}{_part(args)}"
    for path in made(paper, number, lines, asked, shown, (args.out or args.results) / stem):
        print(path, file=sys.stderr)
    return 0


def _parser() -> Parser:
    out = Parser(
        prog="run_benchmark.py paper",
        description=ABOUT,
        example="run_benchmark.py paper hubert-ee --table 1",
    )
    add = out.add_argument
    add("name", nargs="?", help="hubert-ee, early-exit-asr, zaiem; default: all, to list")
    add("--table", metavar="N", help="a table, by its number in the paper")
    add("--figure", metavar="N", help="a figure, by its number in the paper")
    only = "its parts whose heading or line contains one of these words; default all"
    add("--only", nargs="+", default=[], metavar="TEXT", help=only)
    _trained(out)
    _exits(out)
    _where(out)
    return out


def _trained(parser: Parser) -> None:
    add = parser.add_argument
    preset = "tiny or paper: size of the systems, recipes and thresholds; default tiny"
    add("--preset", default="tiny", choices=("tiny", "paper"), metavar="NAME", help=preset)
    data = "a corpus with transcripts, for trainings and rows; default: the built-in one"
    add("--data", type=Path, metavar="DIR", help=data)
    seed = "of trainings; default 0, for a first look; a table to publish takes three: 0 1 2"
    add("--seed", nargs="+", default=["0"], metavar="N", help=seed)
    several = {"nargs": "+", "action": "extend", "default": []}
    train = "fields of every training's recipe (train UPSTREAM --list), such as steps=2000"
    add("--train", **several, metavar="KEY=VALUE", help=train)
    weights = "in the place of a training its weights: a file, or `shipped`"
    add("--weights", **several, metavar="TRAINING=FILE", help=weights)


def _exits(parser: Parser) -> None:
    add = parser.add_argument
    thresholds = f"{PUBLISHED_BY}, or {AIMED_BY} at mean exits of the training split; default: the"
    thresholds += " former with --preset paper, else the latter"
    choices = (PUBLISHED_BY, AIMED_BY)
    add("--thresholds", choices=choices, metavar="KIND", help=thresholds)
    batch = "utterances that leave together, neighbours in length; default: each by itself"
    add("--batch", type=int, default=0, metavar="N", help=batch)
    setting = "a field of the rows' protocol, such as test_limit=100, and lm=FILE.arpa for lines"
    setting += " decoded with a language model"
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=setting)


def _where(parser: Parser) -> None:
    add = parser.add_argument
    add("--device", default="cpu", metavar="DEV", help="cpu, cuda, cuda:1, ...; default cpu")
    results = f"of trainings and rows; default {LOCAL}"
    add("--results", type=Path, default=LOCAL, metavar="DIR", help=results)
    out = "where paper_NAME_tableN.csv, .md and .tex go; default: the results folder"
    add("--out", type=Path, metavar="DIR", help=out)
    published = "of published_NAME_tableN.csv; default: results/ of the checkout"
    add("--published", type=Path, metavar="DIR", help=published)


def _conditions(args: Namespace, paper: "Paper") -> "Conditions":
    from ..config import pairs, seeds
    from ..engine.paper_weights import DECODING, Conditions
    from ..report.papers.shape import PUBLISHED

    check_device(args.device)
    if args.batch < 0 or args.batch == 1:
        raise UsageError(f"--batch is a number of utterances from 2, not {args.batch}")
    if args.data is not None and not args.data.exists():
        raise UsageError(f"--data {args.data}: there is no such folder or list")
    given = pairs(args.set)
    decoding = {key: given.pop(key) for key in DECODING if key in given}
    usual = PUBLISHED_BY if args.preset == PUBLISHED else AIMED_BY
    return Conditions(
        paper.name,
        args.preset,
        tuple(seeds(args.seed)),
        args.data,
        args.device,
        args.results,
        pairs(args.train, "--train"),
        given,
        pairs(args.weights, "--weights"),
        (args.thresholds or usual) == AIMED_BY,
        args.batch,
        decoding,
    )


def _only(of: "Table | Figure", words: Sequence[str]) -> "list[Line]":
    """The lines whose group or label has one of the words; all where there is none."""
    wanted = [word.lower() for word in words]
    found = [
        line
        for line in of.lines
        if not wanted or any(w in f"{line.group} {line.label}".lower() for w in wanted)
    ]
    if not found:
        known = dict.fromkeys(line.group or line.label for line in of.lines)
        raise UsageError(
            f"paper: --only {' '.join(words)}: no line of it is called so; its parts: "
            f"{'; '.join(known)}"
        )
    return found


def _part(args: Namespace) -> str:
    """What a file's name says of a part of a table, which does not take the place of the whole."""
    from ..report.result import slug

    only = f"_only-{slug('-'.join(args.only))}" if args.only else ""
    return only + (f"_batch{args.batch}" if args.batch else "")


def _published(args: Namespace, paper: "Paper", kind: str, number: str) -> "pd.DataFrame":
    from ..extras import HERE, checkout
    from ..report.paper_table import KEYS, name_of, published

    check_published(args.published)
    folder = args.published or (HERE / "results" if checkout() else None)
    name = name_of(paper.name, kind, number)
    found = published(folder, name)
    of = (paper.tables if kind == "table" else paper.figures)[number]
    known = {(line.group, line.label, line.arm) for line in of.lines}
    for key in dict.fromkeys(zip(*(found[one] for one in KEYS), strict=True)):
        if key not in known:
            said = ", ".join(filter(None, key))
            print(f"notice: published_{name}.csv: no line here is called {said}", file=sys.stderr)
    return found
