"""`plan TASK`: what a run would cost, before anything is spent. It takes the flags of a run.

Sizes and passes are counted from the corpus, the protocol and the upstream's shape. Seconds are an
estimate from a short probe on this machine: the upstream on noise, one head on noise for states
with the corpus' own labels. Nothing is downloaded: where the upstream's weights are not on this
machine, random ones of the real shape stand in.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..contract import SAMPLE_RATE, Item
from ..engine import cost, heads, workers
from ..engine.cache_layout import pieces, size
from ..engine.controls import scores_needed
from ..engine.experiment import Experiment, Row, RunConfig
from ..engine.extract import SPARE
from ..engine.resolve import resolve
from ..engine.timing import paired
from ..errors import BenchmarkError
from ..exiting import Exit, leaving, run_until_exit
from ..foreign import prints_to_stderr
from ..registry import upstream_class
from ..storage import cache_dir
from .config_file import with_config
from .parser import Parser, requested, run_options

# Utterances in the probe's batch on a CPU, where the time of a step is taken to grow with the batch
PROBE = 4
LONGEST = 10.0  # seconds of audio in the probe of the upstream


@dataclass(frozen=True)
class Plan:
    """What is counted, and seconds of work by what they are spent on."""

    lines: list[str]
    seconds: dict[str, float]
    an_hour: float = 0.0  # seconds for an hour of audio through the upstream


@dataclass(frozen=True)
class Counts:
    """What a run would do, known without doing any of it."""

    rows: int
    scores: int  # of each test utterance: a row each, and for controls every depth of their heads
    heads: int
    exits: int  # different live runs to time, the full one included
    state_bytes: int
    kept: bool  # whether the disk has room for the states
    audio: dict[str, float]  # seconds of each split
    passed: list[str]  # splits that the upstream goes over
    heard: float  # seconds of different audio: what is listed twice is heard once
    micro_batches: int
    looks: int  # at the dev split

    def again(self, run: Experiment) -> float:
        """Seconds of audio through the upstream a second time, where states are not kept."""
        if self.kept:
            return 0.0
        train = len(run.splits["train"])
        batches = self.micro_batches * min(run.protocol.batch, train) / train
        looks = self.looks * self.audio["dev"]
        return batches * self.audio["train"] + looks + self.audio["test"]


def command(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="run_benchmark.py plan",
        usage="run_benchmark.py plan TASK [options of run]",
        description="Say what a run would cost, before anything is spent; it takes the options of "
        "run.",
        example="run_benchmark.py plan se --upstream daisy --rho 0.7 1.0",
    )
    run_options(parser)
    parser.add_argument("name", nargs="?", metavar="TASK", help="a task; --task says the same")
    args = with_config(parser, argv)
    args.task = args.name or args.task
    configs = requested(args)
    print(formatted(plan(configs[0])))
    if len(configs) > 1:
        print(
            f"heads and scores {len(configs)} times, once for each seed; the upstream's pass once "
            "for all"
        )
    return 0


@prints_to_stderr()
def plan(config: RunConfig) -> Plan:
    run = _run(config)
    counts = counted(run)
    lines = list(_lines(run, counts))
    if not counts.rows:
        return Plan([*lines, "every row of this run is there already: nothing would be done"], {})
    processes = 1 + workers.worker_count(run, counts.heads, counts.scores)
    test, dev = run.splits["test"], run.splits["dev"]
    upstream = _upstream_probe(run)
    step, look, score = (0.0, 0.0, 0.0) if run.answers else _head_probe(run)
    timed = cost.PASSES * counts.exits * cost.audio_seconds(cost.timed(test))
    of_heads = counts.heads / processes
    seconds = {
        "upstream over the splits": counts.heard * upstream,
        "upstream again, a batch at a time": counts.again(run) * upstream,
        "training the heads": counts.micro_batches * step * of_heads,
        "looks at the dev split": counts.looks * len(dev) * look * of_heads,
        "scoring the test split": len(test) * score * counts.scores / processes,
        "timing, at most": timed * upstream,
    }
    return Plan(lines, seconds, 3600 * upstream)


def _run(config: RunConfig) -> Experiment:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything imports transformers
    try:
        return resolve(config)
    except BenchmarkError:
        stand_in = upstream_class(config.upstream).stand_in
        if set(stand_in) <= set(config.settings):
            raise
        return resolve(replace(config, settings={**stand_in, **config.settings}))


# ---- counting ------------------------------------------------------------------------------------


def counted(run: Experiment) -> Counts:
    missing = [row for row in run.rows if run.config.force or not row.path.exists()]
    rows = [row for row in missing if row.cell.exit != "unprocessed"]
    # Rows that differ in their span alone share a head.
    trained = {(row.normalise, row.depth, row.cell.value, row.taus, row.alone) for row in rows}
    if run.answers:
        trained = set()
    last = run.upstream.card.depth
    early = [row for row in rows if row.depth != last and not row.replayed_only]
    protocol, splits = run.protocol, run.splits
    passed = list(splits)
    if run.answers:  # no head is trained
        passed = ["train", "test"] if any(row.cell.knob for row in rows) else ["test"]
    keep = "evidence" if run.answers else "means" if run.task.pooled else "states"
    state_bytes = sum(size(run.upstream, of, keep) for of in splits.values())
    return Counts(
        rows=len(rows),
        scores=scores_needed(rows, len(leaving(run.upstream))),
        heads=len(trained) * len(run.recipe.rates),
        exits=1 + len({_exit(row) for row in early}),
        state_bytes=state_bytes,
        kept=shutil.disk_usage(cache_dir()).free - state_bytes > SPARE,
        audio={split: cost.audio_seconds(of) for split, of in splits.items()},
        passed=passed,
        heard=sum(cost.audio_seconds(pieces(splits[split])[0]) for split in passed),
        micro_batches=protocol.steps * protocol.accumulate,
        looks=-(-protocol.steps // protocol.eval_every),
    )


def _exit(row: Row) -> tuple:
    """What tells the live exits of rows apart."""
    cell, chosen = row.cell, (row.budget, row.max_loss)
    return row.depth, row.taus, cell.value, cell.test_value, cell.span, chosen


def _lines(run: Experiment, counts: Counts) -> Iterator[str]:
    card, protocol, corpus = run.upstream.card, run.protocol, run.corpus
    yield (
        f"{run.task.name}, protocol {run.recipe.name}, corpus {corpus.name}@{corpus.hash}, "
        f"upstream {card.name}"
    )
    for split, items in run.splits.items():
        yield f"  {split:5} {len(items):7} utterances {counts.audio[split] / 3600:9.3f} h"
    hours = counts.heard / 3600
    yield (
        f"upstream passes: {', '.join(counts.passed)} once each, {hours:.3f} h of audio; for "
        f"timing {len(cost.timed(run.splits['test']))} test utterances at most "
        f"{cost.PASSES} times an exit"
    )
    gib = counts.state_bytes / 2**30
    yield (
        f"cache: {gib:.2f} GiB of {'pooled ' if run.task.pooled else ''}states "
        f"({gib / hours:.2f} GiB an hour of audio) in {cache_dir()}"
        + ("" if counts.kept else ", which has no room: states are recomputed for every batch")
    )
    if run.answers:
        yield f"heads: none are trained, it answers by itself; {counts.rows} rows"
        return
    parameters = heads.parameters(run.task, run.setup, card.depth)
    together = min(counts.heads, heads.side_by_side(run.task, run.setup, card.depth))
    yield (
        f"heads: {counts.heads} of {parameters:,} parameters for {counts.rows} rows, {together} "
        f"side by side; learning rates {', '.join(f'{r:g}' for r in run.recipe.rates)}"
    )
    epochs = counts.micro_batches * protocol.batch / len(run.splits["train"])
    yield (
        f"training: {protocol.steps:,} updates of {protocol.batch} x {protocol.accumulate} "
        f"utterances ({epochs:.1f} times the training split), {counts.looks} looks at the dev split"
    )


# ---- probing -------------------------------------------------------------------------------------


def _upstream_probe(run: Experiment) -> float:
    """Seconds for a second of audio, to the last depth, branches tested."""
    up, device, test = run.upstream, run.config.device, run.splits["test"]
    seconds = min(LONGEST, cost.audio_seconds(test) / len(test))
    wav = 0.1 * torch.randn(1, round(seconds * SAMPLE_RATE), device=device)
    lengths, last = torch.tensor([wav.shape[1]]), up.card.depth
    tested = [k for k in up.exits if k < last] if up.knob else []
    exit = Exit((*tested, last))
    return _seconds(lambda: run_until_exit(up, wav, lengths, exit), device) / seconds


def _head_probe(run: Experiment) -> tuple[float, float, float]:
    """Seconds for one micro-batch of one head's training, for a look at one dev utterance and for
    all scores of one."""
    task, protocol, device, card = run.task, run.protocol, run.config.device, run.upstream.card
    readout = heads.Downstream(task, run.setup, card.depth, True).to(device)
    optimiser = torch.optim.Adam(readout.parameters(), protocol.lr)
    batch = min(protocol.batch, len(run.splits["train"]))
    on_gpu = torch.device(device).type == "cuda"
    some = _middle(run.splits["train"], batch if on_gpu else min(batch, PROBE))

    def inputs(items: Sequence[Item]):
        examples = [heads.example(task, i) for i in items]
        samples = torch.tensor([i.samples for i in items], device=device)
        frames = torch.ones_like(samples) if task.pooled else run.upstream.frames(samples)
        states = torch.randn(card.depth + 1, len(items), int(frames.max()), card.dim, device=device)
        return examples, frames, (states, torch.full((len(items),), card.depth), frames, samples)

    examples, frames, given = inputs(some)

    def step():
        optimiser.zero_grad()
        task.loss(readout(*given), examples, frames, run.setup).backward()
        optimiser.step()

    training = _seconds(step, device) * batch / len(some)
    readout.eval()
    [example], frames, given = inputs(_middle(run.splits["dev"], 1))
    with torch.no_grad():
        look, score = (
            _seconds(lambda: of(readout(*given)[0], example, int(frames[0]), run.setup), device)
            for of in (task.select or task.score, task.score)
        )
    return training, look, score


def _middle(items: Sequence[Item], n: int) -> list[Item]:
    """`n` utterances around the median length."""
    ordered = sorted(items, key=lambda i: i.samples)
    start = (len(ordered) - n) // 2
    return ordered[start : start + n]


def _seconds(work: Callable[[], object], device: str) -> float:
    """Median of three, after one to warm up."""
    return float(np.median(paired({"": lambda _: work()}, [None], 3, device)[""]))


# ---- printing ------------------------------------------------------------------------------------


def formatted(plan: Plan) -> str:
    if not plan.seconds:
        return "\n".join(plan.lines)
    spent = {**plan.seconds, "in all": sum(plan.seconds.values())}
    estimate = [f"  {what:34} {_time(s)}" for what, s in spent.items() if s]
    return "\n".join(
        [
            *plan.lines,
            "time on this machine, an estimate from a probe of some seconds:",
            *estimate,
            f"  {'(an hour of audio, upstream alone)':34} {_time(plan.an_hour)}",
        ]
    )


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
