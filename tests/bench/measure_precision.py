"""What bfloat16 does to states, evidence, exits and metrics: python
tests/bench/measure_precision.py [TASK
...] [-- run options]

First the upstream alone (daisy.tiny on the test split of the task's built-in corpus): how far
states and evidence move, and how many utterances leave elsewhere with the threshold of full
precision. Then, with `run`, every row of each task at both precisions (heads trained on their own
precision's states), metric beside metric.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from earlyexit_superb.benchmark.calibration import midpoint
from earlyexit_superb.benchmark.cli import main as command
from earlyexit_superb.benchmark.engine.precision import at_precision
from earlyexit_superb.benchmark.exiting import Exit, replay
from earlyexit_superb.benchmark.registry import build_upstream, tasks
from earlyexit_superb.benchmark.report.folder import load_all

RHOS = ("0.7", "0.85", "1.0")


@torch.no_grad()
def upstream_alone(task) -> None:
    daisy, worst, evidence = build_upstream("daisy.tiny"), np.zeros(13), {"fp32": [], "bf16": []}
    low = at_precision(daisy, "bf16")
    for item in task.corpus(None, task.protocols[task.builtin]).splits["test"]:
        wav = task.load(item).wav[None]
        length = torch.tensor([wav.shape[1]])
        states = {
            name: list(up.states(wav, length)) for name, up in (("fp32", daisy), ("bf16", low))
        }
        error = [
            float((b - a).norm() / a.norm())
            for a, b in zip(states["fp32"], states["bf16"], strict=True)
        ]
        worst = np.maximum(worst, error)
        for name, up in (("fp32", daisy), ("bf16", low)):
            evidence[name].append(
                [
                    float(
                        up.evidence(k, states[name][k], states[name][k - 1], daisy.frames(length))
                    )
                    for k in range(1, 13)
                ]
            )
    full, half = np.array(evidence["fp32"]), np.array(evidence["bf16"])
    print(
        f"{task.name}: largest relative error of a state by depth "
        + " ".join(f"{e:.1e}" for e in worst)
    )
    print(
        f"{task.name}: evidence moves by {np.abs(half - full).mean():.1e} nats on average, "
        f"{np.abs(half - full).max():.1e} at most"
    )
    for rho in RHOS:
        exit = Exit(range(1, 13), midpoint(full, float(rho)))
        print(
            f"{task.name}: rho {rho}: {np.mean(replay(full, exit) != replay(half, exit)):.1%} of "
            f"{len(full)} utterances leave elsewhere"
        )


def rows(name: str, options: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("fp32", "bf16"):
            if command(
                [
                    "--upstream",
                    "daisy",
                    "--task",
                    name,
                    "--rho",
                    *RHOS,
                    "--precision",
                    precision,
                    "--results",
                    folder,
                    *options,
                ]
            ):
                sys.exit(f"{name} at {precision} did not finish")
        found = {
            (
                r.cell.exit,
                r.cell.layer_norm,
                r.cell.value,
                r.cell.span,
                "bf16" in r.cell.upstream,
            ): r
            for r in load_all(Path(folder), name)
        }
    for (*what, low), result in found.items():
        if low:
            other = found[(*what, False)]
            scores = "  ".join(
                f"{m} {other.scores[m].mean:.4f} -> {s.mean:.4f}" for m, s in result.scores.items()
            )
            print(
                f"{name}: {' '.join(str(w) for w in what if w is not None):32} {scores}  depth "
                f"{other.depth:.2f} -> {result.depth:.2f}"
            )


if __name__ == "__main__":
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    for task in sys.argv[1:split] or ["se"]:
        upstream_alone(tasks.get(task))
        rows(task, sys.argv[split + 1 :])
