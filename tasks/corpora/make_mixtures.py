"""Two-speaker mixtures in the layout of Libri2Mix (Cosentino et al., 2020):
`run_benchmark.py data mixtures`.

From official metadata (JorisCos/LibriMix, metadata/Libri2Mix/libri2mix_*.csv) the files of wav16k,
min, mix_clean come out sample for sample as scripts/create_librimix_from_metadata.py writes them:
each source times its gain in float32, both cut to the shorter one (min), the sum taken, and all
three put into 16 bits by soundfile's rule (the floor, not the nearest). The gains hold LibriMix's
loudness and clipping rules already. mix_clean has no noise, and none is asked for.

Without metadata new mixtures are drawn (`mixture_rows.py`). Either way the plan is kept in
<out>/metadata in LibriMix's columns before the first file is written, so a killed run goes on and a
corpus can be rendered again.
"""

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...benchmark.audio import read, write
from ...benchmark.audio_tree import audio_files, name_of
from ...benchmark.errors import UsageError
from ...benchmark.storage import whole
from .entry import SPLITS
from .librimix import FOLDERS, SOURCES
from .mixture_rows import COLUMNS, Row, by_speaker, draw, located, read_rows
from .recordings import fingerprint, limited

VERSION = 2  # of the plan: other mixtures for the same request, other number
SIDES = (*SOURCES, "mix_clean")  # written in this order: where the mixture is, its sources are

README = """Two-speaker mixtures in the layout of Libri2Mix (wav16k, min, mix_clean), made by \
earlyexit-superb:
run_benchmark.py data mixtures {how}
The licences of the recordings still hold.
request: {request}
"""


class Mixture(NamedTuple):
    """One mixture to be made."""

    id: str
    split: str  # train | dev | test
    # read and scaled when asked for: (N,) and (M,), float32
    sources: Callable[[], tuple[np.ndarray, np.ndarray]]


def make_mixtures(
    speech: Path,
    out: Path,
    metadata: Sequence[Path] = (),
    resplit: bool = False,
    seed: int = 0,
    limit: int | None = None,
) -> dict:
    """Render the mixtures of `metadata`, or new ones, from the recordings below `speech`
    into the folder `out`.

    Args:
        resplit: make train, dev and test of what the metadata lists, by speaker.
        limit: at most about so many mixtures, drawn by `seed` in proportion; None = all.
    Returns: "message" in words, "made" now, and in all "train", "dev", "test" mixtures.
    """
    speech, out, metadata = Path(speech), Path(out), [Path(path) for path in metadata]
    if speech.resolve() in (out.resolve(), *out.resolve().parents):
        raise UsageError(
            f"the new folder {out} would lie among its own sources in {speech}; choose another "
            "--out"
        )
    if resplit and not metadata:
        raise UsageError(
            "--resplit splits what --metadata lists; drawn mixtures have splits by speaker "
            "already, so leave it out"
        )
    files = audio_files(speech)
    notices = _plan(speech, files, out, metadata, resplit, seed, limit)
    rows = {
        split: read_rows(path) if (path := _table(out, split)).is_file() else [] for split in SPLITS
    }
    made = write_librimix(
        out,
        [
            Mixture(row.id, split, partial(_sources, speech, row))
            for split in SPLITS
            for row in rows[split]
        ],
    )
    counts = {split: len(rows[split]) for split in SPLITS}
    has = ", ".join(f"{n} {split}" for split, n in counts.items())
    return {
        "made": made,
        **counts,
        "message": f"{out} has {has} mixtures, {made} of them made now"
        + "".join(f"; {notice}" for notice in notices),
    }


def _plan(
    speech: Path,
    files: Sequence[Path],
    out: Path,
    metadata: Sequence[Path],
    resplit: bool,
    seed: int,
    limit: int | None,
) -> list[str]:
    """Write <out>/metadata and then README.txt, unless the same request did so before. Returns what
    was left out and why.
    """
    given = {path: read_rows(path) for path in metadata}
    request = fingerprint(
        [VERSION, resplit, seed, limit, list(given.values())], {"speech": list(files)}
    )
    readme = out / "README.txt"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
        _, same, notices = text.partition(f"request: {request}\n")
        if not same:
            raise UsageError(
                f"{out} exists and is not what this command makes (other recordings, metadata, "
                f"seed or limit); choose another --out, or remove it: rm -r {out}"
            )
        return notices.splitlines()
    rows, notices = _rows(speech, files, given, resplit, seed)
    by_split = {split: some for split in SPLITS if (some := [r for r in rows if r.split == split])}
    how = " ".join(
        [
            f"--speech {name_of(speech)}",
            *(["--metadata", *(path.name for path in metadata)] if metadata else []),
            *(["--resplit"] if resplit else []),
            f"--seed {seed}",
            *([f"--limit {limit}"] if limit else []),
        ]
    )
    lines = "".join(f"{notice}\n" for notice in notices)
    _save(out, limited(by_split, limit, seed), README.format(how=how, request=request) + lines)
    return notices


def _rows(
    speech: Path,
    files: Sequence[Path],
    given: Mapping[Path, list[Row]],
    resplit: bool,
    seed: int,
) -> tuple[list[Row], list[str]]:
    """The mixtures that metadata lists, or new ones; and what was left out and why."""
    if not given:
        return draw(speech, seed), []
    rows, missing = located([row for some in given.values() for row in some], files, speech)
    notices = [
        f"{missing} of the {len(rows) + missing} mixtures that the metadata lists cannot be "
        f"rendered, their sources are not in {speech}"
    ]
    if resplit:
        listed, rows = rows, by_speaker(rows, seed)
        notices += [f"{len(listed) - len(rows)} left out whose speakers are in different splits"]
    return rows, notices


def _save(out: Path, rows: Mapping[str, Sequence[Row]], readme: str) -> None:
    """Write the plan to a temporary folder, which is then renamed to `out`."""
    with whole(out, "README.txt") as temporary:
        for split, some in rows.items():
            text = io.StringIO()
            table = csv.writer(text, lineterminator="\n")
            table.writerow(COLUMNS)
            table.writerows(
                [row.id, row.paths[0], repr(row.gains[0]), row.paths[1], repr(row.gains[1])]
                for row in some
            )
            _table(temporary, split).parent.mkdir(parents=True, exist_ok=True)
            _table(temporary, split).write_text(text.getvalue(), encoding="utf-8")
        (temporary / "README.txt").write_text(readme, encoding="utf-8")


def _table(out: Path, split: str) -> Path:
    return out / "metadata" / f"libri2mix_{FOLDERS[split]}.csv"


def write_librimix(out: Path, mixtures: Sequence[Mixture]) -> int:
    """Render what is not there yet into `out`/wav16k/min, and say how many. Files appear whole, so
    a killed run goes on.
    """
    from tqdm import tqdm

    places = {
        m: [out / "wav16k" / "min" / FOLDERS[m.split] / side / f"{m.id}.wav" for side in SIDES]
        for m in mixtures
    }
    missing = [m for m in mixtures if not places[m][-1].is_file()]
    for mixture in tqdm(
        missing,
        "mixing",
        file=sys.stderr,
        unit="mixture",
        mininterval=0.5,
        disable=len(missing) < 50,
    ):
        for path, pcm in zip(places[mixture], render(*mixture.sources()), strict=True):
            write(path, pcm)
    return len(missing)


def render(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) and (M,) scaled sources, float32 -> s1, s2 and the mixture, int16, as long as the
    shorter one.
    """
    samples = min(len(first), len(second))
    first, second = first[:samples], second[:samples]
    return to_16_bits(first), to_16_bits(second), to_16_bits(first + second)


def to_16_bits(wav: np.ndarray) -> np.ndarray:
    """(N,) floats -> int16 as soundfile writes them: rounded down, clipped at full scale."""
    return np.clip(np.floor(wav * np.float32(32768)), -32768, 32767).astype(np.int16)


def _sources(speech: Path, row: Row) -> tuple[np.ndarray, np.ndarray]:
    first, second = (
        read(speech / path) * np.float32(gain)
        for path, gain in zip(row.paths, row.gains, strict=True)
    )
    return first, second
