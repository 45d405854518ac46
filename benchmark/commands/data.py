"""`data`: make corpora, list them, and find everything that is wrong with one before it costs
anything.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from . import data_snr
from .data_verify import need_of, served, verify
from .parser import Parser, kind_of


def command(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    return KINDS[args.kind].run(args)


def parser() -> Parser:
    verb = Parser(
        prog="run_benchmark.py data",
        description="Make, list and check corpora.",
        example="run_benchmark.py data verify LibriSpeech",
    )
    kinds = verb.add_subparsers(dest="kind", required=True, metavar="KIND", parser_class=Parser)
    for name, kind in KINDS.items():
        example = f"run_benchmark.py data {name} {kind.example}"
        kind.arguments(kind_of(kinds, name, kind.about, example))
    return verb


# ---- one pair of functions a kind: its arguments, and what it does -------------------------------


def _prepare_arguments(kind: Parser) -> None:
    from ...tasks.corpora import LAYOUTS

    kind.add_argument(
        "--layout",
        choices=LAYOUTS,
        metavar="NAME",
        default="",
        help=f"{', '.join(LAYOUTS)}; default: what the folder looks like",
    )
    kind.add_argument(
        "--from",
        dest="source",
        type=Path,
        required=True,
        metavar="DIR",
        help="the corpus, or a CSV or JSONL list of one",
    )
    kind.add_argument(
        "--task",
        metavar="TASK",
        help=f"whose splits to take ({_names()}); default: the first that it can serve",
    )
    kind.add_argument(
        "--train",
        default="",
        metavar="SET",
        help="another training set of the corpus: librispeech_finetuning",
    )
    _where(kind)


def _prepare(args: Namespace) -> int:
    from ...tasks import corpora

    names = [args.task] if args.task else served(args.source, args.layout)
    need = need_of(names[0], args.train) if names else corpora.Need((), "", args.train)
    print(corpora.prepare(args.source, args.out, need, args.layout, args.seed))
    return 0


def _verify_arguments(kind: Parser) -> None:
    kind.add_argument(
        "folder", type=Path, metavar="DIR", help="a corpus, its manifest, or any folder of audio"
    )
    kind.add_argument(
        "--task",
        metavar="TASK",
        help=f"what it is for ({_names()}); default: whatever it can serve",
    )
    kind.add_argument(
        "--train",
        default="",
        metavar="SET",
        help="another training set of the corpus: librispeech_finetuning",
    )


def _names() -> str:
    from ..registry import tasks

    return ", ".join(tasks.names())


def _noisy_arguments(kind: Parser) -> None:
    kind.add_argument("--speech", type=Path, required=True, metavar="DIR")
    kind.add_argument("--noise", type=Path, required=True, metavar="DIR")
    kind.add_argument("--limit", type=int, default=None, metavar="N", help="at most N utterances")
    _where(kind)


def _noisy(args: Namespace) -> int:
    from ...tasks.corpora.make_noisy import make_noisy

    print(make_noisy(args.speech, args.noise, args.out, args.seed, args.limit)["message"])
    return 0


def _snr_arguments(kind: Parser) -> None:
    data_snr.arguments(kind)
    _where(kind)


def _mixtures_arguments(kind: Parser) -> None:
    kind.add_argument(
        "--speech",
        type=Path,
        required=True,
        metavar="DIR",
        help="LibriSpeech, or without --metadata any folder of speech",
    )
    kind.add_argument(
        "--metadata",
        type=Path,
        nargs="+",
        default=[],
        metavar="CSV",
        help="libri2mix_*.csv of LibriMix; default: draw new mixtures",
    )
    kind.add_argument(
        "--resplit",
        action="store_true",
        help="make train, dev and test of what --metadata lists, no speaker in two of them",
    )
    kind.add_argument("--limit", type=int, default=None, metavar="N", help="at most N mixtures")
    _where(kind)


def _mixtures(args: Namespace) -> int:
    from ...tasks.corpora.make_mixtures import make_mixtures

    print(
        make_mixtures(args.speech, args.out, args.metadata, args.resplit, args.seed, args.limit)[
            "message"
        ]
    )
    return 0


def _speech_arguments(kind: Parser) -> None:
    kind.add_argument("--minutes", type=float, default=60.0)
    _where(kind)


def _speech(args: Namespace) -> int:
    from ...tasks.corpora.make_speech import make_speech

    print(make_speech(args.out, args.minutes, args.seed))
    return 0


def _where(kind: Parser) -> None:
    kind.add_argument("--out", type=Path, required=True, metavar="DIR")
    kind.add_argument("--seed", type=int, default=0)


class Kind(NamedTuple):
    """What `data` does.

    Attributes:
        example: its arguments, as --help shows them.
    """

    about: str
    example: str
    arguments: Callable[[Parser], None]
    run: Callable[[Namespace], int]


KINDS = {
    "prepare": Kind(
        "a corpus as it lies on disk into a manifest for --data",
        "--from LibriSpeech --task asr --out librispeech-asr",
        _prepare_arguments,
        _prepare,
    ),
    "verify": Kind(
        "count a corpus and name everything that is wrong with it",
        "LibriSpeech --task asr",
        _verify_arguments,
        verify,
    ),
    "noisy": Kind(
        "a VoiceBank-DEMAND-shaped corpus from any folders of speech and noise",
        "--speech LibriSpeech --noise noise --out se_real",
        _noisy_arguments,
        _noisy,
    ),
    "snr": Kind(
        "a recognition corpus at several noise ratios, as in DAISY's noise study",
        "--speech LibriSpeech --noise musan/noise --out asr_noisy",
        _snr_arguments,
        data_snr.run,
    ),
    "mixtures": Kind(
        "two-speaker mixtures in the layout of Libri2Mix, from its metadata or drawn anew",
        "--speech LibriSpeech --out ss_real",
        _mixtures_arguments,
        _mixtures,
    ),
    "speech": Kind(
        "synthetic speech of many built-in voices, for pre-training",
        "--out espeak --minutes 60",
        _speech_arguments,
        _speech,
    ),
}
