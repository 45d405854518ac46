"""`data verify`: counts of a corpus, and everything that is wrong with it."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..contract import SAMPLE_RATE
from ..errors import UsageError


def verify(args: Namespace) -> int:
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


def _verified(folder: Path, name: str, train: str) -> list[str]:
    from ...tasks import corpora
    from ..audio_tree import audio_files
    from ..registry import tasks

    task = tasks.get(name)
    protocol = task.protocols[task.default]
    if train and hasattr(protocol, "train_set"):
        protocol = replace(protocol, train_set=train)
    # one after the other: both hold every utterance
    wrong, long = _told(task, task.corpus(folder, protocol), protocol)
    found = corpora.scan(folder, need_of(name, train))
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
    for notice in (*found.notices, *corpora.left_out(found), *long):
        print(f"notice: {notice}")
    wrong = list(dict.fromkeys([*wrong, *corpora.damage(found.entries)]))
    for sentence in wrong:
        print(f"problem: {sentence}")
    print(f"{len(wrong)} problems" if wrong else f"ready for {name}")
    return wrong


def _told(task: Any, corpus: Any, protocol: Any) -> tuple[list[str], tuple[str, ...]]:
    """What is wrong with a corpus, and a notice where it is long."""
    from ..validation import long_audio, problems

    return problems(task, corpus, protocol), long_audio(corpus)


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


def need_of(task: str, train: str) -> Any:
    """What a task needs of a corpus."""
    from ...tasks.corpora import Need
    from ..registry import tasks

    return Need(tasks.get(task).needs, task, train)
