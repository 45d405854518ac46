"""The tables that pages show, made from the committed rows of results/."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import board_differences

ROOT = Path(__file__).parents[1]
BACKBONE = "hubert.tiny(front=projection)"
RANDOM = "hubert.tiny(weights=random, front=projection)"
RANDOM_BLOCKS = "hubert.tiny(weights=random-blocks, front=projection)"
SHOWN = (BACKBONE, "daisy.tiny")
RHOS, SPANS = (0.7, 0.76, 1.0), ("mean", "threshold", "min-max")


def tables() -> dict[str, str]:
    """Name -> Markdown, from the committed rows."""
    return {
        "se": _as_printed(),
        "tasks": _every_task(),
        "control": _control(),
        "worth": _worth(),
        "differences": board_differences.table(),
        "weights": board_differences.layer_weights(),
    }


@cache
def lines(task: str) -> list[dict]:
    """One for a cell, the mean over its seeds where there are several, with what it is worth beside
    fixed and random exits.
    """
    from earlyexit_superb.benchmark.report import table1
    from earlyexit_superb.benchmark.report.folder import load_all

    of = table1.lines({task: load_all(ROOT / "results", task)}, {}).to_dict("records")
    return [{k: None if v != v else v for k, v in line.items()} for line in of]


def by_key(lines: list[dict], key: Callable[[dict], tuple]) -> dict[tuple, dict]:
    """Two lines of one key, of other weights or another corpus, would hide one another."""
    found = {key(line): line for line in lines}
    if len(found) < len(lines):
        raise ValueError("results/ has rows that stand in one place of a page; remove the old ones")
    return found


def _as_printed() -> str:
    """The rows of `--upstream daisy --task se --rho 0.7`, best first."""
    from earlyexit_superb.benchmark.report.board_lines import LEADING
    from earlyexit_superb.benchmark.report.folder import load_all
    from earlyexit_superb.benchmark.report.leaderboard import board
    from earlyexit_superb.benchmark.report.screen import markdown, screen

    found = load_all(ROOT / "results", "se")
    shown = [
        r
        for r in found
        if r.cell.exit not in ("random", "oracle")
        and (r.cell.upstream in (BACKBONE, "unprocessed") or r.cell.value == 0.7)
    ]
    kept = [
        "upstream",
        "exit",
        "span",
        "pesq",
        "stoi",
        "si_sdr_improvement",
        "vs curve",
        "depth",
        "GMAC/s",
        "RTFx",
        "params (M)",
        "macs_saved",
        "time_saved",
    ]
    frame = board(shown)
    alone = ~frame.duplicated([name for name in LEADING if name != "seed"], keep=False)
    frame = frame[alone | frame["seed"].astype(str).str.startswith("mean")]
    return markdown(screen(frame)[kept]) + "\n"


FIRST = {
    "se": "se: PESQ",
    "asr": "asr: WER, %",
    "sid": "sid: accuracy, %",
    "ss": "ss: SI-SDR improvement, dB",
}


def _every_task() -> str:
    """The first metric of every task, row by row, with the cost of se."""
    of = {
        task: by_key([line for line in lines(task) if line["upstream"] in SHOWN], _key)
        for task in FIRST
    }
    keys = [
        ("full", None, None, None),
        ("full + layer-norm", None, None, None),
        *((f"depth {depth} + layer-norm", None, None, None) for depth in (0, 3, 6, 9)),
        *(("adaptive", rho, None, span) for rho in RHOS for span in SPANS),
    ]
    heading = ["exit", *FIRST.values(), "depth", "GMAC/s", "params (M)", "MACs saved"]
    out = [heading, ["---"] * len(heading)]
    for key in keys:
        exit, rho, _, span = key
        line = of["se"][key]
        out.append(
            [
                exit if rho is None else f"DAISY, rho {rho:g}, {span}",
                *(_interval(of[task].get(key), task) for task in FIRST),
                f"{line['depth']:.2f}",
                f"{line['gmacs_per_s']:.2f}",
                f"{line['params_m']:.1f}",
                f"{line['macs_saved']:.1f} %",
            ]
        )
    return "".join(f"| {' | '.join(cells)} |\n" for cells in out)


def _control() -> str:
    """Full depth beside its front-end under random blocks, and beside random weights."""
    told = ("model", "random blocks", "random weights")
    heading = ["full depth", *told, *(f"{name}, layer-norm" for name in told)]
    out = [heading, ["---"] * len(heading)]
    for task, name in FIRST.items():
        plain = [line for line in lines(task) if line["value"] is None]
        of = by_key(plain, lambda line: (line["upstream"], line["exit"]))
        floor = of.get(("unprocessed", "unprocessed"))
        noisy = f" (noisy input {floor['pesq']:.2f})" if task == "se" else ""
        cells = [
            _interval(of[who, how], task)
            for how in ("full", "full + layer-norm")
            for who in (BACKBONE, RANDOM_BLOCKS, RANDOM)
        ]
        out.append([name + noisy, *cells])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in out)


def worth(task: str) -> dict[tuple, dict]:
    """The adaptive lines."""
    return by_key([line for line in lines(task) if line["exit"] == "adaptive"], _key)


def _worth() -> str:
    """Adaptive rows minus fixed exits at equal multiply-accumulates."""
    out = [["rho", "span", *FIRST.values()], ["---"] * (2 + len(FIRST))]
    of = {task: worth(task) for task in FIRST}
    for rho in RHOS:
        for span in SPANS:
            lines = (of[task].get(("adaptive", rho, None, span)) for task in FIRST)
            out.append([f"{rho:g}", span, *map(_difference, lines, FIRST)])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in out)


def _difference(line: dict | None, task: str) -> str:
    if line is None or line["vs_curve"] is None:
        return "no fixed exits at its cost"
    digits = 3 if task == "se" else 2
    mean, low, high = (f"{line['vs_curve' + end]:+.{digits}f}" for end in ("", "_low", "_high"))
    return f"{mean} ({low} to {high})"


def _key(line: dict) -> tuple:
    return line["exit"], line["value"], line["test_value"], line["span"]


def _interval(line: dict | None, task: str) -> str:
    if line is None:
        return ""
    metric = {"se": "pesq", "asr": "wer", "sid": "accuracy", "ss": "si_sdr_improvement"}[task]
    mean, low, high, sd = (line[metric + end] for end in ("", "_low", "_high", "_sd"))
    if low is None:  # over seeds
        return f"{mean:.2f} ± {sd:.2f}"
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"
