"""The command line: a verb first, bare flags mean `run`. stdout is results only; progress, notices
and errors go to stderr.

Exit status: 0 done, 1 something asked for could not be made, 2 the request is wrong, 3 this
machine cannot serve it.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from .errors import Complaint, MachineError, UsageError, closest

LOCAL = Path("results/local")


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one sentence, with the nearest right spelling."""

    def error(self, message):
        known = [o for action in self._actions for o in action.option_strings if o.startswith("--")]
        for word in message.split():
            if word.startswith("--") and word not in known:
                message += f"; {closest(word.split('=')[0], known)}"
                break
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    # Threads that wait by spinning hold up every other job on a busy machine.
    # It must be said before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s: %(message)s")
    logging.getLogger("earlyexit_superb").setLevel(logging.INFO)
    try:
        if argv and not argv[0].startswith("-"):
            if argv[0] not in VERBS:
                raise UsageError(f"there is no verb {argv[0]!r}: {closest(argv[0], VERBS)}")
            return VERBS[argv[0]](argv[1:])
        return run(argv)
    except Complaint as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except ModuleNotFoundError as error:
        if (error.name or __package__).split(".")[0] == __package__.split(".")[0]:
            raise
        from .extras import lacking, missing

        print(
            f"error: {lacking('run_benchmark.py', missing() or [str(error.name)])}", file=sys.stderr
        )
        return MachineError.code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` closed our stdout
        sys.stderr.close()
        return 0


def run_parser(
    verb: str = "",
    about: str = (
        "Benchmark an early-exit speech upstream on a task: metric versus compute saved, one table."
    ),
) -> Parser:
    parser = Parser(
        prog=f"run_benchmark.py {verb}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        description=about,
        epilog="verbs: "
        + ", ".join(VERBS)
        + (
            "  (run_benchmark.py VERB --help); without a verb: run\n"
            "\n"
            "with nothing but --upstream and --task everything runs on built-in data and models, "
            "no download"
        ),
    )
    add = parser.add_argument
    add(
        "--upstream",
        metavar="NAME",
        help="an upstream (run_benchmark.py ls upstreams), name.tag, or path/to/file.py:Class",
    )
    add(
        "--task", metavar="NAME", help="a task (run_benchmark.py ls tasks), or path/to/file.py:NAME"
    )
    add(
        "--rho",
        nargs="+",
        metavar="R",
        help="DAISY's ratio, one or several: larger exits earlier, 0 never; default 0.7",
    )
    add(
        "--knob",
        nargs="+",
        metavar="NAME=V,V",
        help="the same for any upstream's knob, such as target_depth=4,6 or rho=0.7",
    )
    add(
        "--span",
        nargs="+",
        metavar="SPAN",
        help=(
            "where an exit may be tested: mean, threshold, min-max, all; default: the upstream's "
            "own"
        ),
    )
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="a corpus in the task's layout; default: the built-in mini corpus",
    )
    add(
        "--protocol",
        metavar="NAME",
        help=(
            "a published recipe (run_benchmark.py ls tasks); default: mini on built-in data, else "
            "SUPERB's"
        ),
    )
    add(
        "--lr",
        metavar="LR",
        help=(
            "the heads' learning rate, or sweep: train at every rate of the protocol's grid, the "
            "dev split chooses"
        ),
    )
    add(
        "--seed",
        nargs="+",
        default=["0"],
        metavar="N",
        help=(
            "of head weights, batches and dropout; several give a row each and their mean; default "
            "0"
        ),
    )
    add("--device", default="cpu", metavar="DEV", help="cpu, cuda, cuda:1, ...; default cpu")
    add(
        "--precision",
        choices=("fp32", "bf16"),
        default="fp32",
        help="of the upstream's pass; a bf16 row has a name of its own; default fp32",
    )
    add(
        "--results",
        type=Path,
        default=LOCAL,
        metavar="DIR",
        help=f"where JSONs, heads and leaderboards go; default {LOCAL}",
    )
    add("--config", type=Path, metavar="YAML", help="options from a file; the command line wins")
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the upstream, a field of the protocol, or the upstream's knob",
    )
    add("--force", action="store_true", help="make the rows again although they are there")
    add(
        "--reference",
        default="",
        metavar="NAME",
        help="print savings against this upstream's full depth; default: the row's own backbone",
    )
    add("--json", action="store_true", help="print the results as JSON lines instead of a table")
    add("--version", action="store_true", help="print version and folder")
    return parser


def run(argv: Sequence[str]) -> int:
    args = run_parser().parse_args(argv)
    if args.version:
        from .extras import HERE
        from .stamp import release

        print(f"earlyexit-superb {release()} in {HERE}")
        return 0
    configs = requested(args)
    from .leaderboard import against, aggregated, load_all, row, table
    from .run import experiment
    from .run import results as made

    results, refused = {}, []
    for config in configs:
        some, sentences = made(experiment(config), parallel=True)
        results |= {result.cell: result for result in some}  # the seeds share what has none
        refused += sentences
    results = list(results.values())
    lines = [row(result) for result in results]
    if args.reference:
        others = [row(result) for result in load_all(args.results, args.task)]
        lines = against(lines, args.reference, others)
    if args.json:
        for line, result in zip(lines, results, strict=True):
            print(
                json.dumps(
                    line
                    | {
                        "exit_histogram": result.exit_histogram,
                        "layer_weights": result.layer_weights,
                    }
                    | {
                        k: result.detail[k]
                        for k in ("protocol_based_on", "protocol_differs", "lr_sweep")
                        if result.detail.get(k)
                    }
                )
            )
        for line in aggregated(lines):
            print(json.dumps(line))
    else:
        print(table(lines + aggregated(lines)))
        for result in results:
            if result.cell.knob:
                print(_histogram(result))
    from .registry import tasks

    print(f"results: {args.results}/leaderboard_{tasks.get(args.task).name}.csv", file=sys.stderr)
    for sentence in refused:
        print(f"error: {sentence}", file=sys.stderr)
    return 2 if refused else 0


def with_config(
    parser: Parser, args: argparse.Namespace, listed: Sequence[str]
) -> argparse.Namespace:
    """`args` with the options of --config where the command line says nothing; --set becomes a
    mapping. `listed` options are lists.
    """
    from .settings import from_yaml, pairs

    args.set = pairs(args.set)
    if args.config:
        known = {a.dest: a for a in parser._actions if a.dest not in ("help", "config", "version")}
        for key, value in from_yaml(args.config, known).items():
            if key == "set":
                args.set = {
                    k: ",".join(map(str, v)) if isinstance(v, list) else str(v)
                    for k, v in value.items()
                } | args.set
            elif getattr(args, key) == parser.get_default(key):
                setattr(
                    args,
                    key,
                    value
                    if key in listed and isinstance(value, list)
                    else [value]
                    if key in listed
                    else Path(value)
                    if key in ("data", "results")
                    else value,
                )
    return args


def requested(args: argparse.Namespace):
    """The configurations of a command line, one a seed, with its --config file read; names are
    checked as far as that is cheap.
    """
    from .settings import knobs, seeds

    with_config(run_parser(), args, listed=("rho", "knob", "span", "seed"))
    for wanted in ("upstream", "task"):
        if not getattr(args, wanted):
            raise UsageError(
                f"--{wanted} is missing; for example: run_benchmark.py --upstream daisy --task se "
                "--rho 0.7"
            )
    from .registry import tasks

    if args.task not in tasks.names():
        tasks.get(args.task)  # complains, before torch takes its two seconds
    check_device(args.device)
    from .run import RunConfig

    return [
        RunConfig(
            upstream=args.upstream,
            task=args.task,
            knobs=knobs(args.rho, args.knob),
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


def _histogram(result) -> str:
    counts, cell = list(result.exit_histogram), result.cell
    most = max(counts)
    bars = "  ".join(f"{k}:{n}{'▁▂▃▄▅▆▇█'[round(7 * n / most)]}" for k, n in enumerate(counts) if n)
    control = "" if cell.exit == "adaptive" else f"{cell.exit} "
    return (
        f"exits by depth, {control}{cell.upstream} {cell.knob} {cell.value:g} {cell.span}: {bars}"
    )


def check_device(name: str) -> None:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device is cpu, cuda or cuda:N, not {name!r}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: this machine has no CUDA device that torch can use; leave the flag out "
            "to run on the CPU"
        )


def check(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="run_benchmark.py check",
        allow_abbrev=False,
        description="Hold an upstream or a task against the contract.",
    )
    parser.add_argument(
        "name",
        nargs="+",
        metavar="[upstream|task] NAME",
        help="an upstream or a task, or path/to/file.py:NAME",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="options of the upstream's constructor, or fields of the task's protocol",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="a corpus to check a task with; default: the built-in one",
    )
    args = parser.parse_args(argv)
    from .settings import pairs

    room, name = _room(args.name)
    if room == "task":
        from .conformance_task import check_task
        from .registry import tasks

        findings = check_task(tasks.get(name), args.data, pairs(args.set))
    else:
        from .conformance import check_upstream
        from .registry import build_upstream

        if args.data:
            raise UsageError("check --data is for tasks; an upstream is checked with noise")
        findings = check_upstream(build_upstream(name, pairs(args.set)))
    for finding in findings:
        print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.sentence}")
    return 0 if all(f.ok for f in findings) else 1


def _room(words: Sequence[str]) -> tuple[str, str]:
    """("upstream" or "task", its name) of what `check` was given."""
    from .registry import from_file, tasks, upstreams

    rooms = {"upstream": upstreams, "task": tasks}
    if len(words) == 2 and words[0] in rooms:
        return words[0], words[1]
    if len(words) != 1:
        raise UsageError(
            "check takes one name, with upstream or task before it or not, and was given "
            f"{' '.join(words)}"
        )
    [name] = words
    if ".py:" in name:
        return ("task" if tasks.holds(from_file(name)) else "upstream"), name
    found = [room for room, registry in rooms.items() if name.partition(".")[0] in registry.names()]
    if len(found) > 1:
        raise UsageError(
            f"{name} is an upstream and a task; say which: run_benchmark.py check upstream {name}, "
            f"or check task {name}"
        )
    if not found:
        known = closest(name, [n for registry in rooms.values() for n in registry.names()])
        raise UsageError(
            f"no upstream and no task is called {name!r}: {known} (list them: run_benchmark.py ls)"
        )
    return found[0], name


def ls(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="run_benchmark.py ls",
        allow_abbrev=False,
        description="What there is, and what is missing.",
    )
    parser.add_argument(
        "what", nargs="?", choices=("upstreams", "tasks", "corpora"), help="default: all"
    )
    wanted = parser.parse_args(argv).what
    from .registry import tasks, upstreams

    if wanted in (None, "upstreams"):
        for name in upstreams.names():
            why = upstreams.probe(name)
            about = (
                f"unavailable: {why}"
                if why
                else (sys.modules[upstreams.get(name).__module__].__doc__ or "")
                .strip()
                .splitlines()[0]
            )
            print(f"upstream  {name:12} {about}")
    if wanted in (None, "tasks"):
        for name in tasks.names():
            why = tasks.probe(name)
            if why:
                print(f"task      {name:12} unavailable: {why}")
                continue
            task = tasks.get(name)
            print(
                f"task      {name:12} version {task.version}, metrics "
                f"{', '.join(m.name for m in task.metrics)}; protocols {', '.join(task.protocols)} "
                f"({task.builtin} on built-in data, {task.default} on yours)"
            )
    if wanted in (None, "corpora"):
        from ..tasks._builtin import place

        for name in tasks.names():
            builtin = None if tasks.probe(name) else tasks.get(name).mini
            if builtin:
                folder, there = place(builtin)
                told = "ready in" if there else "made on first use in"
                print(f"corpus    {f'mini ({name})':12} {builtin.about}; {told} {folder}")
    return 0


def doctor(argv: Sequence[str]) -> int:
    Parser(
        prog="run_benchmark.py doctor",
        description="Find out what does not import here, and say how to mend it.",
    ).parse_args(argv)
    from .doctor import examine

    return examine()


def leaderboard(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="run_benchmark.py leaderboard",
        allow_abbrev=False,
        description="Rebuild the tables from the JSONs of a results folder.",
    )
    parser.add_argument("results", nargs="?", type=Path, default=LOCAL, help=f"default {LOCAL}")
    parser.add_argument(
        "--reference",
        default="",
        metavar="NAME",
        help="savings against this upstream's full depth; default: each row's own backbone",
    )
    args = parser.parse_args(argv)
    folder = args.results
    if not folder.is_dir():
        raise UsageError(
            f"there is no results folder {folder}; run a benchmark first, or name the folder"
        )
    from .leaderboard import write

    found = sorted({p.relative_to(folder).parts[0] for p in folder.glob("*/*/*/*/*.json")})
    if not found:
        raise UsageError(
            f"{folder} holds no results; run a benchmark first: run_benchmark.py --upstream daisy "
            "--task se --rho 0.7"
        )
    for task in found:
        for path in write(folder, task, args.reference):
            print(path)
    return 0


def elsewhere(module: str):
    """A verb with a file of its own, which holds command(argv) and is imported when asked for."""
    return lambda argv: import_module(f".{module}", __package__).command(argv)


VERBS = {
    "run": run,
    "plan": elsewhere("plan"),
    "train": elsewhere("train"),
    "data": elsewhere("data"),
    "check": check,
    "ls": ls,
    "doctor": doctor,
    "leaderboard": leaderboard,
    "cache": elsewhere("cache"),
    "sweep": elsewhere("sweep"),
    "speed": elsewhere("speed"),
}

if __name__ == "__main__":
    sys.exit(main())
