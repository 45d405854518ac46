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
    from ..report.curve import adaptive
    from ..report.result import slug
    from ..report.row_notes import chosen, histogram, warn
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
            if (result.cell.knob or adaptive(result)) and any(result.exit_histogram):
                print(histogram(result))
        for result in results:
            if said := chosen(result):
                print(said)
    print(f"results: {args.results}/leaderboard_{slug(task)}.csv", file=sys.stderr)
    warn(results)
    for sentence in refused:
        print(f"error: {sentence}", file=sys.stderr)
    return 2 if refused else 0
