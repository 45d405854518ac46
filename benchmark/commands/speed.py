"""`speed`: what a forward pass costs here, beside the libraries one would otherwise use, and what
leaving early gives back.

The weights are random unless named: no time depends on them.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..engine.precision import PRECISIONS, at_precision
from ..engine.speed_bench import PADDED, SIDE, Bench, Row, batches, built_in, full_depth, recordings
from ..engine.speed_exits import exits
from ..engine.timing import BackgroundLoad, machine
from ..errors import UsageError

COLUMNS = (
    "part",
    "system",
    "batch",
    "exit",
    "branches",
    "seconds",
    "real_time_factor",
    "utterances_per_second",
    "to_best_reference",
    "s3prl_padded_to_this",
    "time_saved",
    "ideal_saving",
    "realised",
    "peak_mib",
    "precision",
    "device",
    "audio_seconds",
    "utterances",
    "rounds",
)
SAME = ["precision", "device", "audio_seconds", "utterances", "rounds"]  # in every row


def command(argv: Sequence[str]) -> int:
    from ..config import pairs
    from ..registry import upstreams
    from ..storage import writable, write_text
    from .parser import check_device

    args = _parser().parse_args(argv)
    if args.utterances < 1 or args.rounds < 1:
        raise UsageError(
            "speed needs at least one utterance and one round, "
            f"not {args.utterances} and {args.rounds}"
        )
    check_device(args.device)
    if args.csv:
        writable(args.csv.parent)
    load = BackgroundLoad()
    bench, references = prepared(args, args.upstream or upstreams.full_size, pairs(args.set))
    rows: list[Row] = []
    if args.only != "exits":
        more, rate = full_depth(bench, references)
        rows += more
    if args.only != "references":
        more, rate = exits(bench)
        rows += more
    import pandas as pd

    table = pd.DataFrame(rows, columns=list(COLUMNS))
    if args.csv:
        write_text(args.csv, table.to_csv(index=False, lineterminator="\n"))
    where = args.data or "built-in noise"
    print(
        f"{bench.upstream.card.name}, {bench.depth} blocks of {bench.upstream.card.dim}, "
        f"{bench.precision}, {len(bench.wavs)} utterances of {where}, {bench.audio:.0f} s of "
        f"audio, medians of {bench.rounds} paired rounds\n{machine(bench.device)}"
    )
    busy = load.share()
    if busy is not None:
        much = ": too much for these figures to mean anything" if busy > 0.1 else ""
        print(f"other programs used {busy:.0%} of its processors meanwhile{much}")
    print(_shown(table))
    for line in (*roofline(bench, rows, rate), *goals(table)):
        print(line)
    return 0


def _parser():
    from .parser import Parser

    parser = Parser(
        prog="run_benchmark.py speed",
        description="Time an upstream here against the same network in other libraries, and every "
        "exit against the ideal.",
        example="run_benchmark.py speed --data LibriSpeech --csv speed.csv",
    )
    add = parser.add_argument
    add(
        "--upstream",
        metavar="NAME",
        help="an upstream (run_benchmark.py ls upstreams); default: the adaptive one of published "
        "size, with random weights",
    )
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="options of the upstream, such as weights",
    )
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="a folder of recordings, of which some of every length are taken; default: noise of "
        "such lengths",
    )
    add("--utterances", type=int, default=16, metavar="N", help="default 16")
    add("--rounds", type=int, default=5, metavar="N", help="default 5")
    add("--device", default="cpu", metavar="DEV", help="cpu, cuda, cuda:1, ...; default cpu")
    add("--precision", choices=PRECISIONS, help="default bf16 on a GPU, fp32 elsewhere")
    add("--only", choices=("references", "exits"), help="one half of the table")
    add("--csv", type=Path, metavar="FILE", help="the table as CSV too")
    return parser


def prepared(args: Any, name: str, options: dict[str, str]) -> tuple[Bench, dict]:
    """What is timed, and the same network as other libraries run it."""
    from ..registry import build_upstream, upstream_class

    stand_in = upstream_class(name).stand_in
    upstream = build_upstream(name, {**stand_in, **options}).to(args.device).requires_grad_(False)
    references: dict = {}
    if args.only != "exits":
        references, notices = upstream.backbone.reference_models(args.device)
        for notice in notices:
            print(f"notice: {notice}", file=sys.stderr)
    cuda = torch.device(args.device).type == "cuda"
    precision = args.precision or ("bf16" if cuda else "fp32")
    wavs = recordings(args.data, args.utterances) if args.data else built_in(args.utterances)
    wavs = [w.to(args.device) for w in wavs]
    upstream = at_precision(upstream, precision)
    return Bench(upstream, precision, args.device, wavs, args.rounds), dict(references)


# ---- what is printed below the rows --------------------------------------------------------------


def _shown(table: Any) -> str:
    shown = table.drop(columns=SAME).dropna(axis=1, how="all")
    return shown.to_string(index=False, na_rep="", float_format=lambda x: f"{x:.3f}")


def roofline(bench: Bench, rows: Sequence[Row], rate: float) -> list[str]:
    """Multiply-accumulates of a full pass against those that a second of plain matrix product
    gives here: the bounds of all ratios above.

    Args:
        rate: GMAC a second of that product.
    """

    def gmacs(wavs: Sequence[Tensor]) -> float:
        return sum(bench.upstream.macs(len(w), bench.depth) for w in wavs) / 1e9

    taken = {(row["system"], row["batch"]): row["seconds"] for row in rows}
    own, ours = gmacs(bench.wavs), taken.get(("ours", 1)) or taken["full", 1]
    lines = [
        f"roofline: a {bench.precision} matrix product of side {SIDE} does {rate:.0f} GMAC/s here; "
        f"a full pass takes {own:.0f} GMAC, so {own / rate:.2f} s at that rate; it took "
        f"{ours:.2f} s at batch 1 ({own / rate / ours:.0%} of the rate)"
    ]
    if bench.upstream.knob:
        depths = bench.upstream.exits
        branches = sum(_branch_macs(bench, len(w), k) for w in bench.wavs for k in depths)
        lines.append(
            f"          all branches take {branches / 1e9:.1f} GMAC: {branches / 1e9 / own:.1%} of "
            "a full pass before a single logarithm"
        )
    if theirs := taken.get(("s3prl", PADDED)):
        padded = batches(bench.wavs, PADDED)
        filled = sum(len(some) * gmacs([max(some, key=len)]) for some in padded)
        lines.append(
            f"          s3prl's padded batches of {PADDED} take {filled:.0f} GMAC, "
            f"{filled / own:.2f} times as much, at {filled / theirs:.0f} GMAC/s; unpadded and at "
            f"the full rate a pass would be {theirs * rate / own:.2f} times faster than they"
        )
    return lines


def _branch_macs(bench: Bench, samples: int, depth: int) -> int:
    up = bench.upstream
    answer = up.answer_macs(samples, depth) if up.evidence_reads_answer else 0
    return up.evidence_macs(samples, depth) + answer


def goals(table: Any) -> list[str]:
    """This project's aims for HuBERT Base on a CPU, and what this run says of each."""
    full = table[(table.part == "full depth") & (table.system == "ours")]
    exits = table[table.part == "exits"].set_index("system")
    lines: list[tuple[str, float, float, bool]] = []
    against = full.s3prl_padded_to_this.max()
    if not math.isnan(against):
        lines.append((f"times faster than s3prl's padded batch of {PADDED}", against, 2.5, True))
    for value in full[full.batch == 1].to_best_reference.dropna():
        lines.append(("time at batch 1 over the best reference model's", value, 1.02, False))
    for name, row in exits.dropna(subset=["realised"]).iterrows():
        if row.branches or row.exit in (2, 4, 6, 8):
            target = 0.90 if row.branches > 2 else 0.95 if row.branches else 0.97
            what = f"of the ideal saving realised, {name} (left after {row.exit}, "
            lines.append((f"{what}{row.branches} branches)", row.realised, target, True))
    if "all branches, nobody leaves" in exits.index:
        share = -exits.time_saved["all branches, nobody leaves"]
        lines.append(("all branches, share of the full pass", share, 0.04, False))
    return [_goal(*line) for line in lines]


def _goal(what: str, value: float, target: float, more: bool) -> str:
    met = "met   " if (value >= target if more else value <= target) else "MISSED"
    return f"goal {met} {value:.3f} ({'at least' if more else 'at most'} {target:g})  {what}"
