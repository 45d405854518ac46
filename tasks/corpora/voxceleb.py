"""A folder a speaker, and a list that says which file is for training, dev and test: VoxCeleb1, or
any tree with such a list.

A line of the list is `1 speaker/file` (1 train, 2 dev, 3 test): VoxCeleb1's identification list
(Nagrani et al., 2017) as s3prl reads it (s3prl/downstream/voxceleb1/dataset.py). Transcripts come
from a table beside the tree.
"""

import csv
from pathlib import Path

from .entry import SPLITS, of_file, progress
from .fields import Found, Layout, Need

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
    texts, lines = _texts(found.root), labels.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(progress(lines, f"reading {labels.name}"), 1):
        part, _, name = line.strip().partition(" ")
        if not line.strip():
            continue
        if part not in ("1", "2", "3") or "/" not in name:
            found.problems.append(
                f"{labels} line {number} is {line!r}; a line is 1, 2 or 3, a space, and "
                "speaker/file"
            )
            continue
        path = next((p for p in (base / name for base in bases) if p.is_file()), None)
        if path is None:
            found.problems.append(
                f"{labels} line {number} points to {name}, whose audio is missing"
            )
            continue
        id = Path(name).with_suffix("").as_posix().replace("/", "-")
        found.entries.append(
            of_file(
                id, SPLITS[int(part) - 1], path, name.split("/")[0], texts.get(Path(name).stem, "")
            )
        )


def _texts(root: Path) -> dict[str, str]:
    """Transcripts of a table beside the tree, by the file's name."""
    if not (root / TRANSCRIBED).is_file():
        return {}
    with open(root / TRANSCRIBED, newline="", encoding="utf-8") as file:
        return {
            Path(row["path"]).stem: row["text"]
            for row in csv.DictReader(file)
            if row.get("path") and row.get("text")
        }


def _has_list(root: Path) -> bool:
    return any((root / name).is_file() for name in LISTS)


VOXCELEB1 = Layout(
    "VoxCeleb1", ("speaker",), lambda p: _has_list(p) and (p / "dev").is_dir(), _read
)
SPEAKERS = Layout(
    "speakers", ("speaker", "text"), _has_list, _read, lambda root, task: ("speaker",)
)
