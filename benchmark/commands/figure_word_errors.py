"""What figure 5 shows, made: rows of recognition trained and tested on mixed noise ratios, as `run`
makes them, and the fixed exits that cost as much.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .parser import Parser

RHO = (1.0, 0.7)


def arguments(group: Parser) -> None:
    add = group.add_argument
    data = "a corpus that `data snr` made; default: one of built-in speech and noise, made now"
    add("--data", type=Path, metavar="DIR", help=data)
    add("--protocol", default="mini", metavar="NAME", help="a recipe of asr; default mini")
    spans = "where an exit may be tested; default: all of the upstream's own"
    add("--span", nargs="+", default=(), metavar="SPAN", help=spans)


def prepare(args: Namespace) -> None:
    """Make the rows, and leave them in `args.rows`: see report/figures/wer_by_snr.py."""
    from ...tasks.corpora.make_snr import recognition
    from ..engine.experiment import RunConfig
    from ..report.figures.wer_by_snr import Compared

    config = RunConfig(
        upstream=args.upstream,
        task=recognition().name,
        knobs=_knobs(args),
        span=tuple(args.span),
        data=args.data or built_in(),
        protocol=args.protocol,
        device=args.device,
        results=args.results,
        settings=args.set,
    )
    fixed, equal, found = _made(config, args.seed)
    args.rows = [
        Compared(
            of,
            found[fixed],
            found[equal[key]] if key in equal else None,
        )
        for key, of in found.items()
    ]


def built_in() -> Path:
    """The folder of the built-in corpus at the ratios of DAISY's sec. 4.3, made now if missing."""
    from ...tasks.corpora.make_snr import VERSION, make_snr, opened
    from ..config import short_hash
    from ..storage import cache_dir, locked

    told = short_hash([VERSION, opened(None).hash])
    folder = cache_dir() / "noisy" / told / "mini-snr"
    with locked(folder.parent.with_suffix(".lock"), "the built-in noisy corpus"):
        made = make_snr(None, folder)
    if made["made"]:
        print(f"notice: {made['message']}", file=sys.stderr)
    return folder


def _knobs(args: Namespace) -> dict[str, tuple[float, ...]]:
    from ..registry import upstream_class

    knob = upstream_class(args.upstream).knob
    values = args.rho or (RHO if knob == "rho" else ())
    return {knob: tuple(values)} if knob and values else {}


def _made(config, seeds: Sequence[int]) -> tuple[str, dict[str, str], dict[str, list]]:
    """The exit that the paper compares with; of every adaptive row, by its words, the fixed exit of
    the nearest cost; and the results of every row, one a seed.
    """
    from ..engine.resolve import resolve
    from ..engine.run import results
    from ..errors import UsageError

    exp = resolve(replace(config, seed=seeds[0]))
    if not exp.upstream.knob or exp.answers:
        raise UsageError(
            f"figure 5 trains heads behind an upstream that exits by itself, and {config.upstream} "
            "does not, or answers by itself; choose an adaptive upstream such as daisy"
        )
    if "snr" not in exp.splits["test"][0].more:
        raise UsageError(
            f"{config.data} does not say how noisy an utterance is; make a corpus that does: "
            "run_benchmark.py data snr --speech DIR --noise DIR --out DIR"
        )
    middle = exp.upstream.card.depth // 2
    exits = [*filter(None, [config.settings.get("exits", "")]), str(middle)]
    found: dict[str, list] = {}
    equal: dict[str, str] = {}
    costs = fixed_costs(exp)
    for seed in seeds:
        asked = replace(config, seed=seed)
        with_middle = {**config.settings, "exits": ",".join(exits)}
        first, refused = results(resolve(replace(asked, settings=with_middle)), parallel=True)
        for sentence in refused:
            print(f"notice: {sentence}", file=sys.stderr)
        adaptive = [r for r in first if r.cell.exit == "adaptive"]
        equal |= {_words(r): _nearest(costs, r.cost.gmacs_per_s) for r in adaptive}
        depths = [e.removeprefix("depth ") for e in dict.fromkeys(equal.values()) if e != "full"]
        with_all = {**config.settings, "exits": ",".join([*exits, *depths])}
        every, _ = results(resolve(replace(asked, settings=with_all)), parallel=True)
        for result in every:
            if result.cell.layer_norm is not False:  # full depth without is another question
                found.setdefault(_words(result), []).append(result)
    return f"depth {middle}", equal, found


def fixed_costs(exp) -> dict[str, float]:
    """Fixed exit -> 10^9 multiply-accumulates a second of audio, over the test split."""
    import numpy as np

    from ..engine import cost
    from ..exiting import Exit

    items, blocks = exp.splits["test"], exp.upstream.card.depth
    seconds = cost.audio_seconds(items)
    names = {k: f"depth {k}" for k in range(1, blocks)} | {blocks: "full"}
    return {
        name: cost.macs(exp.upstream, items, np.full(len(items), k), Exit((k,))) / seconds / 1e9
        for k, name in names.items()
    }


def _nearest(costs: dict[str, float], spent: float) -> str:
    return min(costs, key=lambda exit: abs(costs[exit] - spent))


def _words(result) -> str:
    cell = result.cell
    return f"{cell.exit} {cell.value:g} {cell.span}" if cell.knob else cell.exit
