"""`data prepare`: a corpus as it lies on disk into a folder with a manifest, which
`--data` takes from then on.

The audio stays where it is, except FSDD's single digits, which are joined to digit strings, and the
manifest keeps a content hash a file. Asking again is free. Why not lhotse: its LibriSpeech,
LibriMix and VoxCeleb recipes give whole published sets, so splits.csv, identification lists and
Libri-Light's 10 h would still have to be laid over them here, it has none for VoiceBank-DEMAND, and
a reader of LibriSpeech's folders is 20 lines. Its manifests are JSON lines of another shape: turn
them into a CSV with a column `path`.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...benchmark.audio import read, write
from ...benchmark.audio_tree import audio_files, name_of
from ...benchmark.contract import SAMPLE_RATE
from ...benchmark.errors import UsageError, listed
from ...benchmark.storage import write_text
from . import entry, manifest
from .entry import SPLITS, Entry, of_file, progress
from .fields import Found, Need
from .layouts import NOTICES, left_out, recognise, scan, wrong
from .manifest import NAME
from .speakers import speakers
from .voxceleb import LISTS

LAYOUTS = {
    "librispeech": "LibriSpeech",
    "voxceleb1": "VoxCeleb1",
    "voicebank-demand": "VoiceBank-DEMAND",
    "libri2mix": "Libri2Mix",
    "fsdd": "FSDD",
    "speechocean762": "speakers",
    "speakers": "speakers",
    "csv": "manifest",
}
STRING = (3, 7)  # digits in a string
PAUSE = (0.05, 0.2)  # seconds between two digits
# how often a split's recordings are used, each time in other company
PASSES = {"train": 4, "dev": 1, "test": 1}
HELD = 0.1  # of a speaker's utterances for dev, and again for test, where no list says


def prepare(source: Path, out: Path, need: Need, layout: str = "", seed: int = 0) -> str:
    """Write `out`/manifest.csv (and, for FSDD, `out`/wav) from the corpus at `source`;
    what was done, in words.

    Args:
        need: the fields that a line must have, and whose splits to take where tasks split
            a corpus differently.
        layout: a key of LAYOUTS; "" = as recognised from the folder.
        seed: of digit strings, and of splits by speaker where no list gives them.
    """
    source, out = Path(source), Path(out)
    found, task = _scanned(source, layout, need, seed), need.task
    found.notices += left_out(found)
    if problems := wrong(found, need):
        raise UsageError(
            f"{found.root} ({found.layout}) cannot serve {task}: {listed(problems)}; nothing was "
            "written; mend it, and see all that is wrong with: run_benchmark.py data verify "
            f"{source} --task {task}"
        )
    request = hashlib.sha256(
        f"{task} {seed} {found.layout} {entry.fingerprint(found.entries)}".encode()
    ).hexdigest()[:12]
    readme = out / NOTICES
    if (out / NAME).exists():
        if not readme.is_file() or f"request: {request}\n" not in readme.read_text(
            encoding="utf-8", errors="replace"
        ):
            raise UsageError(
                f"{out / NAME} exists and is not what this command makes (another corpus, task or "
                f"seed); choose another --out, or remove it: rm {out / NAME}"
            )
        return f"{out} holds this corpus already; nothing was done"
    entries = list(_joined(found, out, seed)) if found.layout == "FSDD" else found.entries
    entries = [replace(e, sha=e.sha or entry.sha(e)) for e in progress(entries, "hashing")]
    notices = "".join(f"notice: {n}\n" for n in found.notices if n not in entry.notices(entries))
    write_text(
        readme,
        f"A list of utterances for {task}, made by: run_benchmark.py data prepare --from "
        f"{name_of(source)} (layout {found.layout}, seed {seed})\n"
        "The licences of the recordings still hold.\n"
        f"request: {request}\n"
        f"{notices}",
    )
    manifest.write(out / NAME, entries)  # last: its presence says that all is there
    counts = ", ".join(f"{sum(e.split == s for e in entries)} {s}" for s in SPLITS)
    return (
        f"{out / NAME}: {counts}, {sum(e.samples for e in entries) / SAMPLE_RATE / 3600:.2f} h, "
        f"for {task}"
    )


def unlisted(source: Path, layout: str) -> bool:
    """Whether a closed set is to be drawn from a folder a speaker, because no list gives it."""
    return (
        layout == "speakers"
        and source.is_dir()
        and not any((source / name).exists() for name in LISTS)
    )


def _scanned(source: Path, layout: str, need: Need, seed: int) -> Found:
    if unlisted(source, layout):
        return _by_speaker(source, seed)
    found = recognise(source) if source.exists() else None
    if layout and found and found[1].name != LAYOUTS[layout]:
        name = found[1].name
        fitting = " or ".join(k for k, v in LAYOUTS.items() if v == name)
        raise UsageError(
            f"{source} is laid out as {name}, not as {LAYOUTS[layout]}; leave --layout out, or "
            f"give {fitting}"
        )
    return scan(source, need)


def _by_speaker(root: Path, seed: int) -> Found:
    """A closed set drawn here: of every speaker's utterances a tenth for dev, a tenth for
    test, at least one each.
    """
    found, spoken = Found("speakers", root), defaultdict(list)
    files = audio_files(root)
    for path, speaker in speakers(root, files).items():
        spoken[speaker].append(path)
    if len(spoken) == 1:
        found.problems.append(
            f"{root} has one speaker, {next(iter(spoken))}; give a folder a speaker, or a "
            "MANIFEST.csv with the columns path and speaker"
        )
    for speaker, paths in sorted(spoken.items()):
        if len(paths) < 3:
            found.problems.append(
                f"speaker {speaker} has {len(paths)} utterances where three splits need one each"
            )
        random.Random(f"{seed}-{speaker}").shuffle(paths)
        held = max(1, round(HELD * len(paths)))
        for i, path in enumerate(paths):
            split = "test" if i < held else "dev" if i < 2 * held else "train"
            found.entries.append(
                of_file(
                    "-".join(path.relative_to(root).with_suffix("").parts), split, path, speaker
                )
            )
    found.notices = [
        f"splits drawn here, utterance by utterance of each speaker (seed {seed})",
        *entry.notices(found.entries),
    ]
    return found


def _joined(found: Found, out: Path, seed: int) -> Iterator[Entry]:
    """Digit strings of one speaker each, with every recording in PASSES strings of its split,
    written to `out`/wav at 16 kHz.
    """
    clips: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for e in found.entries:
        clips[e.split, e.speaker].append(e)
    found.notices.append(
        f"single digits joined to strings of {STRING[0]} to {STRING[1]} with pauses of digital "
        "silence"
    )
    for (split, speaker), digits in progress(sorted(clips.items()), "joining digits"):
        rng, number = random.Random(f"{seed}-{split}-{speaker}"), 0
        for _ in range(PASSES[split]):
            left = rng.sample(digits, len(digits))
            while left:
                string, left = _string(left, rng)
                path = out / "wav" / split / f"{speaker}_{number:04d}.flac"
                write(path, _spoken(string, rng))
                made = of_file(
                    path.stem if split == "train" else f"{split}_{path.stem}",
                    split,
                    path,
                    speaker,
                    " ".join(e.text for e in string),
                )
                yield replace(made, rate=string[0].rate, channels=string[0].channels)
                number += 1


def _string(left: Sequence[Entry], rng: random.Random) -> tuple[Sequence[Entry], Sequence[Entry]]:
    """The next string and what remains; never a remainder too short to be one."""
    n = rng.randint(*STRING)
    if len(left) - n < STRING[0]:
        n = len(left) if len(left) <= STRING[1] else len(left) - STRING[0]
    return left[:n], left[n:]


def _spoken(string: Sequence[Entry], rng: random.Random) -> np.ndarray:
    parts = []
    for e in string:
        parts += [
            read(e.path, e.start, e.samples),
            np.zeros(round(rng.uniform(*PAUSE) * SAMPLE_RATE), np.float32),
        ]
    return np.concatenate(parts[:-1])
