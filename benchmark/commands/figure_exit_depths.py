"""What figure 4 shows, measured: exit depths of noisy copies of test utterances, no head trained.

Thresholds are set on clean training speech, as DAISY's are on LibriSpeech. Noisy copies and
evidence are kept in the cache, so that the figure is drawn again for nothing.
"""

import random
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from .data_snr import noise_options, noises_of
from .parser import Parser

RHO = (1.0, 0.85, 0.7)
RATIOS = (10.0, 5.0, 0.0)  # dB, beside clean speech (DAISY, sec. 4.2)
UTTERANCES = 150  # of the test split, each in ten conditions
CALIBRATION = 2000  # utterances of the training split, at most


def arguments(group: Parser) -> None:
    add = group.add_argument
    speech = "a corpus with transcripts; default: the built-in one of recognition"
    add("--speech", type=Path, metavar="DIR", help=speech)
    noise_options(group, ("noise", "music", "babble"))
    few = f"of the test split, drawn by --seed; default {UTTERANCES}"
    add("--utterances", type=int, default=UTTERANCES, metavar="N", help=few)


def prepare(args: Namespace) -> None:
    """Measure, and leave the table in `args.table`; see report/figures/exit_depths_by_snr.py."""
    import pandas as pd

    from ...tasks.corpora.make_snr import crossed, opened, recognition
    from ..engine.exit_depths import exit_depths
    from ..engine.precision import at_precision
    from ..errors import UsageError
    from ..registry import build_upstream
    from ..storage import cache_dir

    if args.utterances < 1:
        raise UsageError(f"--utterances is a number from 1, not {args.utterances}")
    task, noises = recognition(), noises_of(args)
    upstream = build_upstream(args.upstream, args.set).to(args.device).requires_grad_(False)
    upstream = at_precision(upstream, "fp32")
    corpus = opened(args.speech)
    chosen = drawn(corpus.splits["test"], args.utterances, args.seed[0])
    root, builtin = cache_dir() / "noisy", args.speech is None
    items = crossed(corpus, chosen, root, noises, RATIOS, args.seed[0], builtin)
    calibration = drawn(corpus.splits["train"], CALIBRATION, args.seed[0])
    values = tuple(args.rho) or (RHO if upstream.knob == "rho" else upstream.knob_values)
    left = exit_depths(upstream, calibration, items, task.load, values, args.device)
    args.table = pd.DataFrame(
        {
            "utterance": item.more["utterance"],
            "speaker": item.speaker,
            "kind": item.more.get("noise", "clean"),
            "snr": _said(item.more["snr"]),
            "knob": upstream.knob,
            "value": value,
            "tau": of.tau,
            "depth": int(depth),
            "upstream": upstream.card.name,
            "corpus": f"{corpus.name}@{corpus.hash}",
            "blocks": upstream.card.depth,
        }
        for value, of in left.items()
        for item, depth in zip(items, of.depth, strict=True)
    )


def drawn(items: Sequence, most: int, seed: int) -> list:
    """At most `most` of them, in their old order."""
    if len(items) <= most:
        return list(items)
    rng = random.Random(f"figure-{seed}-{len(items)}")
    return [items[i] for i in sorted(rng.sample(range(len(items)), most))]


def _said(ratio: float | str) -> str:
    return ratio if isinstance(ratio, str) else f"{ratio:g}"
