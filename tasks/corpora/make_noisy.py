"""Anybody's speech and noise into a VoiceBank-DEMAND-shaped corpus: `run_benchmark.py data noisy`.

Speakers are split about 8:1:1 and so are noise recordings, so that the test set has neither a voice
nor a noise of the other two. Ratios are those of VoiceBank-DEMAND (15/10/5/0 dB, test
17.5/12.5/7.5/2.5 dB), here over the active part of each signal (`noise.py`). The same folders,
seed and limit give the same bytes.
"""

import csv
import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...benchmark.audio import audio_files, length, read, to_pcm, write
from ...benchmark.contract import SAMPLE_RATE
from ...benchmark.errors import UsageError
from ...benchmark.storage import whole
from .manifest import SPLITS
from .noise import mix, snr
from .voicebank import FOLDERS

VERSION = 1  # of this recipe: other bytes, other number
# dB
SNRS = {
    "train": (15.0, 10.0, 5.0, 0.0),
    "dev": (15.0, 10.0, 5.0, 0.0),
    "test": (17.5, 12.5, 7.5, 2.5),
}
# seconds; other utterances are left out, cutting them would cut words
SHORTEST, LONGEST = 1.0, 10.0
SERIES = 30  # files that differ in a number only and are more than this are no one recording
# dB between the ratio asked for and the one on disk; how often to try for it
TOLERANCE, TRIES = 0.1, 8
COLUMNS = ("file", "split", "speaker", "noise", "snr", "source")

README = """Noisy speech in the layout of VoiceBank-DEMAND, made by earlyexit-superb:
run_benchmark.py data noisy {how}
{has}; no speaker and no noise recording is in two splits.
Ratios (dB, over active frames of 20 ms) and sources are in splits.csv. The licences of the \
recordings still hold.
recipe: {version}
{request}"""


class Part(NamedTuple):
    """One pair to be made."""

    split: str
    file: str  # p226_001.wav
    speaker: str
    noise_name: str
    snr: float  # dB
    source: str  # where the speech comes from: a path, or the words spoken
    speech: np.ndarray  # (N,) at 16 kHz
    noise: np.ndarray  # (M,)


def make_noisy(
    speech: Path, noise: Path, out: Path, seed: int = 0, limit: int | None = None
) -> dict:
    """Mix the recordings below `speech` with those below `noise` into the new folder `out`.

    Args:
        limit: about so many utterances in all, drawn by `seed`; None = all of 1 to 10 s.

    Returns:
        what was made: "message" in words, "made" (False: the same corpus was there already),
        "train", "dev", "test" utterances, "speakers", "noises", "skipped" (too short or too long),
        and if made "seconds", "snr_error" (dB, most).
    """
    speech, noise, out = Path(speech), Path(noise), Path(out)
    for source in (speech, noise):
        if source.resolve() in (out.resolve(), *out.resolve().parents):
            raise UsageError(
                f"the new folder {out} would lie among its own sources in {source}; choose another "
                "--out"
            )
    if limit is not None and limit < 3:
        raise UsageError(
            f"--limit {limit} leaves no utterance for one of train, dev and test; ask for at least "
            "3"
        )
    spoken, skipped = _utterances(speech)
    noises = _recordings(noise)
    speakers, sounds = (
        _shares(spoken, "speakers", speech, seed),
        _shares(noises, "noise recordings", noise, seed),
    )
    chosen = {
        split: [(who, path) for who in speakers[split] for path in spoken[who]] for split in SPLITS
    }
    chosen = _limited(chosen, limit, seed)
    request = f"request: {_fingerprint([VERSION, seed, limit], spoken, noises)}\n"
    counts = {split: len(files) for split, files in chosen.items()}
    summary = {
        "made": True,
        **counts,
        "speakers": len(spoken),
        "noises": len(noises),
        "skipped": skipped,
    }
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        readme = out / "README.txt"
        if not readme.is_file() or request not in readme.read_text(encoding="utf-8"):
            raise UsageError(
                f"{out} exists and is not what this command makes (other recordings, seed or "
                f"limit); choose another --out, or remove it: rm -r {out}"
            )
        return summary | {
            "made": False,
            "message": f"{out} holds this corpus already; nothing was done",
        }
    has = (
        f"{counts['train']} training, {counts['dev']} development and {counts['test']} test "
        f"utterances by {len(spoken)} speakers, with {len(noises)} noise recordings"
    )
    how = f"--speech {speech.name} --noise {noise.name} --seed {seed}" + (
        f" --limit {limit}" if limit else ""
    )
    made = write_voicebank(
        out,
        _parts(chosen, sounds, noises, speech, noise, seed),
        sum(counts.values()),
        README.format(has=has, how=how, version=VERSION, request=request),
        seed,
    )
    seconds = made["samples"] / SAMPLE_RATE
    return summary | {
        "seconds": seconds,
        "snr_error": made["snr_error"],
        "message": (
            f"made {out}: {has}, {seconds / 3600:.2f} h, ratios within {made['snr_error']:.3f} dB; "
            f"{skipped} utterances shorter than {SHORTEST:g} s or longer than {LONGEST:g} s were "
            "left out"
        ),
    }


# ---- what there is ----


def _utterances(
    folder: Path, shortest: float = SHORTEST, longest: float = LONGEST
) -> tuple[dict[str, list[Path]], int]:
    """Speaker -> files of a usable length, and how many are not."""
    known, found, skipped = _manifest(folder, "speaker"), defaultdict(list), 0
    for path in audio_files(folder):
        if shortest <= length(path) / SAMPLE_RATE <= longest:
            found[known.get(path.resolve()) or _speaker(path)].append(path)
        else:
            skipped += 1
    return dict(found), skipped


def _speaker(path: Path) -> str:
    """LibriSpeech's <speaker>/<chapter>/<speaker>-<chapter>-<number>.flac,
    else the folder's name.
    """
    speaker, chapter = path.parent.parent.name, path.parent.name
    return speaker if path.name.startswith(f"{speaker}-{chapter}-") else chapter


def _recordings(folder: Path) -> dict[str, list[Path]]:
    """Recording -> its files: cuts and channels of one recording belong together.

    That is what a MANIFEST.csv calls source_path, and without one the folder and the name less its
    last number or take letter: rain-00 and rain-03, ch01 and ch16 (DEMAND), 1-211527-A-20 and
    1-211527-B-20 (ESC). Numbering hundreds of unrelated files is common too (MUSAN's
    noise-free-sound-0001), hence SERIES.
    """
    known, found = _manifest(folder, "source_path"), defaultdict(list)
    for path in audio_files(folder):
        origin = Path(known.get(path.resolve()) or path.relative_to(folder))
        stem = re.sub(r"([-_][A-Z]([-_]\d+)?|[-_ ]?\d+)$", "", origin.stem)
        found[(origin.parent / (stem or origin.stem)).as_posix()].append(path)
    for name, files in list(found.items()):
        if len(files) > SERIES:
            del found[name]
            found.update({path.relative_to(folder).as_posix(): [path] for path in files})
    return dict(found)


def _manifest(folder: Path, column: str) -> dict[Path, str]:
    """Absolute path -> `column`, from the MANIFEST.csv in the folder or the nearest one above it;
    its paths are relative to its own folder or the one above that.
    """
    for home in (folder.resolve(), *folder.resolve().parents):
        if (home / "MANIFEST.csv").is_file():
            with open(home / "MANIFEST.csv", newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if row.get("path") and row.get(column)]
            return {base / row["path"]: row[column] for row in rows for base in (home, home.parent)}
    return {}


def _shares(
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


def _limited(
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


def _fingerprint(options: list, *sources: dict[str, list[Path]]) -> str:
    files = [
        [(group, p.name, p.stat().st_size) for group, paths in source.items() for p in paths]
        for source in sources
    ]
    return hashlib.sha256(repr((options, files)).encode()).hexdigest()[:16]


# ---- what is made of it ----


def _parts(
    chosen: dict, sounds: dict, noises: dict, speech: Path, noise: Path, seed: int
) -> Iterator[Part]:
    for split in SPLITS:
        rng = random.Random(f"parts-{seed}-{split}")
        # ratios in turn, but not by speaker
        order = rng.sample(range(len(chosen[split])), len(chosen[split]))
        count: dict[str, int] = defaultdict(int)
        for place, (speaker, path) in zip(order, chosen[split], strict=True):
            # every recording as often, however many cuts it has
            clip = rng.choice(noises[rng.choice(sounds[split])])
            count[speaker] += 1
            name = f"{re.sub('[^A-Za-z0-9]', '', speaker) or 'speaker'}_{count[speaker]:03d}.wav"
            yield Part(
                split,
                name,
                speaker,
                clip.relative_to(noise).as_posix(),
                SNRS[split][place % len(SNRS[split])],
                path.relative_to(speech).as_posix(),
                read(path),
                read(clip),
            )


def write_voicebank(out: Path, parts: Iterable[Part], total: int, readme: str, seed: int) -> dict:
    """Mix the parts and save them as a corpus that appears whole at `out` or not at all.

    Returns:
        {"pcm": sha256 of all samples, "samples": how many a side, "snr_error": the largest, in dB}
    """
    with whole(out, "README.txt") as folder:
        made = _write_all(folder, parts, total, seed)
        (folder / "README.txt").write_text(f"{readme}pcm: {made['pcm']}\n", encoding="utf-8")
    return made


def _pair(part: Part, seed: int, number: int) -> tuple[np.ndarray, np.ndarray, float]:
    """(N,) int16 clean speech and noise, and by how many dB their ratio is off.

    The two are rounded one by one, to be added then: noisy - clean on disk is exactly the noise
    that was measured, and its silences stay silent. Rounding can push a frame that lies on the
    gate across it and so move the ratio of a noise that is little else than such frames; then the
    noise is cut elsewhere.
    """
    for attempt in range(TRIES):
        try:
            mixture = mix(
                part.speech, part.noise, part.snr, np.random.default_rng([seed, number, attempt])
            )
            clean, noise = to_pcm(mixture.clean), to_pcm(mixture.noise)
            error = abs(snr(clean, noise) - part.snr)
        except UsageError as silence:
            raise UsageError(
                f"{part.source} cannot be mixed with {part.noise_name}: {silence}"
            ) from silence
        if error <= TOLERANCE:
            return clean, noise, error
    raise UsageError(
        f"{part.source} with {part.noise_name} at {part.snr} dB comes out {error:.2f} dB off in 16 "
        "bits, because one of them is too soft; make it louder or take it out"
    )


def _write_all(folder: Path, parts: Iterable[Part], total: int, seed: int) -> dict:
    from tqdm import tqdm

    digest, samples, worst, seen = hashlib.sha256(), 0, 0.0, set()
    for side in ("clean", "noisy"):
        for name in set(FOLDERS.values()):
            (folder / f"{side}_{name}_16k").mkdir()
    with open(folder / "splits.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for number, part in enumerate(
            tqdm(parts, "mixing", total, unit="pair", mininterval=0.5, disable=total < 50)
        ):
            if part.file in seen:
                raise UsageError(
                    f"two speakers would share the file name {part.file}; rename the folder of "
                    f"{part.speaker}"
                )
            seen.add(part.file)
            clean, noise, error = _pair(part, seed, number)
            worst, samples = max(worst, error), samples + len(clean)
            for side, pcm in (("clean", clean), ("noisy", clean + noise)):
                write(folder / f"{side}_{FOLDERS[part.split]}_16k" / part.file, pcm)
                digest.update(pcm.astype("<i2").tobytes())
            table.writerow(
                [part.file, part.split, part.speaker, part.noise_name, part.snr, part.source]
            )
    return {"pcm": digest.hexdigest(), "samples": samples, "snr_error": worst}
