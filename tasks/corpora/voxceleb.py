"""A folder a speaker, and a list that says which file is for training, dev and test: VoxCeleb1, or
any tree with such a list.

A line of the list is `1 speaker/file` (1 train, 2 dev, 3 test): VoxCeleb1's identification list
(Nagrani et al., 2017) as s3prl reads it (s3prl/downstream/voxceleb1/dataset.py). Transcripts come
from a table beside the tree.
"""

from collections.abc import Mapping
from pathlib import Path, PurePath

from ...benchmark.audio_tree import alike, is_there, same
from .entry import SPLITS, of_file, progress
from .fields import Found, Layout, Need
from .speakers import listed_speaker
from .tables import lines, rows

LISTS = ("veri_test_class.txt", "iden_split.txt")
TRANSCRIBED = "MANIFEST.csv"  # a table beside a tree, from which transcripts are taken


def _read(found: Found, need: Need) -> None:
    labels = next(found.root / name for name in LISTS if (found.root / name).is_file())
    bases = [
        p
        for p in (
            found.root,
            *(found.root / b for b in ("wav", "WAVE", "dev/wav", "test/wav", "dev", "test")),
        )
        if p.is_dir()
    ]
    texts = _texts(found.root)
    for number, line in progress(list(lines(labels)), f"reading {labels.name}"):
        if not line.strip():
            continue
        part, name = (*line.split(maxsplit=1), "")[:2]
        name = name.strip()
        if part not in ("1", "2", "3") or "/" not in name:
            found.problems.append(
                f"{labels} line {number} is {line!r}; a line is 1, 2 or 3, a space, and "
                "speaker/file"
            )
            continue
        path = next((p for base in bases if is_there(p := alike(base / name))), None)
        if path is None:
            found.problems.append(
                f"{labels} line {number} points to {name}, whose audio is missing"
            )
            continue
        id = Path(name).with_suffix("").as_posix().replace("/", "-")
        found.entries.append(
            of_file(
                id,
                SPLITS[int(part) - 1],
                path,
                listed_speaker(name),
                _text(name, texts),
            )
        )


def _text(name: str, texts: Mapping[tuple[str, ...], str]) -> str:
    """Of a listed file, by as much of its path as the table has."""
    parts = _parts(name)
    return next((t for n in (3, 2, 1) if (t := texts.get(parts[-n:], ""))), "")


def _texts(root: Path) -> dict[tuple[str, ...], str]:
    """Transcripts of a table beside the tree, by the last one to three parts of each path; "" where
    several files with other words end in these.
    """
    if not (root / TRANSCRIBED).is_file():
        return {}
    texts: dict[tuple[str, ...], str] = {}
    for _, row in rows(root / TRANSCRIBED):
        if row.get("path") and row.get("text"):
            parts = _parts(row["path"])
            for end in {parts[-n:] for n in (1, 2, 3)}:
                texts[end] = row["text"] if texts.get(end, row["text"]) == row["text"] else ""
    return texts


def _parts(name: str) -> tuple[str, ...]:
    return tuple(map(same, PurePath(name).with_suffix("").parts)) if PurePath(name).name else ()


def _has_list(root: Path) -> bool:
    return any((root / name).is_file() for name in LISTS)


VOXCELEB1 = Layout(
    "VoxCeleb1", ("speaker",), lambda p: _has_list(p) and (p / "dev").is_dir(), _read
)
SPEAKERS = Layout(
    "speakers", ("speaker", "text"), _has_list, _read, lambda root, task: ("speaker",)
)
