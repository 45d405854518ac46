"""Print what several trainings of one recogniser say together: python
tests/bench/measure_trainings.py ROWS ROWS ... [--beside ROWS ROWS ...]

Each ROWS is the results folder of one training (`--results ROWS --knob target_depth=4,6 --set
exits=static,random`). Errors of the fixed exits are listed; of each adaptive row the difference to
fixed exits at equal multiply-accumulates and to the same exits dealt out at random; the difference
of each fixed exit to the last. Means over the trainings, paired over utterances, intervals
clustered by speaker. `--beside` names as many folders of models with a single exit, which are held
against the exit at the same depth.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from earlyexit_superb.benchmark.report.curve import FIXED, Pool
from earlyexit_superb.benchmark.report.folder import load_all
from earlyexit_superb.benchmark.report.paired import Scores, of_scores
from earlyexit_superb.benchmark.report.result import Result
from earlyexit_superb.benchmark.report.utterances import scores

METRIC = "wer"


def each(pools: list[Pool], pick: Callable[[Result], bool]) -> list[Result]:
    return [next(row for row in pool.results if pick(row)) for pool in pools]


def of(rows: list[Result]) -> dict[int, Scores]:
    """Trainings take the place of seeds."""
    return {i: scores(row, METRIC) for i, row in enumerate(rows)}


def told(name: str, own: dict[int, Scores], other: dict[int, Scores]) -> None:
    d = of_scores(own, other)
    print(f"  {name:24} {d.value:+.2f} ({d.low:+.2f} to {d.high:+.2f}), p {d.p:.3f}")


def main() -> None:
    names = sys.argv[1:]
    cut = names.index("--beside") if "--beside" in names else len(names)
    pools = [Pool(load_all(Path(name), "asr")) for name in names[:cut]]
    exits = dict.fromkeys(row.cell.exit for row in pools[0].results)
    fixed = {
        name: each(pools, lambda row, name=name: row.cell.exit == name)
        for name in exits
        if FIXED.fullmatch(name)
    }
    for name, rows in fixed.items():
        errors = np.array([row.scores[METRIC].mean for row in rows])
        print(f"{name}: {METRIC} {errors.round(2)}, mean {errors.mean():.2f}")
        if name != "full":
            told("minus the last exit", of(rows), of(fixed["full"]))
    for value in sorted(
        {row.cell.value for row in pools[0].results if row.cell.exit == "adaptive"}
    ):
        rows = each(pools, lambda row: (row.cell.exit, row.cell.value) == ("adaptive", value))
        errors = np.array([row.scores[METRIC].mean for row in rows])
        depth = np.mean([row.depth for row in rows])
        print(
            f"{rows[0].cell.knob} {value:g}: {METRIC} {errors.round(2)}, mean {errors.mean():.2f}, "
            f"depth {depth:.1f}"
        )
        pairs = list(zip(pools, rows, strict=True))
        points = [pool.at_equal_macs(row) for pool, row in pairs]
        gmacs = np.mean([row.cost.gmacs_per_s for row in rows])
        whole = np.mean([row.cost.gmacs_per_s for row in fixed["full"]])
        print(f"  GMAC a second of audio   {gmacs:.3f}, of the last exit alone {whole:.3f}")
        if None in points:
            print("  minus fixed exits        none of that cost")
        else:
            told("minus fixed exits", of(rows), {i: p.scores(METRIC) for i, p in enumerate(points)})
        told("minus the last exit", of(rows), of(fixed["full"]))
        told(
            "minus random exits", of(rows), of([pool.control(row, "random") for pool, row in pairs])
        )
    single = [Pool(load_all(Path(name), "asr")) for name in names[cut + 1 :]]
    if single:
        rows = each(single, lambda row: row.cell.exit == "full")
        errors = np.array([row.scores[METRIC].mean for row in rows])
        depth = f"depth {rows[0].depth:g}"
        print(f"one exit at {depth}: {METRIC} {errors.round(2)}, mean {errors.mean():.2f}")
        told("exit of many minus it", of(fixed[depth]), of(rows))


if __name__ == "__main__":
    main()
