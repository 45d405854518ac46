"""`figure N`: a figure of DAISY's paper, drawn from the files of a results folder.

Figures of the noise study first make what they show, where it is not there yet.
"""

import io
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from ..errors import need_all
from .parser import LOCAL, Parser

FIGURES = {  # its number in the paper: (module of report/figures, what it shows)
    "2": ("entropy_by_depth", "average entropy of every branch, and how straight a line it is"),
    "3": ("tradeoff", "metric against time and multiply-accumulates saved, beside fixed exits"),
    "4": ("exit_depths_by_snr", "exit depths of clean and noisy speech: noise, music, babble"),
    "5": ("wer_by_snr", "word error rates by noise ratio, against a fixed exit"),
}
# what makes what a figure shows: prepare(args) leaves it in args
MAKERS = {"4": "figure_exit_depths", "5": "figure_word_errors"}


def command(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    module = import_module(f"..report.figures.{FIGURES[args.number][0]}", __package__)
    if args.number in MAKERS:
        need_all("figure", {"matplotlib": "figures"})  # now, not after the work
        _settle(args)
        import_module(f".{MAKERS[args.number]}", __package__).prepare(args)
    for path in made(module, args.results, args.out or args.results, args):
        print(path)
    return 0


def parser() -> Parser:
    shown = "\n".join(f"  {number}  {about}" for number, (_, about) in FIGURES.items())
    out = Parser(
        prog="run_benchmark.py figure",
        description="Draw a figure of DAISY's paper from the rows of a results folder, as PNG and "
        "SVG, with the\nnumbers it shows as CSV. Figures 4 and 5 make what they show where it is "
        f"missing.\n\n{shown}",
        example="run_benchmark.py figure 2 --task se --out figures",
    )
    add = out.add_argument
    add("number", choices=tuple(FIGURES), metavar="N", help="the figure's number in the paper")
    add("--task", nargs="+", default=[], metavar="NAME", help="default: all that have rows")
    upstream = "whose rows, as `run` names it; default daisy"
    add("--upstream", default="daisy", metavar="NAME", help=upstream)
    only = "a part of the rows' folder, where there are several corpora or recipes"
    add("--only", default="", metavar="TEXT", help=only)
    add("--results", type=Path, default=LOCAL, metavar="DIR", help=f"of the rows; default {LOCAL}")
    add("--out", type=Path, metavar="DIR", help="where to write; default: the results folder")
    _running(out.add_argument_group("figures that run what they show").add_argument)
    for number, name in MAKERS.items():
        group = out.add_argument_group(f"figure {number}")
        import_module(f".{name}", __package__).arguments(group)
    return out


def _running(add: Callable) -> None:
    rho = "DAISY's ratio, or values of the upstream's own knob; default: those of the figure"
    add("--rho", nargs="+", metavar="R", help=rho)
    setting = "an option of the upstream, or what else `run` takes there"
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=setting)
    seed = "of draws, and of heads (several are averaged); default 0"
    add("--seed", nargs="+", default=["0"], metavar="N", help=seed)
    add("--device", default="cpu", metavar="DEV", help="cpu, cuda, cuda:1, ...; default cpu")


def _settle(args: Namespace) -> None:
    """Words into values. UsageError about the first that is none."""
    from ..config import knobs, pairs, seeds
    from .parser import check_device

    args.rho = knobs(args.rho, None).get("rho", ())
    args.set, args.seed = pairs(args.set), seeds(args.seed)
    check_device(args.device)


def made(module, results: Path, out: Path, options) -> list[Path]:
    """Write a figure's CSV, PNG and SVG."""
    table = module.frame(results, options)
    return files(module.NAME, table, module.draw, out, getattr(module, "TABLES", {}))


def files(name: str, shown, draw: Callable, out: Path, further=MappingProxyType({})) -> list[Path]:
    """<name>.csv, .png and .svg. What is drawn is what the CSV says, read back.

    Args:
        shown: a data frame; draw: of it, read back, a matplotlib figure.
        further: name -> what else follows from the table.
    """
    import pandas as pd

    from ..report.figures import style
    from ..storage import write_text

    text = shown.to_csv(index=False, lineterminator="\n")
    table = pd.read_csv(io.StringIO(text), float_precision="round_trip")
    figure = draw(table)
    paths = [out / f"{name}{end}" for end in (".csv", ".png", ".svg")]
    write_text(paths[0], text)
    for kind, of in further.items():
        paths.insert(1, out / f"{name}_{kind}.csv")
        write_text(paths[1], of(table).to_csv(index=False, lineterminator="\n"))
    return [*paths[:-2], *(style.save(figure, path) for path in paths[-2:])]
