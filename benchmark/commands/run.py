"""`run_benchmark.py run`: make the rows of one table and print them."""

import json
import sys
from collections.abc import Sequence

from .parser import requested, run_parser


def command(argv: Sequence[str]) -> int:
    args = run_parser().parse_args(argv)
    if args.version:
        from ..extras import HERE
        from ..report.provenance import release

        print(f"earlyexit-superb {release()} in {HERE}")
        return 0
    configs = requested(args)
    from ..engine.resolve import resolve
    from ..engine.run import results as made
    from ..registry import tasks
    from ..report.leaderboard import against, aggregated, load_all, row
    from ..report.result import slug
    from ..report.screen import table

    results, refused = {}, []
    for config in configs:
        some, sentences = made(resolve(config), parallel=True)
        results |= {result.cell: result for result in some}  # the seeds share what has none
        refused += sentences
    results = list(results.values())
    task = tasks.get(args.task).name
    lines = [row(result) for result in results]
    if args.reference:
        others = [row(result) for result in load_all(args.results, task)]
        lines = against(lines, args.reference, others)
    if args.json:
        for line, result in zip(lines, results, strict=True):
            print(
                json.dumps(
                    line
                    | {
                        "exit_histogram": result.exit_histogram,
                        "layer_weights": result.layer_weights,
                    }
                    | {
                        k: result.detail[k]
                        for k in ("protocol_based_on", "protocol_differs", "lr_sweep")
                        if result.detail.get(k)
                    }
                )
            )
        for line in aggregated(lines):
            print(json.dumps(line))
    else:
        print(table(lines + aggregated(lines)))
        for result in results:
            if result.cell.knob:
                print(_histogram(result))
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
