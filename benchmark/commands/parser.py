"""The options of `run`, as argparse and as a value; a mistake on a command line is one sentence."""

import argparse
import textwrap
from pathlib import Path

from ..errors import HelpShown, UsageError, did_you_mean
from . import VERBS

LOCAL = Path("results/local")


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one sentence, with the nearest right spelling.

    Args:
        example: a command line, which --help shows at its end.
    """

    def __init__(self, *args, description: str, example: str, epilog: str = "", **more):
        super().__init__(
            *args,
            allow_abbrev=False,
            description=description if "\n" in description else textwrap.fill(description, 90),
            epilog="\n\n".join(filter(None, (epilog, f"example:\n  {example}"))),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **more,
        )

    def exit(self, status=0, message=None):
        raise HelpShown(status)

    def error(self, message):
        known = [o for action in self._actions for o in action.option_strings if o.startswith("--")]
        for word in message.replace(":", " ").split():
            if word.startswith("--") and word not in known:
                message += f"; {did_you_mean(word.split('=')[0], known)}"
                break
        raise UsageError(f"{message} (see {self.prog} --help)")


def kind_of(kinds: argparse._SubParsersAction, name: str, about: str, example: str) -> Parser:
    """The parser of what stands behind a verb: `data verify`, `cache ls`."""
    return kinds.add_parser(name, help=about, description=about, example=example)


OVERVIEW = (
    "A benchmark harness for early-exit speech upstreams: metric versus compute, one table.\n\n"
    "verbs (run_benchmark.py VERB --help says more):\n"
    + "\n".join(f"  {verb:11}  {about}" for verb, about in VERBS.items())
    + "\n\nThe options below are those of run. With --upstream and --task alone everything runs\n"
    "on built-in data and models; nothing is downloaded."
)


def run_parser() -> Parser:
    """Of `run`, and of no verb at all."""
    parser = Parser(
        prog="run_benchmark.py",
        usage="run_benchmark.py [VERB] [options]",
        description=OVERVIEW,
        example="run_benchmark.py --upstream daisy --task se --rho 0.7",
    )
    run_options(parser)
    parser.add_argument("--version", action="store_true", help="print version and folder")
    return parser


def run_options(parser: Parser) -> None:
    """What `run` takes, and `plan` and `sweep` with it."""
    _what(parser)
    _anytime(parser)
    _how(parser)
    _where(parser)


def _what(parser: Parser) -> None:
    """An upstream and how it exits, a task and its data."""
    add = parser.add_argument
    upstream = (
        "an upstream (run_benchmark.py ls upstreams), name.tag, hf:ID, torchaudio:BUNDLE, "
        "s3prl:NAME or path/to/file.py:Class"
    )
    add("--upstream", metavar="NAME", help=upstream)
    task = "a task (run_benchmark.py ls tasks), or path/to/file.py:NAME"
    add("--task", metavar="NAME", help=task)
    rho = "DAISY's ratio, one or several: larger exits earlier, 0 never; default 0.7"
    add("--rho", nargs="+", metavar="R", help=rho)
    knob = "the same for any upstream's knob, such as target_depth=4,6 or rho=0.7"
    add("--knob", nargs="+", metavar="NAME=V,V", help=knob)
    span = "where an exit may be tested: mean, threshold, min-max, all; default: the upstream's own"
    add("--span", nargs="+", metavar="SPAN", help=span)
    data = "a corpus in the task's layout; default: the built-in mini corpus"
    add("--data", type=Path, metavar="DIR", help=data)


def _anytime(parser: Parser) -> None:
    """The threshold at test, apart from the one that heads are trained with."""
    add = parser.add_argument
    test_rho = "rho at test, one or several, apart from the one that heads are trained with"
    add("--test-rho", nargs="+", metavar="R", help=test_rho)
    test_knob = "the same for any upstream's knob; all pairs with --rho or --knob are rows"
    add("--test-knob", nargs="+", metavar="NAME=V,V", help=test_knob)
    budget = "rows that save at least this share of MACs (30%%), chosen on the training split"
    add("--budget", nargs="+", default=[], metavar="P", help=budget)
    loss = "rows that lose at most this against full depth, in the first metric's unit, by a bound"
    add("--max-loss", nargs="+", default=[], metavar="X", help=f"{loss} from the dev split")
    delta = "how probable it may be that a --max-loss does not hold; default 0.1"
    add("--delta", default="0.1", metavar="D", help=delta)
    most = "the most that one utterance can lose, for --max-loss; default: as the metric says"
    add("--loss-bound", metavar="B", help=most)


def _how(parser: Parser) -> None:
    """The recipe, and what it runs on."""
    add = parser.add_argument
    protocol = "a published recipe (run_benchmark.py ls tasks); default: mini on built-in data,"
    add("--protocol", metavar="NAME", help=f"{protocol} else SUPERB's")
    lr = "the heads' learning rate, or sweep: train at every rate of the protocol's grid, the dev"
    add("--lr", metavar="LR", help=f"{lr} split chooses")
    seed = "of head weights, batches and dropout; several give a row each and their mean; default 0"
    add("--seed", nargs="+", default=["0"], metavar="N", help=seed)
    add("--device", default="cpu", metavar="DEV", help="cpu, cuda, cuda:1, ...; default cpu")
    precision = "of the upstream's pass; a bf16 row has a name of its own; default fp32"
    add("--precision", choices=("fp32", "bf16"), default="fp32", help=precision)
    setting = "an option of the upstream, a field of the protocol, or the upstream's knob"
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=setting)


def _where(parser: Parser) -> None:
    """Where options come from, where results go, and what is printed of them."""
    add = parser.add_argument
    results = f"where JSONs, heads and leaderboards go; default {LOCAL}"
    add("--results", type=Path, default=LOCAL, metavar="DIR", help=results)
    add("--config", type=Path, metavar="YAML", help="options from a file; the command line wins")
    add("--force", action="store_true", help="make the rows again although they are there")
    reference = "print savings against this upstream's full depth; default: the row's own backbone"
    add("--reference", default="", metavar="NAME", help=reference)
    add("--json", action="store_true", help="print the results as JSON lines instead of a table")


def several_tasks(parser: Parser) -> None:
    """The corpora, recipe, settings and device of a verb that runs several tasks."""
    add = parser.add_argument
    data = "a corpus for every task or for one, several; default: the built-in ones"
    add("--data", nargs="+", action="extend", default=[], metavar="[TASK=]DIR", help=data)
    add("--protocol", metavar="NAME", help="default: mini on built-in data, else SUPERB's")
    setting = "an option of the upstream, or a field of every task's protocol"
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=setting)
    add("--device", default="cpu", metavar="DEV", help="cpu, cuda, cuda:1, ...; default cpu")


def requested(args: argparse.Namespace):
    """The configurations of a command line, one a seed; names are checked as far as that is
    cheap.
    """
    from ..config import knobs, seeds

    for needed in ("upstream", "task"):
        if not getattr(args, needed):
            raise UsageError(
                f"--{needed} is missing; for example: run_benchmark.py --upstream daisy --task se "
                "--rho 0.7"
            )
    from ..registry import tasks

    if args.task not in tasks.names():
        tasks.get(args.task)  # complains, before torch takes its two seconds
    check_device(args.device)
    from ..engine.experiment import RunConfig

    wanted = asked(args)
    return [
        RunConfig(
            upstream=args.upstream,
            task=args.task,
            knobs=knobs(args.rho, args.knob),
            test_knobs=knobs(args.test_rho, args.test_knob, "test-"),
            anytime=wanted,
            span=tuple(args.span or ()),
            data=args.data,
            protocol=args.protocol,
            seed=seed,
            device=args.device,
            results=args.results,
            settings=args.set,
            force=args.force,
            lr=None if args.lr is None else str(args.lr),
            precision=args.precision,
        )
        for seed in seeds(args.seed)
    ]


def asked(args: argparse.Namespace):
    """What test thresholds are to be chosen for. UsageError about the first that is no number."""
    from ..config import above_zero, shares
    from ..engine.anytime import Anytime

    delta = above_zero(args.delta, "--delta")
    if delta >= 1:
        raise UsageError(f"--delta is a probability below 1, not {delta:g}")
    return Anytime(
        budgets=shares(args.budget),
        max_losses=tuple(dict.fromkeys(above_zero(x, "--max-loss") for x in args.max_loss)),
        delta=delta,
        loss_bound=None if args.loss_bound is None else above_zero(args.loss_bound, "--loss-bound"),
    )


def check_device(name: str) -> None:
    """See `engine.devices.check_device`; a parser alone imports no torch."""
    from ..engine import devices

    devices.check_device(name)


def check_published(folder: Path | None) -> None:
    """UsageError where a folder that is named has no table of published numbers."""
    if folder and not any(folder.glob("published_*.csv")):
        raise UsageError(
            f"--published {folder}: there is no published_*.csv in it; name the folder of such "
            "tables (the known ones: results/ of the checkout), or leave it out"
        )
