"""`plan TASK`: what a run would cost, before anything is spent. It takes the flags of a run.

Sizes and passes are counted from the corpus, the protocol and the upstream's shape; seconds are an estimate from a short probe on
this machine: the upstream on noise, one head on noise for states with the corpus' own labels. Nothing is downloaded: where the
upstream's weights are not on this machine, random ones of the real shape stand in.
"""
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from . import cost, heads, team
from .cli import requested, run_parser
from .contract import SAMPLE_RATE, Item
from .errors import Complaint
from .exiting import Exit, run_until_exit
from .paths import cache_dir
from .race import paired
from .record import SPARE, pieces, size
from .registry import upstream_class
from .run import Request, Run

PROBE = 4               # utterances in the probe's batch on a CPU; the time of a step is taken to grow with the batch
LONGEST = 10.0          # seconds of audio in the probe of the upstream


@dataclass(frozen=True)
class Plan:
    """What is counted, and seconds of work by what they are spent on."""
    lines: list[str]
    seconds: dict[str, float]
    an_hour: float = 0.0            # seconds for an hour of audio through the upstream


def command(argv: Sequence[str]) -> int:
    argv = list(argv)
    parser = run_parser("plan", "What a run would cost, before anything is spent: the flags of run, with the task first.")
    parser.add_argument("name", nargs="?", metavar="TASK", help="a task; --task says the same")
    args = parser.parse_args(argv)
    args.task = args.name or args.task
    print(told(plan(requested(args))))
    return 0


def plan(request: Request) -> Plan:
    run = _run(request)
    rows = [row for row in run.rows if row.cell.exit != "unprocessed" and (request.force or not row.path.exists())]
    trained = {(row.normalise, row.depth, row.cell.value, row.taus) for row in rows}     # spans share a head
    count, protocol, items = len(trained) * len(run.recipe.rates), run.protocol, run.splits
    need = sum(size(run.upstream, of, run.task.pooled) for of in items.values())
    kept = shutil.disk_usage(cache_dir()).free - need > SPARE
    audio = {split: cost.audio_seconds(of) for split, of in items.items()}
    micro = protocol.steps * protocol.accumulate
    looks = -(-protocol.steps // protocol.eval_every)
    again = 0.0 if kept else micro * min(protocol.batch, len(items["train"])) * audio["train"] / len(items["train"]) \
        + looks * audio["dev"] + audio["test"]
    exits = 1 + len({(row.depth, row.cell.value, row.cell.span) for row in rows if row.depth != run.upstream.card.depth})
    lines = list(_counted(run, audio, need, kept, len(rows), count, looks))
    if not rows:
        return Plan([*lines, "every row of this run is there already: nothing would be done"], {})
    workers = 1 + team.size(run, count)
    speed, step, look, score = _upstream_probe(run), *_head_probe(run)
    return Plan(lines, {
        "upstream over the splits": sum(cost.audio_seconds(pieces(of)[0]) for of in items.values()) * speed,
        "upstream again, a batch at a time": again * speed,
        "training the heads": micro * step * count / workers,
        "looks at the dev split": looks * len(items["dev"]) * look * count / workers,
        "scoring the test split": len(items["test"]) * score * len(rows) / workers,
        "timing, at most": cost.PASSES * exits * cost.audio_seconds(cost.timed(items["test"])) * speed}, 3600 * speed)


def told(plan: Plan) -> str:
    if not plan.seconds:
        return "\n".join(plan.lines)
    spent = [f"  {what:34} {_time(s)}" for what, s in {**plan.seconds, "in all": sum(plan.seconds.values())}.items() if s]
    return "\n".join([*plan.lines, "time on this machine, an estimate from a probe of some seconds:", *spent,
                      f"  {'(an hour of audio, upstream alone)':34} {_time(plan.an_hour)}"])


def _run(request: Request) -> Run:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")        # before anything imports transformers
    try:
        return Run(request)
    except Complaint:
        stand_in = upstream_class(request.upstream).stand_in
        if set(stand_in) <= set(request.settings):
            raise
        return Run(replace(request, settings={**stand_in, **request.settings}))


def _counted(run: Run, audio: dict[str, float], need: int, kept: bool, rows: int, count: int, looks: int) -> Iterator[str]:
    card, protocol, pooled = run.upstream.card, run.protocol, run.task.pooled
    parameters = heads.parameters(run.task, run.setup, card.depth)
    yield f"{run.task.name}, protocol {run.recipe.name}, corpus {run.corpus.name}@{run.corpus.hash}, upstream {card.name}"
    for split, items in run.splits.items():
        yield f"  {split:5} {len(items):7} utterances {audio[split] / 3600:9.3f} h"
    total = sum(cost.audio_seconds(pieces(of)[0]) for of in run.splits.values())     # what is listed twice is heard once
    yield (f"upstream passes: each split once, {total / 3600:.3f} h of audio; for timing {len(cost.timed(run.splits['test']))} test "
           f"utterances at most {cost.PASSES} times an exit")
    a_head = f"{need / 2**30:.2f} GiB of {'pooled ' if pooled else ''}states ({need / total * 3600 / 2**30:.2f} GiB an hour of audio)"
    yield f"cache: {a_head} in {cache_dir()}" + ("" if kept else ", which has no room: states are recomputed for every batch")
    yield (f"heads: {count} of {parameters:,} parameters for {rows} rows, {min(count, heads.side_by_side(run.task, run.setup, card.depth))} "
           f"side by side; learning rates {', '.join(f'{r:g}' for r in run.recipe.rates)}")
    epochs = protocol.steps * protocol.accumulate * protocol.batch / len(run.splits["train"])
    yield (f"training: {protocol.steps:,} updates of {protocol.batch} x {protocol.accumulate} utterances ({epochs:.1f} times the training split), "
           f"{looks} looks at the dev split")


def _upstream_probe(run: Run) -> float:
    """Seconds for a second of audio, to the last depth, branches tested."""
    device, blocks = run.request.device, run.upstream.card.depth
    seconds = min(LONGEST, cost.audio_seconds(run.splits["test"]) / len(run.splits["test"]))
    wav = 0.1 * torch.randn(1, round(seconds * SAMPLE_RATE), device=device)
    exit = Exit(range(1, blocks + 1)) if run.upstream.knob else Exit((blocks,))
    return _timed(lambda: run_until_exit(run.upstream, wav, torch.tensor([wav.shape[1]], device=device), exit), device) / seconds


def _head_probe(run: Run) -> tuple[float, float, float]:
    """Seconds for one micro-batch of one head's training, for a look at one dev utterance and for all scores of one."""
    task, protocol, device, card = run.task, run.protocol, run.request.device, run.upstream.card
    readout = heads.Readout(task, run.setup, card.depth, True).to(device)
    optimiser = torch.optim.Adam(readout.parameters(), protocol.lr)
    batch = min(protocol.batch, len(run.splits["train"]))
    some = _middle(run.splits["train"], batch if device.startswith("cuda") else min(batch, PROBE))

    def inputs(items: Sequence[Item]):
        examples, samples = [heads.example(task, i) for i in items], torch.tensor([i.samples for i in items], device=device)
        frames = torch.ones_like(samples) if task.pooled else run.upstream.frames(samples)
        states = torch.randn(card.depth + 1, len(items), int(frames.max()), card.dim, device=device)
        return examples, frames, (states, torch.full((len(items),), card.depth), frames, samples)
    examples, frames, given = inputs(some)

    def step():
        optimiser.zero_grad()
        task.loss(readout(*given), examples, frames, run.setup).backward()
        optimiser.step()
    training = _timed(step, device) * batch / len(some)
    readout.eval()
    [example], frames, given = inputs(_middle(run.splits["dev"], 1))
    with torch.no_grad():
        look, score = (_timed(lambda: of(readout(*given)[0], example, int(frames[0]), run.setup), device)
                       for of in (task.select or task.score, task.score))
    return training, look, score


def _middle(items: Sequence[Item], n: int) -> list[Item]:
    """`n` utterances around the median length."""
    ordered = sorted(items, key=lambda i: i.samples)
    start = (len(ordered) - n) // 2
    return ordered[start: start + n]


def _timed(work: Callable[[], object], device: str) -> float:
    """Median of three, after one to warm up."""
    return float(np.median(paired({"": lambda _: work()}, [None], 3, device)[""]))


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h" \
        if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
