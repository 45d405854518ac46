"""The second half of `speed`: every exit beside the ideal, and what all branches cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..asking import Before, asked
from ..contract import Upstream
from ..exiting import Exit, leaving, run_until_exit
from ..foreign import prints_to_stderr
from .speed_bench import Bench, Row
from .timing import EventTimer, peak_memory, summed_median


@dataclass(frozen=True)
class Early:
    """A live run that leaves at a known depth."""

    upstream: Upstream
    exit: Exit
    left: int  # the depth at which every utterance leaves

    def __call__(self, wav: Tensor) -> None:
        run_until_exit(self.upstream, wav[None], torch.tensor([len(wav)]), self.exit)


@torch.no_grad()
@prints_to_stderr()
def exits(bench: Bench) -> tuple[list[Row], float]:
    """Live passes at batch 1, one utterance at a time.

    *Ideal* is the time of the blocks that were not run, measured in the same rounds; *realised* is
    the share of it that the live early-stopped pass really saved, branches and waiting included.

    Returns: a row for each exit, and the rate of `Bench.timed`.
    """
    full = Early(bench.upstream.backbone, Exit((bench.depth,)), bench.depth)
    plans = early_runs(bench)
    walks = {"blocks": Walks(bench, False)}
    if bench.upstream.knob:
        walks["all branches"] = Walks(bench, True)
    runners = {"full": full} | walks | plans
    longest = max(bench.wavs, key=len)
    peak = {name: peak_memory(run, longest, bench.device) for name, run in runners.items()}
    seconds, rate = bench.timed(runners, bench.wavs, "exits, batch 1")
    whole, steps = seconds["full"], walks["blocks"].parts()
    row = partial(bench.row, "exits", batch=1)
    rows = [row("full", seconds=whole, exit=bench.depth, branches=0, peak_mib=peak["full"])]
    for name, plan in plans.items():
        ideal = float(steps[plan.left + 1 :].sum())
        rows.append(
            row(
                name,
                seconds=seconds[name],
                exit=plan.left,
                branches=sum(k <= plan.left for k in plan.exit.tested),
                time_saved=1 - seconds[name] / whole,
                ideal_saving=ideal / whole,
                realised=(whole - seconds[name]) / ideal,
                peak_mib=peak[name],
            )
        )
    if "all branches" in walks:
        # Within the same pass: a difference of two passes drowns in their noise.
        parts, of_branches = walks["all branches"].parts(), walks["all branches"].of_branches()
        share = parts[of_branches].sum() / parts[~of_branches].sum()
        rows.append(
            row(
                "all branches, nobody leaves",
                seconds=seconds["all branches"],
                exit=bench.depth,
                branches=int(of_branches.sum()),
                time_saved=-float(share),
                peak_mib=peak["all branches"],
            )
        )
    return rows, rate


def early_runs(bench: Bench) -> dict[str, Early]:
    """Every static exit; and half-way by evidence, all branches or two tested up to there."""
    up, blocks = bench.upstream, bench.depth
    # Whoever answers by itself can be made to leave only where it has an answer.
    static = leaving(up.backbone) if up.backbone.answers else range(1, blocks + 1)
    plans = {f"exit {k}": Early(up.backbone, Exit((k,)), k) for k in static if k < blocks}
    early = [k for k in up.exits if k < blocks]
    if up.knob and early:
        before = [k for k in early if k <= max(blocks // 2, early[0])]
        for name, tested in (("all depths", before), ("two depths", before[-2:])):
            exit = leaving_at(before[-1], tested, blocks)
            plans[f"{bench.name}, {name} tested"] = Early(up, exit, before[-1])
    return plans


def leaving_at(depth: int, tested: Sequence[int], blocks: int) -> Exit:
    """An exit that tests `tested`, lets nobody go before `depth`, and everybody there."""
    depths = (*tested, blocks)
    return Exit(depths, tuple(math.inf if k == depth else -math.inf for k in depths))


class Walks:
    """Called with utterances: all depths of each, with a mark before and after each depth.

    Args:
        branches: mark each tested depth's evidence, too, as a recording pass takes it.
    """

    def __init__(self, bench: Bench, branches: bool):
        self.bench = bench
        self.tested = bench.upstream.exits if branches else ()
        self.timers: list[EventTimer] = []

    def __call__(self, wav: Tensor) -> None:
        up, device = self.bench.upstream, self.bench.device
        length, before = torch.tensor([len(wav)]), Before(up)
        frames = up.frames(length).to(device, non_blocking=True)
        timer, kept = EventTimer(device), []  # whoever asks for all states keeps them
        timer.mark()
        for depth, state in enumerate(up.states(wav[None], length)):
            timer.mark()
            if depth in self.tested:
                asked(up, depth, state, before.state, frames)
                timer.mark()
            before.passed(depth, state)
            kept.append(state)
        self.timers.append(timer)

    def parts(self) -> np.ndarray:
        """Seconds of each part of the pass over the timed utterances, the last calls."""
        rounds, count = self.bench.rounds, len(self.bench.wavs)
        seconds = np.stack([t.seconds() for t in self.timers[-rounds * count :]])
        return summed_median(seconds.reshape(rounds, count, -1))

    def of_branches(self) -> np.ndarray:
        """Which of the parts are a branch's."""
        kinds: list[bool] = []
        for depth in range(self.bench.depth + 1):
            kinds += [False, True] if depth in self.tested else [False]
        return np.array(kinds)
