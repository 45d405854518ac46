"""The VoiceBank-DEMAND layout: pairs of noisy and clean files of the same name, read into a Corpus.

    <root>/{clean,noisy}_trainset_28spk_wav[_16k]/p226_001.wav      training and development speakers
    <root>/{clean,noisy}_testset_wav[_16k]/p232_001.wav             test speakers
    <root>/splits.csv                                               optional: file,split,speaker,noise,snr

Valentini-Botinhao, "Noisy speech database for training speech enhancement algorithms and TTS models" (Edinburgh
DataShare 10283/2791). Development speakers p226 and p287 are s3prl's choice
(downstream/enhancement_stft/scripts/Voicebank/data_prepare.py). Unlike there, every file is read before anything else
happens, and all that is wrong is said at once.
"""
import csv
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..benchmark.audio import RESAMPLER, inspect
from ..benchmark.contract import SAMPLE_RATE, Corpus, Item
from ..benchmark.errors import UsageError

DEV_SPEAKERS = ("p226", "p287")
FOLDERS = {"train": "trainset_28spk_wav", "dev": "trainset_28spk_wav", "test": "testset_wav"}
SPLITS = ("train", "dev", "test")
HEAD = 1 << 16      # bytes of each file that go into the corpus hash, beside its size: 2 s of 16-bit audio
MANY = 2000         # files, above which the check shows its progress


class Pair(NamedTuple):
    id: str
    noisy: Path
    clean: Path
    part: str       # trainset_28spk_wav or testset_wav
    speaker: str
    row: dict       # of splits.csv, or empty


def voicebank(root: Path, name: str = "") -> Corpus:
    """A folder of the layout above, or one that holds it one level deeper, with every file read and checked.

    Item.path is the noisy file, Item.more["clean"] the clean one; with splits.csv also `noise` and `snr` (dB).
    """
    root = _root(Path(root))
    table = _table(root)
    pairs, bad = _pairs(root, table)
    items, digest, formats = [], hashlib.sha256(), set()
    for pair in _progress(pairs):
        try:
            items.append(_item(pair, formats))
        except UsageError as error:
            bad += [str(error).rpartition("; ")[0].replace(f"{root}{os.sep}", "")]
            continue
        for path in (pair.clean, pair.noisy):
            with open(path, "rb") as file:
                digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode() + file.read(HEAD))
    if bad:
        more = f" | and {len(bad) - 10} more" if len(bad) > 10 else ""
        raise UsageError(f"{len(bad)} of the files in {root} cannot be used: {' | '.join(bad[:10])}{more}; "
                         "copy them again from their source, or take the clean and the noisy file out together")
    if table:
        digest.update((root / "splits.csv").read_bytes())
    splits, notices = _split(pairs, items, bool(table), root)
    for rate, channels in sorted(formats):
        if rate != SAMPLE_RATE:
            notices.append(f"audio at {rate} Hz, resampled to {SAMPLE_RATE} Hz by {RESAMPLER}")
        if channels > 1:
            notices.append(f"audio with {channels} channels, averaged to one")
    return Corpus(name or root.name, digest.hexdigest()[:12], splits, tuple(notices))


def _root(given: Path) -> Path:
    """`given` or its only child that holds the test set."""
    if not given.is_dir():
        raise UsageError(f"there is no folder {given}; check the path: ls {given.parent}")
    inside = sorted(p for p in given.iterdir() if p.is_dir())
    found = [folder for folder in (given, *inside) if _folder(folder, "noisy_testset_wav")]
    if not found:
        raise UsageError(f"{given} is not a VoiceBank-DEMAND folder: it has no noisy_testset_wav (or ..._wav_16k); "
                         "give the folder that holds it, or make such a corpus of your own recordings: "
                         "run_benchmark.py data noisy --speech DIR --noise DIR --out DIR")
    if len(found) > 1 and found[0] != given:
        raise UsageError(f"{given} holds more than one VoiceBank-DEMAND folder ({', '.join(p.name for p in found)}); "
                         "give one of them")
    return found[0]


def _folder(root: Path, name: str) -> Path | None:
    """At 16 kHz if both are there."""
    return next((p for p in (root / f"{name}_16k", root / name) if p.is_dir()), None)


def _table(root: Path) -> dict[str, dict]:
    """splits.csv by file name; empty when there is none."""
    path = root / "splits.csv"
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for line, row in enumerate(rows, 2):
        if row.get("split") not in SPLITS or not row.get("file"):
            raise UsageError(f"{path} line {line} needs a file and a split (train, dev or test) and says {row}; mend it")
    if not rows:
        raise UsageError(f"{path} lists no file; mend it, or delete it to split by speaker: rm {path}")
    return {row["file"]: row for row in rows}


def _pairs(root: Path, table: dict[str, dict]) -> tuple[list[Pair], list[str]]:
    """Every pair in the order of its name, and what has no partner or no line in splits.csv."""
    pairs, bad, seen = [], [], set()
    for part in dict.fromkeys(FOLDERS.values()):
        sides = {}
        for side in ("clean", "noisy"):
            folder = _folder(root, f"{side}_{part}")
            if folder is None:
                raise UsageError(f"{root} lacks the folder {side}_{part} (or {side}_{part}_16k); "
                                 "unpack the archive of that name there")
            sides[side] = {p.name: p for p in folder.iterdir() if p.suffix.lower() in (".wav", ".flac") and p.name[0] != "."}
        if not any(sides.values()):
            raise UsageError(f"the folders {{clean,noisy}}_{part} in {root} hold no .wav; unpack the archives there")
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
                pairs.append(Pair(Path(name).stem, sides["noisy"][name], sides["clean"][name], part, speaker, row))
    bad += [f"{name} of splits.csv is missing" for name in sorted(table.keys() - seen)]
    return pairs, bad


def _item(pair: Pair, formats: set[tuple[int, int]]) -> Item:
    """Read both files; complain of whatever makes them no pair."""
    (clean, peak), (noisy, noisy_peak) = inspect(pair.clean), inspect(pair.noisy)
    if clean.samples != noisy.samples:
        raise UsageError(f"{pair.noisy} has {noisy.samples} samples at 16 kHz, its clean partner "
                         f"{clean.samples}; they must match")
    for path, level in ((pair.clean, peak), (pair.noisy, noisy_peak)):
        if level == 0:
            raise UsageError(f"{path} is digital silence; nothing can be learnt from it")
    formats |= {clean[:2], noisy[:2]}
    more = {"clean": pair.clean}
    if pair.row:
        more |= {"noise": pair.row.get("noise", ""), "snr": float(pair.row["snr"]) if pair.row.get("snr") else None}
    return Item(pair.id, pair.noisy, noisy.samples, speaker=pair.speaker, more=more)


def _split(pairs: list[Pair], items: list[Item], listed: bool, root: Path) -> tuple[dict[str, list[Item]], list[str]]:
    """By splits.csv, else by s3prl's speakers, else (and this is said) with the last fifth of the training files as dev."""
    splits: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for pair, item in zip(pairs, items, strict=True):
        own = "test" if pair.part == FOLDERS["test"] else "dev" if pair.speaker in DEV_SPEAKERS else "train"
        splits[pair.row["split"] if listed else own].append(item)
    if listed or (splits["train"] and splits["dev"]):
        empty = [split for split in SPLITS if not splits[split]]
        if empty:
            raise UsageError(f"splits.csv of {root} puts no file into {' and '.join(empty)}; mend it, "
                             f"or delete it to split by speaker: rm {root / 'splits.csv'}")
        return splits, []
    seen = sorted(splits["train"] + splits["dev"], key=lambda item: item.id)
    held = -(-len(seen) // 5)
    if len(seen) < 2:
        raise UsageError(f"the training folder of {root} holds one file and development needs another; add files")
    splits["train"], splits["dev"] = seen[:-held], seen[-held:]
    said = (f"development split chosen here: the last {held} of {len(seen)} training utterances, not speaker-disjoint "
            f"(the speakers {' and '.join(DEV_SPEAKERS)} cannot be set apart from other training speakers)")
    return splits, [said]


def _progress(pairs: list[Pair]) -> Iterable[Pair]:
    """With a bar on stderr where it takes a while."""
    if len(pairs) <= MANY:
        return pairs
    from tqdm import tqdm
    return tqdm(pairs, "checking the corpus", unit="pair", mininterval=0.5)
