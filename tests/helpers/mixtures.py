"""Recordings and metadata that mixtures are made of."""

import csv

import numpy as np
import soundfile
from earlyexit_superb.tasks.corpora import mixture_rows

SPEAKERS = ("19", "26", "84", "121", "237", "672")


def speech(folder, seconds=(3.1, 3.5), speakers=SPEAKERS):
    """A LibriSpeech-shaped tree of noise under slow envelopes, two utterances a speaker."""
    rng = np.random.default_rng(0)
    for who in speakers:
        for n, length in enumerate(seconds):
            path = folder / "dev-clean" / who / "7" / f"{who}-7-{n:04d}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            samples = round(16_000 * length) + 7 * int(who)
            wav = (
                rng.standard_normal(samples)
                * np.sin(np.arange(samples) / 2000) ** 2
                * rng.uniform(0.01, 0.1)
            )
            soundfile.write(path, np.clip(wav, -1, 1), 16_000)
    return folder


def metadata(path, pairs, gains=(0.8, 1.3)):
    """`pairs` of speakers, in LibriMix's columns."""
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*mixture_rows.COLUMNS, "noise_path", "noise_gain"])
        for i, (a, b) in enumerate(pairs):
            names = f"{a}-7-{i % 2:04d}", f"{b}-7-{1 - i % 2:04d}"
            paths = [f"dev-clean/{name.split('-')[0]}/7/{name}.flac" for name in names]
            table.writerow(
                ["_".join(names), paths[0], gains[0], paths[1], gains[1], "cv/noise.wav", 1.0]
            )
    return path


def files(folder, split, side):
    return {p.stem: p for p in sorted((folder / "wav16k" / "min" / split / side).glob("*.wav"))}


def pcm(path):
    return soundfile.read(path, dtype="int16")[0]
