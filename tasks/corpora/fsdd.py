"""FSDD, the free spoken digit dataset: recordings/<digit>_<speaker>_<number>.wav, split by
number as its README says.
"""

import re
from pathlib import Path

from ...benchmark.audio_tree import audio_in
from .entry import of_file
from .fields import Found, Layout, Need

NAME = re.compile(r"(\d)_([^\W\d_][\w.-]*)_(\d+)")
DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")


def _recordings(root: Path) -> list[Path]:
    folder = root / "recordings" if (root / "recordings").is_dir() else root
    return [p for p in audio_in(folder) if NAME.fullmatch(p.stem)]


def _read(found: Found, need: Need) -> None:
    """Numbers 0-4 are test (FSDD's README); here 5 and 6 are dev and the rest training."""
    for path in _recordings(found.root):
        digit, speaker, number = NAME.fullmatch(path.stem).groups()
        split = "test" if int(number) < 5 else "dev" if int(number) < 7 else "train"
        found.entries.append(of_file(path.stem, split, path, speaker, DIGITS[int(digit)]))
    found.notices.append(
        "the same speakers in every split: test is numbers 0-4 (FSDD's README), dev 5-6"
    )


FSDD = Layout("FSDD", ("text", "speaker"), lambda p: bool(_recordings(p)), _read)
