"""`data snr`: speech of a recognition corpus at several noise ratios (DAISY, sec. 4.3)."""

import math
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from .parser import Parser


def arguments(kind: Parser) -> None:
    add = kind.add_argument
    speech = "a corpus with transcripts, in any layout of recognition; default: the built-in one"
    add("--speech", type=Path, metavar="DIR", help=speech)
    shares = "how much of each split gets which ratio in dB; default clean=40 10=30 5=20 0=10"
    add("--shares", nargs="+", metavar="DB=SHARE", help=shares)
    noise_options(kind, ("noise",))
    add("--limit", type=int, default=None, metavar="N", help="at most about N utterances")


def noise_options(kind: Parser, default: Sequence[str]) -> None:
    """What is added to speech: of `data snr` and of figure 4."""
    add = kind.add_argument
    kinds = f"of what is added: noise, music, babble; default {' '.join(default)}"
    add("--kinds", nargs="+", default=list(default), metavar="KIND", help=kinds)
    add("--noise", type=Path, metavar="DIR", help="recordings; default: made in code")
    add("--music", type=Path, metavar="DIR", help="recordings; default: made in code")
    babble = "speech of other people; default: built-in voices, or training speakers of --speech"
    add("--babble", type=Path, metavar="DIR", help=babble)


def noises_of(args: Namespace):
    """The value that those options stand for."""
    from ...tasks.corpora.noisy_copies import Noises

    given = {kind: getattr(args, kind) for kind in ("noise", "music", "babble")}
    return Noises(tuple(args.kinds), {kind: path for kind, path in given.items() if path})


def run(args: Namespace) -> int:
    from ...tasks.corpora.make_snr import SHARES, make_snr

    if args.limit is not None and args.limit < 3:
        raise UsageError(
            f"--limit {args.limit} leaves no utterance for one of train, dev and test; ask for at "
            "least 3"
        )
    shares = shares_of(args.shares) if args.shares else SHARES
    made = make_snr(args.speech, args.out, noises_of(args), shares, args.seed, args.limit)
    print(made["message"])
    return 0


def shares_of(texts: Sequence[str]) -> dict[float | None, float]:
    """["clean=40", "10=30"] -> {None: 40.0, 10.0: 30.0}; UsageError where that is no mixture."""
    shares: dict[float | None, float] = {}
    for text in texts:
        ratio, _, share = text.partition("=")
        try:
            key, value = None if ratio == "clean" else float(ratio), float(share)
        except ValueError:
            key, value = None, math.nan
        if not (math.isfinite(value) and value >= 0 and math.isfinite(key or 0)):
            raise UsageError(
                f"--shares takes clean=SHARE and DB=SHARE, such as clean=40 10=30, not {text!r}"
            )
        if key in shares:
            raise UsageError(f"--shares names {ratio} twice; leave one of them out")
        shares[key] = value
    if not sum(shares.values()):
        raise UsageError("--shares are all 0; give one of them more")
    return shares
