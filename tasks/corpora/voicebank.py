"""The VoiceBank-DEMAND layout: pairs of noisy and clean files of the same name.

    {clean,noisy}_trainset_28spk_wav[_16k]/p226_001.wav  training and development speakers
    {clean,noisy}_testset_wav[_16k]/p232_001.wav         test speakers
    splits.csv                                           optional: file,split,speaker,noise,snr

Valentini-Botinhao, "Noisy speech database for training speech enhancement algorithms and TTS
models" (Edinburgh DataShare 10283/2791). Development speakers p226 and p287 are s3prl's choice
(downstream/enhancement_stft/scripts/Voicebank/data_prepare.py).
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...benchmark.audio import header
from ...benchmark.audio_tree import audio_in, same
from ...benchmark.errors import UsageError
from .entry import SPLITS, Entry, of_file, progress
from .fields import Found, Layout, Need
from .tables import rows
from .validate import longer

DEV_SPEAKERS = ("p226", "p287")
FOLDERS = {"train": "trainset_28spk_wav", "dev": "trainset_28spk_wav", "test": "testset_wav"}
# bytes of each file that go into the corpus hash, beside its size: 2 s of 16-bit audio
HEAD = 1 << 16


class Pair(NamedTuple):
    id: str
    noisy: Path
    clean: Path
    part: str  # trainset_28spk_wav or testset_wav
    speaker: str
    row: dict  # of splits.csv, or empty


def _read(found: Found, need: Need) -> None:
    """Entries are of the noisy file, with the clean one as their reference; with splits.csv they
    say their `noise` and `snr` (dB), too.
    """
    table = _table(found.root)
    pairs, found.problems = _pairs(found.root, table)
    entries = [_entry(pair, found.problems) for pair in progress(pairs, "reading headers")]
    found.entries, found.notices = _split(pairs, entries, bool(table), found.root)
    found.digest = partial(_digest, found.root, pairs, bool(table))


def _entry(pair: Pair, problems: list[str]) -> Entry:
    entry = of_file(pair.id, "", pair.noisy, pair.speaker, references=(pair.clean,))
    try:
        samples = header(pair.clean).samples
    except UsageError:  # `validate.problems` gives the reason
        return entry
    if samples > entry.samples > 0:
        problems.append(longer(pair.clean, samples, pair.noisy, entry.samples))
    if not pair.row:
        return entry
    more = {"noise": pair.row.get("noise", ""), "snr": _ratio(pair.row, pair.noisy, problems)}
    return replace(entry, more=more)


def _ratio(row: dict, noisy: Path, problems: list[str]) -> float | None:
    """dB of a row of splits.csv, where it has one."""
    try:
        return float(row["snr"]) if row.get("snr") else None
    except ValueError:
        problems.append(f"splits.csv has the snr {row['snr']!r} for {noisy.name}; it is dB")
        return None


def _digest(root: Path, pairs: Sequence[Pair], listed: bool) -> str:
    """The hash of such a corpus: names, sizes and first bytes of its files, and splits.csv."""
    digest = hashlib.sha256()
    for pair in progress(pairs, "hashing"):
        for path in (pair.clean, pair.noisy):
            with open(path, "rb") as file:
                digest.update(
                    f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode()
                    + file.read(HEAD)
                )
    if listed:
        digest.update((root / "splits.csv").read_bytes())
    return digest.hexdigest()[:12]


def _folder(root: Path, name: str) -> Path | None:
    """At 16 kHz if both are there; the inner one where an archive was unpacked into a folder of its
    own name.
    """
    found = next((p for p in (root / f"{name}_16k", root / name) if p.is_dir()), None)
    return found / found.name if found and (found / found.name).is_dir() else found


def _table(root: Path) -> dict[str, dict]:
    """splits.csv by file name; empty when there is none."""
    path = root / "splits.csv"
    if not path.is_file():
        return {}
    table = list(rows(path))
    for line, row in table:
        if row.get("split") not in SPLITS or not row.get("file"):
            raise UsageError(
                f"{path} line {line} needs a file and a split (train, dev or test) and says {row}; "
                "mend it"
            )
    if not table:
        raise UsageError(
            f"{path} lists no file; mend it, or delete it to split by speaker: rm {path}"
        )
    names = Counter(same(row["file"]) for _, row in table)
    if twice := [name for name, n in names.items() if n > 1]:
        raise UsageError(f"{path} lists {twice[0]} twice; leave one of the lines out")
    return {same(row["file"]): row for _, row in table}


def _pairs(root: Path, table: dict[str, dict]) -> tuple[list[Pair], list[str]]:
    """Every pair in the order of its name, and what has no partner or no line in splits.csv."""
    pairs, bad, seen = [], [], set()
    for part in dict.fromkeys(FOLDERS.values()):
        sides = {}
        for side in ("clean", "noisy"):
            folder = _folder(root, f"{side}_{part}")
            if folder is None:
                raise UsageError(
                    f"{root} lacks the folder {side}_{part} (or {side}_{part}_16k); "
                    "unpack the archive of that name there"
                )
            sides[side] = {same(p.name): p for p in audio_in(folder)}
        if not any(sides.values()):
            raise UsageError(
                f"the folders {{clean,noisy}}_{part} in {root} hold no .wav; unpack the archives "
                "there"
            )
        names = sorted(sides["clean"].keys() | sides["noisy"].keys())
        seen.update(names)
        for name in names:
            missing = [side for side in sides if name not in sides[side]]
            row = table.get(name, {})
            if missing:
                bad.append(f"{name} of {part} has no {missing[0]} partner")
            elif table and FOLDERS.get(row.get("split", "")) != part:
                bad.append(f"{name} of {part} has no line in splits.csv that puts it there")
            else:
                speaker = row.get("speaker") or name.split("_")[0]
                pairs.append(
                    Pair(
                        Path(name).stem,
                        sides["noisy"][name],
                        sides["clean"][name],
                        part,
                        speaker,
                        row,
                    )
                )
    bad += [f"{name} of splits.csv is missing" for name in sorted(table.keys() - seen)]
    return pairs, bad


def _split(
    pairs: Sequence[Pair], entries: Sequence[Entry], listed: bool, root: Path
) -> tuple[list[Entry], list[str]]:
    """By splits.csv, else by s3prl's speakers, else (and this is said) with the last fifth of the
    training files as dev.
    """
    splits: dict[str, list[Entry]] = {split: [] for split in SPLITS}
    for pair, entry in zip(pairs, entries, strict=True):
        if listed:
            split = pair.row["split"]
        elif pair.part == FOLDERS["test"]:
            split = "test"
        else:
            split = "dev" if pair.speaker in DEV_SPEAKERS else "train"
        splits[split].append(entry)
    notices = []
    if listed and not all(splits.values()):
        empty = [split for split in SPLITS if not splits[split]]
        raise UsageError(
            f"splits.csv of {root} puts no file into {' and '.join(empty)}; mend it, "
            f"or delete it to split by speaker: rm {root / 'splits.csv'}"
        )
    if not (splits["train"] and splits["dev"]):
        seen = sorted(splits["train"] + splits["dev"], key=lambda entry: entry.id)
        held = -(-len(seen) // 5)
        if len(seen) < 2:
            raise UsageError(
                f"the training folder of {root} holds one file and development needs another; add "
                "files"
            )
        splits["train"], splits["dev"] = seen[:-held], seen[-held:]
        notices = [
            f"development split chosen here: the last {held} of {len(seen)} training utterances, "
            f"not speaker-disjoint (the speakers {' and '.join(DEV_SPEAKERS)} cannot be set apart "
            "from other training speakers)"
        ]
    return [replace(entry, split=split) for split in SPLITS for entry in splits[split]], notices


def _is_it(root: Path) -> bool:
    return _folder(root, "noisy_testset_wav") is not None


VOICEBANK = Layout(
    "VoiceBank-DEMAND",
    ("clean",),
    _is_it,
    _read,
    made_by="run_benchmark.py data noisy --speech DIR --noise DIR --out DIR",
)
