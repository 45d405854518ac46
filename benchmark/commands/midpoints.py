"""`midpoints`: DAISY's threshold at rho 1, task by task, beside those that its authors released.

tau at rho 1 is (Emax + Emin) / 2 of the branches' mean entropies on a task's training split (eq.
3). With HuBERT Base, its branches and the paper's corpora it should come out as released: the best
check there is of weights, branches, entropies and splits together.
"""

import csv
import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config import MINISUPERB
from ..errors import UsageError
from .parser import Parser, check_device, several_tasks


def command(argv: Sequence[str]) -> int:
    args = _parsed(argv)
    published = released(args.published)
    for task in args.task:
        line = {"task": task, **measured(args, task)}
        line |= beside(line["midpoint"], published.get(task))
        print(json.dumps(line) if args.json else sentence(line), flush=True)
    return 0


def _parsed(argv: Sequence[str]) -> Namespace:
    parser = Parser(
        prog="run_benchmark.py midpoints",
        description="Print DAISY's threshold at rho 1 on each task's training split, beside the "
        "released one. It takes one pass of the upstream and trains nothing.",
        example="run_benchmark.py midpoints --upstream daisy.base --task asr --data LibriSpeech",
    )
    add = parser.add_argument
    add("--task", nargs="+", default=MINISUPERB, metavar="NAME", help="default asr sid se ss")
    upstream = "whose knob is rho; default daisy.base, which the released numbers are of"
    add("--upstream", default="daisy.base", metavar="NAME", help=upstream)
    several_tasks(parser)
    published = "default: results/published_thresholds.csv of the checkout"
    add("--published", type=Path, metavar="CSV", help=published)
    add("--json", action="store_true", help="print JSON lines")
    args = parser.parse_args(argv)
    from ..config import corpora, pairs
    from ..extras import HERE

    args.set, args.task = pairs(args.set), list(dict.fromkeys(args.task))
    args.data = corpora(args.data, args.task, "midpoints")
    args.published = args.published or HERE / "results" / "published_thresholds.csv"
    check_device(args.device)
    return args


def released(path: Path) -> dict[str, float]:
    """Task -> the released threshold divided by the rho that it belongs to, nats per frame.

    Raises: UsageError: it is no table with the columns task, tau and rho.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {
                line["task"]: float(line["tau"]) / float(line["rho"])
                for line in csv.DictReader(file)
            }
    except OSError as error:
        raise UsageError(
            f"midpoints: {path}: {error.strerror or error}; name a table with the columns task, "
            "tau and rho: --published CSV"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"midpoints: {path} has no columns task, tau and rho with numbers in them ({error}); "
            "compare it with results/published_thresholds.csv"
        ) from error


def measured(args: Namespace, task: str) -> dict[str, Any]:
    """What one task's training split gives: its corpus, the extremes and their mean."""
    from ..calibration import depth_means
    from ..engine.experiment import RunConfig
    from ..engine.feature_cache import cached_features
    from ..engine.resolve import resolve

    data = args.data.get(task, args.data.get(""))
    config = RunConfig(
        args.upstream,
        task,
        knobs={"rho": (1.0,)},
        data=data,
        protocol=args.protocol,
        device=args.device,
        settings=args.set,
    )
    exp = resolve(config)
    items, what = exp.splits["train"], f"{task} train"
    train = cached_features(
        exp.upstream, items, exp.task.load, what, args.device, "evidence"
    ).evidence
    means = depth_means(train)
    if exp.corpus.name == "mini":
        print(
            f"notice: {task}: the released number is of another corpus; name one with --data",
            file=sys.stderr,
        )
    return {
        "upstream": exp.upstream.card.name,
        "corpus": f"{exp.corpus.name}@{exp.corpus.hash}",
        "n": len(items),
        "e_max": float(means.max()),
        "e_min": float(means.min()),
        "midpoint": exp.upstream.tau(train, 1.0),
    }


def beside(midpoint: float, theirs: float | None) -> dict[str, float | None]:
    """The released number, and how far this one is off: in nats, and in percent of it."""
    if theirs is None:
        return {"released": None, "off": None, "off_percent": None}
    off = midpoint - theirs
    return {"released": theirs, "off": off, "off_percent": 100 * off / theirs}


def sentence(line: dict[str, Any]) -> str:
    known = "no number was released"
    if line["released"] is not None:
        off = f"{line['off']:+.3f} off ({line['off_percent']:+.1f} %)"
        known = f"released {line['released']:.3f}, {off}"
    return (
        f"{line['task']}: tau at rho 1 is {line['midpoint']:.3f} nats per frame (Emax "
        f"{line['e_max']:.3f}, Emin {line['e_min']:.3f}; {line['n']} training utterances of "
        f"{line['corpus']}, {line['upstream']}); {known}"
    )
