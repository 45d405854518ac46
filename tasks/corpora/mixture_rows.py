"""Which mixtures there are to be: read from LibriMix's metadata, split by speaker, or drawn anew
from any folder of speech.

Drawing follows JorisCos/LibriMix, scripts/create_librimix_metadata.py: utterances of 3 s and more,
two speakers each, every utterance once, each talker at a random level between -33 and -25 dB,
turned down to a peak of 0.9 where the source would reach full scale or the sum pass 0.9. Two things
differ: a level is the power of the active frames (`noise.py`) where LibriMix takes the loudness of
ITU-R BS.1770, and the noise that mix_clean does not have has no part in the clipping rule.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...benchmark.audio import read
from ...benchmark.errors import UsageError, listed
from .entry import SPLITS, progress
from .noise import active_power
from .recordings import shares, utterances
from .tables import columns, rows

COLUMNS = ("mixture_ID", "source_1_path", "source_1_gain", "source_2_path", "source_2_gain")
SHORTEST = 3.0  # seconds of an utterance that is drawn
SOFTEST, LOUDEST, PEAK = -33.0, -25.0, 0.9  # dB of the active part; of full scale
# of the speakers, when one set is split; draws, of which the best is kept
SHARES, DRAWS = (0.6, 0.2, 0.2), 1000


class Row(NamedTuple):
    """One line of the metadata."""

    id: str  # 1089-134691-0020_7021-85628-0000: the sources' names, which begin with their speakers
    split: str
    paths: tuple[str, str]  # below the folder of speech
    gains: tuple[float, float]

    @property
    def speakers(self) -> list[str]:
        return [name.split("-")[0] for name in self.id.split("_")]


def read_rows(path: Path) -> list[Row]:
    """The rows of one libri2mix_<set>.csv, whose name states the split. UsageError that names every
    wrong line.
    """
    named = re.search(r"(train|dev|test)", Path(path).stem)
    if not named:
        raise UsageError(
            f"{path}: the name tells neither train, dev nor test; name it as LibriMix does, for "
            "example libri2mix_dev-clean.csv"
        )
    names = columns(path)
    if not set(COLUMNS) <= set(names) or "source_3_path" in names:
        raise UsageError(
            f"{path} is no metadata of two-speaker mixtures: it has the columns "
            f"{', '.join(names) or 'of an empty file'}, not {', '.join(COLUMNS)}; take "
            "libri2mix_*.csv from metadata/Libri2Mix of JorisCos/LibriMix (not the _info files)"
        )
    found, bad = [], []
    for number, line in rows(path):
        try:
            gains = float(line["source_1_gain"]), float(line["source_2_gain"])
            if not (
                all(map(math.isfinite, gains))
                and line["mixture_ID"]
                and line["source_1_path"]
                and line["source_2_path"]
            ):
                raise ValueError
        except (TypeError, ValueError):
            bad.append(f"line {number} lacks an id, a path or a gain that is a number")
            continue
        found.append(
            Row(line["mixture_ID"], named[1], (line["source_1_path"], line["source_2_path"]), gains)
        )
    if bad or not found:
        raise UsageError(
            f"{path}: {listed(bad) or 'it lists no mixture'}; take the file again from its source"
        )
    return found


def located(rows: Sequence[Row], files: Sequence[Path], speech: Path) -> tuple[list[Row], int]:
    """The rows whose sources are among `files`, and how many are not. LibriSpeech's file
    names are unique, so a source is found by its name wherever it lies: unpacked at another
    level, or converted.
    """
    there = {path.stem: path.relative_to(speech).as_posix() for path in files}
    found = [
        row._replace(paths=tuple(there[Path(p).stem] for p in row.paths))
        for row in rows
        if all(Path(p).stem in there for p in row.paths)
    ]
    if not found:
        raise UsageError(
            f"none of the {len(rows)} mixtures has its sources in {speech} (the first wants "
            f"{rows[0].paths[0]}); give the LibriSpeech folder that the metadata is about"
        )
    return found, len(rows) - len(found)


def by_speaker(rows: Sequence[Row], seed: int) -> list[Row]:
    """Train, dev and test of one set, no speaker in two of them: of 1000 seeded draws of 60, 20 and
    20 % of the speakers the one with the largest product of the three counts. Mixtures whose
    speakers fall apart are left out.
    """
    speakers = sorted({s for row in rows for s in row.speakers})
    pairs = np.array([[speakers.index(s) for s in row.speakers] for row in rows])
    share, rng = np.repeat([0, 1, 2], _parts(len(speakers))), np.random.default_rng(seed)
    draws = [rng.permutation(share) for _ in range(DRAWS)]
    best = max(draws, key=lambda part: np.prod([_inside(part, pairs, k).sum() for k in range(3)]))
    if not all(_inside(best, pairs, k).any() for k in range(3)):
        raise UsageError(
            f"{len(rows)} mixtures of {len(speakers)} speakers cannot be split so that train, dev "
            "and test share no speaker; render more of them, or draw new ones by leaving out "
            "--metadata"
        )
    return [
        row._replace(split=SPLITS[k])
        for k in range(3)
        for row, inside in zip(rows, _inside(best, pairs, k), strict=True)
        if inside
    ]


def _parts(n: int) -> list[int]:
    dev, test = (max(1, round(share * n)) for share in SHARES[1:])
    return [max(0, n - dev - test), dev, test]


def _inside(part: np.ndarray, pairs: np.ndarray, k: int) -> np.ndarray:
    """(mixtures,) whether both speakers are in part k."""
    return (part[pairs] == k).all(axis=1)


def draw(speech: Path, seed: int) -> list[Row]:
    """New mixtures of the recordings below `speech`; speakers are split 8:1:1, at least
    two each.
    """
    spoken, _ = utterances(speech, SHORTEST, math.inf)
    speakers, rows = shares(spoken, "speakers", speech, seed, least=2), []
    for split in SPLITS:
        rng = random.Random(f"mixtures-{seed}-{split}")
        available = [(who, path) for who in speakers[split] for path in spoken[who]]
        for pair in progress(_pairs(available, rng), f"setting levels of {split}"):
            name = "_".join(_source_name(who, path) for who, path in pair)
            first, second = (path.relative_to(speech).as_posix() for _, path in pair)
            wanted = [rng.uniform(SOFTEST, LOUDEST) for _ in pair]
            gains = levels([read(path) for _, path in pair], wanted)
            rows.append(Row(name, split, (first, second), gains))
    if twice := [name for name, n in Counter(row.id for row in rows).items() if n > 1]:
        raise UsageError(
            f"two mixtures in {speech} would both be called {twice[0]}; give the recordings of one "
            "speaker different names"
        )
    return rows


def _source_name(speaker: str, path: Path) -> str:
    """The file's name, which begins with the speaker."""
    named = path.stem.startswith(f"{speaker}-") and "_" not in path.stem
    return path.stem if named else f"{plain(speaker)}-{plain(path.stem)}"


def _pairs(
    utterances: list[tuple[str, Path]], rng: random.Random
) -> list[tuple[tuple[str, Path], tuple[str, Path]]]:
    """Each utterance with the next of another speaker in a random order, until one speaker
    is all that is left.
    """
    rng.shuffle(utterances)
    pairs, waiting = [], []
    for utterance in utterances:
        if waiting and waiting[0][0] != utterance[0]:
            pairs.append((waiting.pop(0), utterance))
        else:
            waiting.append(utterance)
    return pairs


def levels(sources: Sequence[np.ndarray], wanted: Sequence[float]) -> tuple[float, float]:
    """The gains that bring the active part of each source to `wanted` dB, as far as the peaks
    allow.
    """
    gains = []
    for wav, level in zip(sources, wanted, strict=True):
        power, peak = active_power(wav), float(np.abs(wav).max())
        if not power:
            raise UsageError(
                "a source is digital silence and has no level; take it out: run_benchmark.py data "
                "verify names it"
            )
        gain = 10 ** (level / 20) / power**0.5
        gains.append(gain if gain * peak < 1 else PEAK / peak)
    longest = max(map(len, sources))
    whole = sum(
        gain * np.pad(wav, (0, longest - len(wav)))
        for gain, wav in zip(gains, sources, strict=True)
    )
    down = min(1.0, PEAK / float(np.abs(whole).max()))
    return gains[0] * down, gains[1] * down


def plain(name: str) -> str:
    """Letters and digits: the dash and the underscore of a mixture's id mean something."""
    return re.sub(r"[\W_]", "", name) or "x"
