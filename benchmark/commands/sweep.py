"""Many runs side by side: a grid of upstreams, tasks, recipes and seeds, every cell a `run` of its
own in a process of its own.

Cells run in local processes, or over Ray on several machines that share the results folder. All
values of a knob stay together, because one recorded pass and one reading of the batches serves
them all; `--apart` gives each a cell where machines are plenty. Cells meet only in the results
folder and the cache, where traces and heads are claimed (`paths.locked`), so they may run
anywhere, in any order and twice. A cell whose process dies (kill -9, out of memory) is started
again and goes on from its last checkpoint; one that says why it cannot be done is reported and
costs the others nothing.
"""

import json
import os
import queue
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ..errors import UsageError, did_you_mean, require

# exit statuses that a second try cannot change: done, wrong request, wrong machine, interrupted
FINAL = (0, 2, 3, 130)
OURS = "EARLYEXIT_SUPERB_"  # environment variables that every worker must see


@dataclass(frozen=True)
class Job:
    """One cell of the grid: a `run` command line."""

    argv: tuple[str, ...]
    log: Path  # what it says on stderr; kept only when it fails

    @property
    def command(self) -> str:
        return shlex.join(["run_benchmark.py", *self.argv])

    @property
    def name(self) -> str:
        at = dict(zip(self.argv, self.argv[1:], strict=False))
        return " ".join(
            [
                at["--upstream"],
                at["--task"],
                *(at[f] for f in ("--protocol", "--knob") if f in at),
                f"seed {at['--seed']}",
            ]
        )


def command(argv: Sequence[str]) -> int:
    from .parser import with_config

    parser = _parser()
    args = with_config(
        parser,
        parser.parse_args(argv),
        listed=("upstream", "task", "rho", "knob", "span", "seed", "protocol", "data"),
    )
    jobs = grid(args)
    jobs = _shard(jobs, args.shard) if args.shard else jobs
    if args.list:
        print("\n".join(job.command for job in jobs))
        return 0
    from ..report.result import FIX
    from ..storage import writable

    writable(args.results, FIX)
    (args.results / "sweep").mkdir(exist_ok=True)
    said, failed = _run(jobs, args)
    _print(said, args.json)
    for sentence in failed:
        print(f"error: {sentence}", file=sys.stderr)
    if failed:
        print(
            (
                f"error: {len(failed)} of {len(jobs)} cells could not be made; the same command "
                "tries those again"
            ),
            file=sys.stderr,
        )
    return 1 if failed else 0


def _parser():
    from .parser import LOCAL, Parser

    parser = Parser(
        prog="run_benchmark.py sweep",
        allow_abbrev=False,
        description="Run a grid of cells: upstreams x tasks x protocols x seeds.",
        example="run_benchmark.py sweep --upstream daisy hubert --task se --seed 0 1 2 --workers 2",
    )
    add = parser.add_argument
    add("--upstream", nargs="+", metavar="NAME", help="one or several, as `run` takes them")
    add("--task", nargs="+", metavar="NAME")
    add("--seed", nargs="+", default=["0"], metavar="N")
    add(
        "--protocol",
        nargs="+",
        metavar="NAME",
        help="default: mini on built-in data, else SUPERB's",
    )
    add("--lr", metavar="LR", help="a learning rate, or `sweep`, for every cell")
    add("--rho", nargs="+", metavar="R", help="for the upstreams that have a rho")
    add(
        "--knob",
        nargs="+",
        metavar="NAME=V,V",
        help="for the upstreams that have a knob of that name",
    )
    add("--span", nargs="+", metavar="SPAN", help="for the upstreams that exit by themselves")
    add(
        "--data",
        nargs="+",
        metavar="[TASK=]DIR",
        help="a corpus for every task or for one; default: the built-in ones",
    )
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="handed to every cell",
    )
    add(
        "--device",
        default="cpu",
        metavar="DEV",
        help="cpu or cuda: with cuda, each cell sees one GPU",
    )
    add(
        "--precision",
        choices=("fp32", "bf16"),
        default="fp32",
        help="of every cell's upstream; default fp32",
    )
    add(
        "--results",
        type=Path,
        default=LOCAL,
        metavar="DIR",
        help=f"one folder for all; default {LOCAL}",
    )
    add(
        "--config",
        type=Path,
        metavar="YAML",
        help="the same options from a file; the command line wins",
    )
    add(
        "--apart",
        action="store_true",
        help="a cell for each value of a knob, where there are more workers than cells",
    )
    add("--workers", type=int, default=1, metavar="N", help="local processes; default 1")
    add(
        "--threads",
        type=int,
        metavar="N",
        help="threads a cell; default: the cores divided by the workers",
    )
    add(
        "--retries",
        type=int,
        default=2,
        metavar="N",
        help="how often a cell that died is started again; default 2",
    )
    add(
        "--shard", metavar="I/N", help="only every N-th cell from the I-th (1 to N), for job arrays"
    )
    add(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="over Ray: this machine, or a cluster's address (auto, HOST:PORT)",
    )
    add(
        "--gpus",
        type=float,
        default=1.0,
        metavar="G",
        help="GPUs a cell takes from Ray with --device cuda, 0.5 = two cells share one; default 1",
    )
    add("--list", action="store_true", help="print the cells' commands and do nothing")
    add("--json", action="store_true", help="print the results as JSON lines instead of tables")
    return parser


# ---- the grid ------------------------------------------------------------------------------------


def grid(args) -> list[Job]:
    """The cells in a fixed order, checked as far as can be without loading weights or corpora."""
    from ..config import knobs, seeds
    from ..registry import knob_of, tasks

    for wanted in ("upstream", "task"):
        if not getattr(args, wanted):
            raise UsageError(
                f"sweep: --{wanted} is missing; for example: run_benchmark.py sweep --upstream "
                "daisy layer_similarity --task se --seed 0 1"
            )
    for what, least in (("workers", 1), ("threads", 1), ("retries", 0)):
        if (value := getattr(args, what)) is not None and value < least:
            raise UsageError(f"sweep: --{what} is a whole number from {least}, not {value}")
    args.seed = seeds(args.seed)
    data, turned = _data(args.data or [], args.task), knobs(args.rho, args.knob)
    own = {u: knob_of(u, args.set) for u in args.upstream}
    for task, protocol in product(args.task, args.protocol or ()):
        if protocol not in tasks.get(task).protocols:
            raise UsageError(
                f"task {task} has no protocol {protocol!r}: "
                f"{did_you_mean(protocol, tasks.get(task).protocols)}"
            )
    jobs = []
    for task, protocol, upstream, seed in product(
        map(_known, args.task), args.protocol or (None,), args.upstream, args.seed
    ):
        knob = own[upstream]
        values = turned.get(knob, ())
        for some in [(v,) for v in values] if args.apart and values else [values]:
            argv = [
                "--upstream",
                upstream,
                "--task",
                task,
                "--seed",
                str(seed),
                "--results",
                str(args.results),
                "--device",
                args.device,
            ]
            for flag, values in (
                ("--protocol", (protocol,)),
                ("--lr", (args.lr,)),
                ("--precision", (args.precision,) if args.precision != "fp32" else ()),
                ("--knob", (f"{knob}={','.join(f'{v:g}' for v in some)}",) if some else ()),
                ("--span", (args.span or ()) if knob else ()),
                ("--data", (data.get(task, data.get("")),)),
                ("--set", [f"{k}={v}" for k, v in args.set.items()]),
            ):
                given = [str(value) for value in values if value is not None]
                argv += [flag, *given] if given else []
            jobs.append(_job((*argv, "--json"), args.results))
    return list(dict.fromkeys(jobs))


def _known(task: str) -> str:
    from ..registry import tasks

    tasks.get(task)
    return task


def _job(argv: tuple[str, ...], results: Path) -> Job:
    from ..config import short_hash

    return Job(argv, results.resolve() / "sweep" / f"{short_hash(argv)}.log")


def _data(given: Sequence[Any], tasks: Sequence[str]) -> dict[str, str]:
    """["DIR"] or ["se=DIR", ...] (or a mapping in a YAML file) -> folder by task, "" for all."""
    out = {}
    for entry in given:
        pairs = (
            entry.items()
            if isinstance(entry, Mapping)
            else [str(entry).partition("=")[::2] if "=" in str(entry) else ("", str(entry))]
        )
        for task, folder in pairs:
            if task and task not in tasks:
                raise UsageError(
                    f"sweep: --data {task}={folder}: the grid has no task {task!r}; "
                    f"{did_you_mean(task, tasks)}"
                )
            if not Path(folder).exists():
                raise UsageError(
                    f"sweep: --data {folder}: there is no such folder; leave the flag out to use "
                    "the built-in corpora"
                )
            out[task] = folder
    return out


def _shard(jobs: Sequence[Job], text: str) -> Sequence[Job]:
    """ "2/5" -> the second of five shares. The same grid gives the same shares everywhere."""
    first, _, count = text.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise UsageError(f"sweep: --shard is I/N with I from 1 to N, such as 1/4, not {text!r}")
    return jobs[int(first) - 1 :: int(count)]


# ---- running it ----------------------------------------------------------------------------------


def attempt(
    words: Sequence[str], log: str, env: Mapping[str, str], cwd: str, retries: int
) -> tuple[int, str, int]:
    """Run one cell in a fresh process, again where it died: (exit status, its stdout, tries). The
    same function here and on Ray.
    """
    tries = 0
    while True:
        with open(log, "a", encoding="utf-8") as said:
            done = subprocess.run(
                [sys.executable, *words],
                stdout=subprocess.PIPE,
                stderr=said,
                env={**os.environ, **env},
                cwd=cwd,
                text=True,
            )
        tries += 1
        if done.returncode in FINAL or tries > retries:
            return done.returncode, done.stdout, tries


def over_processes(
    jobs: Sequence[Job], args, env: Mapping[str, str]
) -> Iterator[tuple[Job, int, str, int]]:
    gpus, slots = _gpus(args.device), queue.SimpleQueue()
    for worker in range(args.workers):
        slots.put(worker)

    def one(job: Job):
        worker = slots.get()
        try:
            own = {"CUDA_VISIBLE_DEVICES": gpus[worker % len(gpus)]} if gpus else {}
            return job, *attempt(
                _words(job), str(job.log), {**env, **own}, os.getcwd(), args.retries
            )
        finally:
            slots.put(worker)

    with ThreadPoolExecutor(args.workers) as pool:
        futures = [pool.submit(one, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def over_ray(
    jobs: Sequence[Job], args, env: Mapping[str, str]
) -> Iterator[tuple[Job, int, str, int]]:
    ray = require("ray", "sweep --ray", "cluster")
    # workers need not be able to import a bare checkout
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    threads = int(env["OMP_NUM_THREADS"])
    here = {"num_cpus": args.workers * threads} if args.ray == "local" else {"address": args.ray}
    ray.init(
        **here,
        include_dashboard=False if args.ray == "local" else None,
        log_to_driver=False,
        logging_level="error",
    )
    try:
        remote = ray.remote(
            num_cpus=threads,
            num_gpus=args.gpus if args.device.startswith("cuda") else 0,
            max_retries=args.retries,
        )(attempt)
        waiting = {
            remote.remote(_words(job), str(job.log), dict(env), os.getcwd(), args.retries): job
            for job in jobs
        }
        while waiting:
            [ready], _ = ray.wait(list(waiting), num_returns=1)
            job = waiting.pop(ready)
            try:
                yield job, *ray.get(ready)
            except ray.exceptions.RayError as error:
                with open(job.log, "a", encoding="utf-8") as said:
                    said.write(f"error: its Ray worker was lost ({type(error).__name__})\n")
                yield job, 1, "", args.retries + 1
    finally:
        ray.shutdown()


def _run(jobs: Sequence[Job], args) -> tuple[list[dict], list[str]]:
    """Every row that a cell printed, in the grid's order, and a sentence for every cell that
    failed.
    """
    from tqdm import tqdm

    from ..report.leaderboard import LEADING

    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    threads = args.threads or max(1, cores // args.workers)
    env = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)} | {
        k: v for k, v in os.environ.items() if k.startswith(OURS)
    }
    rows: dict[Job, list[dict]] = {}
    failed = []
    print(
        (
            f"{len(jobs)} cells, {threads} threads each; their progress: "
            f"{args.results / 'sweep'}/*.log"
        ),
        file=sys.stderr,
    )
    with tqdm(
        total=len(jobs), desc="sweep", file=sys.stderr, unit="cell", dynamic_ncols=True
    ) as bar:
        for job, status, said, tries in (over_ray if args.ray else over_processes)(jobs, args, env):
            rows[job] = [json.loads(line) for line in said.splitlines()]
            if status:
                failed.append(_sentence(job, status, tries))
            else:
                job.log.unlink(missing_ok=True)
            bar.write(
                f"{'failed' if status else 'done'}: {job.name}"
                + (f" (started {tries} times)" if tries > 1 else ""),
                file=sys.stderr,
            )
            bar.update()
    # cells share a backbone's rows; two that made one at once timed it apart
    unique = {tuple(map(r.get, LEADING)): r for job in jobs for r in rows.get(job, [])}
    return list(unique.values()), failed


def _sentence(job: Job, status: int, tries: int) -> str:
    lines = [
        line
        for line in job.log.read_text(encoding="utf-8", errors="replace")
        .replace("\r", "\n")
        .splitlines()
        if line.strip()
    ]
    reasons = [
        line.removeprefix("error: ") for line in lines if line.startswith("error: ")
    ] or lines[-1:]
    how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    tried = f" after {tries} tries" if tries > 1 else ""
    return (
        f"{job.name}: {how}{tried}{': ' + reasons[-1] if reasons else ''} (log: {job.log}); alone: "
        f"{job.command}"
    )


def _words(job: Job) -> list[str]:
    checkout = Path(__file__).resolve().parents[2] / "run_benchmark.py"
    return [
        *([str(checkout)] if checkout.exists() else ["-m", "earlyexit_superb.benchmark.cli"]),
        *job.argv,
    ]


def _gpus(device: str) -> list[str]:
    """The GPUs that local workers take by turns."""
    if device != "cuda":
        return []
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]


def _print(rows: Sequence[dict], as_json: bool) -> None:
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    import pandas as pd

    from ..report.leaderboard import aggregated, screen

    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        frame = pd.DataFrame(own + aggregated(own))
        table = screen(frame)
        for axis in ("protocol", "corpus"):
            if frame[axis].nunique() > 1:
                table.insert(0, axis, frame[axis].fillna("").astype(str))
        with pd.option_context(
            "display.width", None, "display.max_columns", None, "display.max_colwidth", None
        ):
            print(table.to_string(index=False))
