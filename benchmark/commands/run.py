"""`run_benchmark.py run`: make the rows of one table and print them."""

import json
import sys
from collections.abc import Sequence

from .config_file import with_config
from .parser import requested, run_parser

# parts of a row's detail that its JSON line has
IN_JSON = ("protocol_based_on", "protocol_differs", "lr_sweep", "budget", "max_loss")


def command(argv: Sequence[str]) -> int:
    args = with_config(run_parser(), argv)
    if args.version:
        from ..extras import HERE
        from ..report.provenance import release

        print(f"earlyexit-superb {release()} in {HERE}")
        return 0
    configs = requested(args)
    from ..engine.resolve import resolve
    from ..engine.run import results as made
    from ..registry import tasks
    from ..report.board_lines import against, aggregated, compared, row
    from ..report.result import slug
    from ..report.screen import table

    results, refused, timings, board = {}, [], {}, []
    for config in configs:
        some, sentences = made(resolve(config), parallel=True, timings=timings, board=board)
        results |= {result.cell: result for result in some}  # the seeds share what has none
        refused += sentences
    as_shown = {result.cell: result for result in board}  # what is averaged there, and what is not
    results = [as_shown.get(cell, result) for cell, result in results.items()]
    task = tasks.get(args.task).name
    lines = [row(result) for result in results]
    if args.reference:
        lines = against(lines, args.reference, [row(result) for result in board])
    lines = compared(lines + aggregated(lines), board)
    if args.json:
        for line, result in zip(lines, results, strict=False):
            print(
                json.dumps(
                    line
                    | {
                        "exit_histogram": result.exit_histogram,
                        "layer_weights": result.layer_weights,
                    }
                    | {k: result.detail[k] for k in IN_JSON if result.detail.get(k)}
                )
            )
        for line in lines[len(results) :]:  # over seeds
            print(json.dumps(line))
    else:
        print(table(lines))
        for result in results:
            if result.cell.knob and any(result.exit_histogram):
                print(_histogram(result))
        for result in results:
            if said := _chosen(result):
                print(said)
    print(f"results: {args.results}/leaderboard_{slug(task)}.csv", file=sys.stderr)
    for sentence in refused:
        print(f"error: {sentence}", file=sys.stderr)
    return 2 if refused else 0


def _histogram(result) -> str:
    counts, cell = list(result.exit_histogram), result.cell
    most = max(counts)
    bars = "  ".join(f"{k}:{n}{'▁▂▃▄▅▆▇█'[round(7 * n / most)]}" for k, n in enumerate(counts) if n)
    control = "" if cell.exit == "adaptive" else f"{cell.exit} "
    at_test = "" if cell.test_value is None else f" at test {cell.test_value:g}"
    return (
        f"exits by depth, {control}{cell.upstream} {cell.knob} {cell.value:g}{at_test} {cell.span}:"
        f" {bars}"
    )


def _chosen(result) -> str:
    """What a test threshold was chosen for, and what came of it; "" where it follows the knob."""
    budget, loss = result.detail.get("budget"), result.detail.get("max_loss")
    if not (budget or loss):
        return ""
    cell, tau = result.cell, (result.detail.get("exit") or {}).get("tau")
    at = f"tau {tau:.4g}, " if isinstance(tau, float | int) else "no threshold, "
    who = f"{cell.upstream} {cell.knob} {cell.value:g} {cell.span}, {cell.exit}: {at}"
    if budget:
        return (
            f"{who}saves {budget['saved']:.1f} % of the training split's multiply-accumulates, "
            f"{result.cost.macs_saved:.1f} % of the test split's"
        )
    on_test = "" if loss["test_risk"] is None else f"{loss['test_risk']:.3g} on test: "
    held = {True: "it holds", False: "it does not hold", None: "nothing could be scored"}
    return (
        f"{who}loses {loss['risk']:.3g} {loss['unit'].split(',')[0]} on dev ({loss['n']} "
        f"utterances), {on_test}{held[loss['held']]}"
    )
