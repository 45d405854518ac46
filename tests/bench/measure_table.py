"""Print how much sooner a whole table is there: python tests/bench/measure_table.py
hubert.tiny|hubert.base [KEY=VALUE ...]

The table is DAISY's Table 1 for enhancement: three rhos with three spans each, the full model with
layer-norm and without, depth 0, a fixed exit in the middle: thirteen rows. Once as this benchmark
makes it: a recorded pass, heads side by side, every exit replayed, workers where they pay. Once as
s3prl would: every row by itself, its threshold from its own pass over the training split, its head
trained with the upstream run again on every batch of every step and every look at the dev split,
its test split run live. Head, batches, seeds and metrics are the same code on both sides; the
timing passes that a row's `time_saved` needs are left out on both. Every exit must be equal; scores
may differ by what fp16 storage of the states does to training, which is printed.

hubert.tiny runs on the built-in corpus, hubert.base with random weights on a small part of it.
KEY=VALUE changes the protocol.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from earlyexit_superb.benchmark import calibration
from earlyexit_superb.benchmark.config import pairs
from earlyexit_superb.benchmark.engine import cost, head_files, head_training, heads
from earlyexit_superb.benchmark.engine.cache_layout import padded
from earlyexit_superb.benchmark.engine.experiment import Experiment, RunConfig
from earlyexit_superb.benchmark.engine.feature_cache import Batch
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.engine.run import results
from earlyexit_superb.benchmark.exiting import Exit, layer_normed, replay, run_until_exit
from earlyexit_superb.benchmark.report.result import Result, Score
from earlyexit_superb.tasks.corpora.builtin import made
from earlyexit_superb.tasks.corpora.mini.se import BUILTIN

SETTINGS = {  # of the two cases: the {"rho": rhos}, what is small about the corpus and the recipe
    "hubert.tiny": ((0.7, 0.85, 1.0), {"steps": "96", "eval_every": "48"}),
    "hubert.base": (
        (0.99, 1.0, 1.01),
        {
            "steps": "8",
            "eval_every": "8",
            "train_limit": "16",
            "dev_limit": "4",
            "test_limit": "6",
            "weights": "random",
        },
    ),
}


class Live:
    """A split without a record: what a `Trace` gives, from the upstream, every time anew."""

    def __init__(self, run: Experiment, split: str, exit: Exit):
        self.upstream, self.items, self.load, self.exit = (
            run.upstream,
            run.splits[split],
            run.task.load,
            exit,
        )
        self.depth = np.zeros(len(self.items), int)  # where each left when it was last run

    def run(self, rows):
        return run_until_exit(
            self.upstream, *padded([self.load(self.items[i]).wav for i in rows], "cpu"), self.exit
        )

    def batch(self, rows) -> Batch:
        out = self.run(rows)
        self.depth[rows] = out.depth.numpy()
        return Batch(
            {False: out.states, True: layer_normed(out.states)},
            out.frames,
            torch.tensor([self.items[i].samples for i in rows]),
        )


def alone(run: Experiment, row, folder: Path) -> tuple[list[int], dict[str, float]]:
    """One row as if there were no other: (exit of every test utterance, mean of every metric)."""
    upstream, everywhere = run.upstream, range(1, run.upstream.card.depth + 1)
    if row.depth is not None:
        train_exit = test_exit = Exit((row.depth,))
    else:
        evidence = np.concatenate([_evidence(run, item) for item in run.splits["train"]])
        train_exit = Exit(everywhere, upstream.tau(evidence, row.cell.value))
        test_exit = Exit(
            calibration.span(row.cell.span, replay(evidence, train_exit), everywhere),
            train_exit.tau,
        )
    train, dev, test = (
        Live(run, s, e)
        for s, e in (("train", train_exit), ("dev", train_exit), ("test", test_exit))
    )
    plan = heads.Plan("alone", row.normalise, run.protocol.lr, train.depth, dev.depth)
    head_training.fit({"alone": plan}, run.task, run.setup, train, dev, folder, run.request.seed)
    readout = head_files.load(
        folder, "alone", row.normalise, run.task, run.setup, upstream.card.depth
    )[0]
    depths, scores = [], []
    for i, item in enumerate(test.items):
        out, example = test.run([i]), run.task.load(item)
        states = layer_normed(out.states) if row.normalise else out.states
        with torch.no_grad():
            prediction = readout(states, out.depth, out.frames, torch.tensor([item.samples]))
        depths.append(int(out.depth))
        scores.append(run.task.score(prediction[0], example, int(out.frames[0]), run.setup))
    return depths, {m.name: Score.over([s[m.name] for s in scores]).mean for m in run.task.metrics}


@torch.no_grad()
def _evidence(run: Experiment, item) -> np.ndarray:
    wav, lengths = padded([run.task.load(item).wav], "cpu")
    states, frames = list(run.upstream.states(wav, lengths)), run.upstream.frames(lengths)
    return torch.stack(
        [run.upstream.evidence(k, states[k], states[k - 1], frames) for k in range(1, len(states))],
        1,
    ).numpy()


def clocks() -> np.ndarray:
    """Seconds on the wall and of the processor: the second does not count what other
    programs took meanwhile.
    """
    spent = os.times()
    return np.array(
        [spent.elapsed, spent.user + spent.system + spent.children_user + spent.children_system]
    )


def main() -> None:
    name = sys.argv[1] if sys.argv[1:] else "hubert.tiny"
    rhos, settings = SETTINGS[name]
    with tempfile.TemporaryDirectory() as folder:
        root, corpus = Path(folder), made(BUILTIN)
        # a record of its own; the built-in corpus is there already
        os.environ["EARLYEXIT_SUPERB_CACHE"] = folder
        (root / corpus.name).symlink_to(corpus)
        run = resolve(
            RunConfig(
                name.replace("hubert", "daisy"),
                "se",
                {"rho": rhos},
                ("mean", "min-max", "all"),
                protocol="mini",
                settings=settings | pairs(sys.argv[2:]),
                results=root / "together",
            )
        )
        rows = [row for row in run.rows if row.cell.exit != "unprocessed"]
        cost.seconds = lambda upstream, items, load, exits, device: {
            exit: np.ones((1, len(items))) for exit in exits
        }
        before = clocks()
        refused = results(run, parallel=True)[1]
        together = clocks() - before
        assert not refused, refused
        before = clocks()
        separate = {row: alone(run, row, root / f"row {i}") for i, row in enumerate(rows)}
        apart = clocks() - before
        worst = {m.name: 0.0 for m in run.task.metrics}
        for row, (depths, means) in separate.items():
            kept = Result.load(row.path)
            assert (
                list(kept.exit_histogram)
                == np.bincount(depths, minlength=run.upstream.card.depth + 1).tolist()
            ), row.cell
            worst = {m: max(worst[m], abs(means[m] - kept.scores[m].mean)) for m in worst}
        distinct = len({tuple(depths) for depths, _ in separate.values()})
    wall, processor = apart / together
    print(
        f"{run.upstream.card.name}, {len(rows)} rows ({distinct} different sets of exits), "
        f"{run.protocol.steps} steps of {run.protocol.batch}, "
        f"{' / '.join(str(len(s)) for s in run.splits.values())} utterances: together "
        f"{together[0]:.0f} s, each row alone {apart[0]:.0f} s, {wall:.1f} times faster "
        f"({processor:.1f} times in processor time: {together[1]:.0f} s, {apart[1]:.0f} s); exits "
        "equal; largest difference of a "
        "mean: " + ", ".join(f"{m} {d:.4f}" for m, d in worst.items())
    )


if __name__ == "__main__":
    main()
