"""`train`: make an upstream's own weights by one of its recipes, or list the recipes."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

from .. import distributed
from ..config import pairs, seeds
from ..contract import Training
from ..engine.training_start import TrainingConfig, preset_of, train, trainable, trainable_names
from ..errors import UsageError
from .parser import Parser, check_device


def command(argv: Sequence[str]) -> int:
    args = _parser().parse_args(argv)
    if args.list:
        for name in [args.name] if args.name else trainable_names():
            print("\n".join(described(name)), end="\n\n")
        return 0
    if not args.name or not args.out:
        missing = "--out, the folder for the weights," if args.name else "the upstream"
        raise UsageError(
            f"train: {missing} is missing; for example: run_benchmark.py train daisy.tiny --data "
            "speech --out trained (see what can be trained, and how: run_benchmark.py train --list)"
        )
    check_device(args.device)
    config = TrainingConfig(
        args.name,
        args.out,
        args.preset,
        tuple(args.data),
        tuple(args.noise),
        args.task,
        args.teacher,
        pairs(args.set),
        seeds([args.seed])[0],
        args.device,
    )
    with distributed.joined(args.device) as device:
        path = train(replace(config, device=device))
        if distributed.is_leader():
            print(path)
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="run_benchmark.py train",
        description="Train an upstream's own weights by one of its recipes.",
        epilog="A stopped training goes on. Under torchrun several processes share every batch.",
        example="run_benchmark.py train daisy.tiny --data speech --noise noise --out trained",
    )
    add = parser.add_argument
    add(
        "name",
        nargs="?",
        help="an upstream with a recipe: hubert.tiny, daisy.tiny, daisy.base, ...",
    )
    add("--list", action="store_true", help="print its presets with every field, and train nothing")
    add(
        "--preset",
        default="",
        metavar="NAME",
        help="a recipe of --list; default: the tag's, or paper",
    )
    add(
        "--data",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="folders of speech (wav, flac, opus, ogg, mp3); with --task one labelled corpus",
    )
    add(
        "--task",
        default="",
        metavar="NAME",
        help="the task that reads the labels of --data; without --data its built-in corpus",
    )
    add(
        "--noise",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="folders of noise to mix in",
    )
    add("--teacher", default="", metavar="NAME", help="another upstream to learn from")
    add("--out", type=Path, metavar="DIR", help="checkpoints, log, finished weights and their card")
    add("--seed", default="0", metavar="N", help="of everything drawn at random; default 0")
    add("--device", default="cpu", metavar="DEV", help="cpu, cuda, cuda:1, ...; default cpu")
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="fields of the recipe, options of the upstream, teacher.OPTION=VALUE of the teacher",
    )
    return parser


def described(spec: str) -> Iterator[str]:
    """The lines that say how an upstream is trained: its data, and its presets side by side."""
    _, training = trainable(spec)
    yield f"{spec}: {training.about}"
    yield from _takes(training)
    names = list(training.presets)
    columns = [
        [name, *(_shown(getattr(p, f.name)) for f in _numbers(p))]
        for name, p in training.presets.items()
    ]
    rows = _numbers(next(iter(training.presets.values())))
    labels = ["preset", *(f.name for f in rows)]
    abouts = ["", *(f.metadata.get("about", "") for f in rows)]
    widths = [max(map(len, column)) for column in (labels, *columns)]
    for row in zip(labels, *columns, abouts, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  " + "  ".join([*cells, row[-1]]).rstrip()
    for name in names:
        yield f"  {name}: {training.presets[name].source}"
    try:
        yield f"  {spec} is trained with --preset {preset_of(spec)} when no preset is named"
    except UsageError:
        yield f"  {spec} has no preset of its own: name one with --preset"


def _takes(training: Training) -> Iterator[str]:
    labelled, teacher = training.labels, training.teacher
    data = {
        "unused": "--data DIR ...",
        "optional": "--data DIR ... or --task NAME --data DIR",
        "needed": "--task NAME --data DIR",
    }[labelled]
    yield f"  data: {data}, --noise DIR ..."
    if teacher != "unused":
        yield f"  --teacher UPSTREAM is {teacher}"
    if training.options:
        yield f"  options of the upstream: --set {' '.join(f'{o}=...' for o in training.options)}"


def _numbers(recipe) -> list:
    return [f for f in fields(recipe) if f.name != "source"]


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value) or "-"
