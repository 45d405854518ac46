"""Libri2Mix (Cosentino et al., 2020; JorisCos/LibriMix):
[wav16k/min/]{train-100,dev,test}/{mix_clean,s1,s2}/*.wav.
"""

from pathlib import Path

from ...benchmark.audio_tree import audio_in
from .entry import of_file, progress
from .fields import Found, Layout, Need

FOLDERS = {"train": "train-100", "dev": "dev", "test": "test"}
SOURCES = ("s1", "s2")


def _base(path: Path) -> Path | None:
    return next(
        (p for p in (path / "wav16k" / "min", path / "min", path) if any(p.glob("*/mix_clean"))),
        None,
    )


def _read(found: Found, need: Need) -> None:
    root = _base(found.root)
    for split, folder in FOLDERS.items():
        files = {
            part: {p.name: p for p in audio_in(root / folder / part)}
            for part in ("mix_clean", *SOURCES)
        }
        found.hints[split] = f"{root / folder / 'mix_clean'} is missing or empty"
        for name, mixture in progress(
            sorted(files["mix_clean"].items()), f"reading headers of {folder}"
        ):
            talkers = "+".join(part.split("-")[0] for part in Path(name).stem.split("_"))
            sources = tuple(root / folder / part / name for part in SOURCES)
            found.entries.append(
                of_file(Path(name).stem, split, mixture, talkers, references=sources)
            )


LIBRI2MIX = Layout(
    "Libri2Mix",
    ("sources",),
    lambda p: _base(p) is not None,
    _read,
    made_by="run_benchmark.py data mixtures --speech DIR --out DIR",
)
