"""Which recordings of anybody's speech and noise make a corpus, and how its splits share them."""

import hashlib
import random
import re
from collections import defaultdict
from pathlib import Path

from ...benchmark.audio import length
from ...benchmark.audio_tree import audio_files
from ...benchmark.contract import SAMPLE_RATE
from ...benchmark.errors import UsageError
from .speakers import column, speakers

# seconds; other utterances are left out, since cutting them would cut words
SHORTEST, LONGEST = 1.0, 10.0
SERIES = 30  # more files than this that differ in a number only are separate recordings


def utterances(
    folder: Path, shortest: float = SHORTEST, longest: float = LONGEST
) -> tuple[dict[str, list[Path]], int]:
    """Speaker -> files of a usable length, and how many are not. UsageError where it is not clear
    who speaks.
    """
    files, found = audio_files(folder), defaultdict(list)
    usable = [p for p in files if shortest <= length(p) / SAMPLE_RATE <= longest]
    for path, speaker in speakers(folder, usable).items():
        found[speaker].append(path)
    return dict(found), len(files) - len(usable)


def noise_recordings(folder: Path) -> dict[str, list[Path]]:
    """Recording -> its files: cuts and channels of one recording belong together.

    That is what a MANIFEST.csv calls source_path, and without one the folder and the name less its
    last number or take letter: rain-00 and rain-03, ch01 and ch16 (DEMAND), 1-211527-A-20 and
    1-211527-B-20 (ESC). Numbering hundreds of unrelated files is common too (MUSAN's
    noise-free-sound-0001), hence SERIES.
    """
    files, found = audio_files(folder), defaultdict(list)
    known = column(folder, files, ("source_path",))
    for path in files:
        origin = Path(known.get(path) or path.relative_to(folder))
        stem = re.sub(r"([-_][A-Z]([-_]\d+)?|[-_ ]?\d+)$", "", origin.stem)
        found[(origin.parent / (stem or origin.stem)).as_posix()].append(path)
    for name, files in list(found.items()):
        if len(files) > SERIES:
            del found[name]
            found.update({path.relative_to(folder).as_posix(): [path] for path in files})
    return dict(found)


def shares(
    groups: dict[str, list[Path]], what: str, folder: Path, seed: int, least: int = 1
) -> dict[str, list[str]]:
    """Group names, shuffled and split 8:1:1 with at least `least` each."""
    names = sorted(groups)
    if len(names) < 3 * least:
        raise UsageError(
            f"{folder} has {len(names)} {what} to use and train, dev and test need "
            f"{'one' if least == 1 else least} of their own; add recordings, each in its folder, "
            "or list them in a MANIFEST.csv (columns path, speaker, source_path)"
        )
    random.Random(f"{what}-{seed}").shuffle(names)
    n = max(least, round(len(names) / 10))
    return {"train": names[2 * n :], "dev": names[:n], "test": names[n : 2 * n]}


def limited(
    chosen: dict[str, list[tuple[str, Path]]], limit: int | None, seed: int
) -> dict[str, list[tuple[str, Path]]]:
    """About `limit` files in all, every split in proportion and none empty."""
    total = sum(map(len, chosen.values()))
    if limit is None or limit >= total:
        return chosen
    return {
        split: sorted(
            random.Random(f"limit-{seed}-{split}").sample(
                files, max(1, round(limit * len(files) / total))
            )
        )
        for split, files in chosen.items()
    }


def fingerprint(options: list, *sources: dict[str, list[Path]]) -> str:
    files = [
        [(group, p.name, p.stat().st_size) for group, paths in source.items() for p in paths]
        for source in sources
    ]
    return hashlib.sha256(repr((options, files)).encode()).hexdigest()[:16]
