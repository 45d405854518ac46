"""`data`: make corpora, list them, and find everything that is wrong with one before it costs
anything.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..contract import SAMPLE_RATE
from ..errors import UsageError
from .parser import Parser, kind_of


def command(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    return KINDS[args.kind].run(args)


def parser() -> Parser:
    verb = Parser(
        prog="run_benchmark.py data",
        allow_abbrev=False,
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
    need = _need(names[0], args.train) if names else corpora.Need((), "", args.train)
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


def _verify(args: Namespace) -> int:
    """Counts and every problem on stdout; exit status 2 when there is one."""
    if not args.folder.exists():
        raise UsageError(f"there is no {args.folder}; check the path: ls {args.folder.parent}")
    wanted = [args.task] if args.task else served(args.folder)
    wrong = (
        [p for task in wanted for p in _verified(args.folder, task, args.train)]
        if wanted
        else _plain(args.folder)
    )
    if wrong:
        raise UsageError(
            f"{args.folder} has {len(wrong)} problems, listed above; mend them and verify again"
        )
    return 0


def served(folder: Path, layout: str = "") -> list[str]:
    """The tasks that a corpus is there for when nobody says, the likeliest first.

    Args:
        layout: what it is taken for, where a folder alone does not tell.
    """
    from ...tasks import corpora
    from ..registry import tasks

    ranked = []
    for name in tasks.names() if folder.exists() else ():
        if tasks.probe(name) or not (needs := tasks.get(name).needs):
            continue
        offered = corpora.offers(folder, name, layout)
        if set(needs) <= set(offered):
            ranked.append((offered.index(needs[0]), name))
    return [name for _, name in sorted(ranked)]


def _names() -> str:
    from ..registry import tasks

    return ", ".join(tasks.names())


def _need(task: str, train: str):
    from ...tasks.corpora import Need
    from ..registry import tasks

    return Need(tasks.get(task).needs, task, train)


def _verified(folder: Path, name: str, train: str) -> list[str]:
    from ...tasks import corpora
    from ..audio import audio_files
    from ..registry import tasks
    from ..validation import problems

    task, found = tasks.get(name), corpora.scan(folder, _need(name, train))
    print(f"{found.root}: {found.layout}, for {name}")
    if found.root != folder:
        print(
            f"notice: {len(audio_files(folder)) - len(audio_files(found.root))} audio files of "
            f"{folder} lie outside it"
        )
    _table(
        {
            split: [e for e in found.entries if e.split == split]
            for split in ("train", "dev", "test", "")
        }
    )
    protocol = task.protocols[task.default]
    if train and hasattr(protocol, "train_set"):
        protocol = replace(protocol, train_set=train)
    corpus = task.corpus(folder, protocol)
    for notice in found.notices:
        print(f"notice: {notice}")
    wrong = list(dict.fromkeys([*problems(task, corpus, protocol), *corpora.damage(found.entries)]))
    for sentence in wrong:
        print(f"problem: {sentence}")
    print(f"{len(wrong)} problems" if wrong else f"ready for {name}")
    return wrong


def _plain(folder: Path) -> list[str]:
    """A folder in no layout, such as noise or unlabelled speech: counted by its first
    folders, and decoded.
    """
    from ...tasks import corpora

    if folder.is_file():
        raise UsageError(
            f"{folder} lists audio without transcript, speaker or references, so it serves no "
            "task; say which: --task asr"
        )
    entries, notices = corpora.plain(folder)
    print(f"{folder}: plain audio (no layout with labels), for training an upstream or as noise")
    _table(
        {
            name: [e for e in entries if e.split == name]
            for name in sorted({e.split for e in entries})
        },
        "folder",
    )
    for notice in notices:
        print(f"notice: {notice}")
    wrong = list(dict.fromkeys(corpora.damage(entries)))
    for sentence in wrong:
        print(f"problem: {sentence}")
    return wrong


def _table(groups: dict[str, list], what: str = "split") -> None:
    """Files (several utterances may be pieces of one), hours and speakers of each group that is
    not empty, and of all.
    """
    rows = [(name or "(none)", group) for name, group in groups.items() if group]
    width = max([len(what), 5, *(len(name) for name, _ in rows)])
    print(f"{what:{width}}  utterances   files   hours  speakers")
    for name, group in [*rows, ("all", [e for _, own in rows for e in own])]:
        # a mixture has several
        speakers = {who for e in group for who in e.speaker.split("+") if who}
        hours = sum(e.samples for e in group) / SAMPLE_RATE / 3600
        print(
            f"{name:{width}}  {len(group):10d}  {len({e.path for e in group}):6d}  {hours:6.2f}  "
            f"{len(speakers) or '-':>8}"
        )


def _noisy_arguments(kind: Parser) -> None:
    kind.add_argument("--speech", type=Path, required=True, metavar="DIR")
    kind.add_argument("--noise", type=Path, required=True, metavar="DIR")
    kind.add_argument("--limit", type=int, default=None, metavar="N", help="at most N utterances")
    _where(kind)


def _noisy(args: Namespace) -> int:
    from ...tasks.corpora.make_noisy import make_noisy

    print(make_noisy(args.speech, args.noise, args.out, args.seed, args.limit)["message"])
    return 0


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
        _verify,
    ),
    "noisy": Kind(
        "a VoiceBank-DEMAND-shaped corpus from any folders of speech and noise",
        "--speech LibriSpeech --noise noise --out se_real",
        _noisy_arguments,
        _noisy,
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
