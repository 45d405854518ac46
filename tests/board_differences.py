"""The paired differences that docs/reproduction.md shows, from the committed rows of results/."""

from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
TASKS = {
    "asr": "asr: WER, %",
    "sid": "sid: accuracy, %",
    "se": "se: PESQ",
    "ss": "ss: SI-SDR improvement, dB",
}
MODEL = "hubert.tiny(front=projection)"
BLANK = "hubert.tiny(weights=random, front=projection)"
BLOCKS = "hubert.tiny(weights=random-blocks, front=projection)"
LN = " + layer-norm"
RHOS = (0.7, 0.76, 1.0)  # all that there are, not those that look well

# (said, A, B): a fixed row is (upstream, exit), an adaptive one a rho, of span mean
PAIRS = (
    ("full, layer-norm, minus random weights", (MODEL, "full" + LN), (BLANK, "full" + LN)),
    ("full minus random weights", (MODEL, "full"), (BLANK, "full")),
    ("full, layer-norm, minus random blocks", (MODEL, "full" + LN), (BLOCKS, "full" + LN)),
    ("full minus random blocks", (MODEL, "full"), (BLOCKS, "full")),
    (
        "depth 0 minus random blocks at full depth",
        (MODEL, "depth 0" + LN),
        (BLOCKS, "full" + LN),
    ),
    ("full, layer-norm, minus full", (MODEL, "full" + LN), (MODEL, "full")),
    *(
        (f"depth {k} minus full", (MODEL, f"depth {k}" + LN), (MODEL, "full" + LN))
        for k in (0, 3, 6)
    ),
    *((f"DAISY, rho {rho:g}, minus full", rho, (MODEL, "full" + LN)) for rho in RHOS),
    *((f"DAISY, rho {rho:g}, minus depth 6", rho, (MODEL, "depth 6" + LN)) for rho in RHOS),
    *((f"DAISY, rho {rho:g}, minus random exits", rho, "random") for rho in RHOS),
)


def table() -> str:
    """A line a pair, a column a task; of error rates, less is better."""
    out = [["difference", *TASKS.values()], ["---"] * (1 + len(TASKS))]
    out += [[said, *(_told(task, a, b) for task in TASKS)] for said, a, b in PAIRS]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in out)


def layer_weights() -> str:
    """Shares of the weighted sum that lie on the shallow and on the deep depths, at full depth with
    layer-norm: of the model, and of the controls that learned less."""
    spans = {"0 to 6": slice(0, 7), "9 to 12": slice(9, 13)}
    out = [["weights on depths", *(f"{task}, {of}" for task in TASKS for of in spans)]]
    out.append(["---"] * len(out[0]))
    for said, upstream in (("model", MODEL), ("random blocks", BLOCKS), ("random weights", BLANK)):
        shares = []
        for task in TASKS:
            seeds = [row.layer_weights for row in _rows(task, (upstream, "full" + LN))]
            mean = [sum(of) / len(seeds) for of in zip(*seeds, strict=True)]
            shares += [f"{sum(mean[span]):.2f}" for span in spans.values()]
        out.append([said, *shares])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in out)


def _told(task: str, a: tuple | float, b: tuple | str) -> str:
    from earlyexit_superb.benchmark.report.paired import of_scores

    rows = _rows(task, a)
    found = of_scores(
        _scores(rows), _scores(_dealt(task, rows) if b == "random" else _rows(task, b))
    )
    digits = 3 if task == "se" else 2 if task == "ss" else 1
    value, low, high = (f"{x:+.{digits}f}" for x in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def _rows(task: str, which: tuple | float) -> list:
    """One result a seed."""

    def wanted(cell) -> bool:
        name = cell.exit + (LN if cell.layer_norm else "")
        if isinstance(which, tuple):
            return (cell.upstream, name) == which
        return (cell.exit, cell.value, cell.span) == ("adaptive", which, "mean")

    found = [r for r in _pool(task).results if wanted(r.cell)]
    if len(found) != 3:
        raise ValueError(f"results/ has {len(found)} rows of {task} {which}, not one a seed")
    return found


def _dealt(task: str, rows: list) -> list:
    return [_pool(task).control(row, "random") for row in rows]


def _scores(rows: list) -> dict:
    from earlyexit_superb.benchmark.report.paired import by_seed
    from earlyexit_superb.benchmark.report.result import measured

    return by_seed(rows, measured(rows[0])[0].name)


@cache
def _pool(task: str):
    from earlyexit_superb.benchmark.report.curve import Pool
    from earlyexit_superb.benchmark.report.folder import load_all

    return Pool(load_all(ROOT / "results", task))
