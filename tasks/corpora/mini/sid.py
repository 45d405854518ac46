"""The built-in corpus of identification: two dozen espeak voices, made on first use and kept.

Each is an accent and a vocal tract with a fixed pitch and rate. Sentences are short, and
every one is at another level, with another spectral tilt and under another faint noise, as if
recorded elsewhere, so that loudness and the colour of a microphone give nobody away. In folders and
with a list like VoxCeleb1's. Its numbers say that things work and in which order models come,
nothing about people.
"""

import hashlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ....benchmark.audio import to_pcm, write
from ....benchmark.contract import Builtin
from ....benchmark.storage import whole
from ..espeak import voices
from ..noise import active_power
from ..sentences import lasting

VERSION = 1
SEED = 20_28
FOLDER = f"mini-speakers-{VERSION}"
SPEAKERS = 24
# the list's numbers for training, dev and test: utterances of each voice
PARTS = {1: 28, 2: 4, 3: 6}
SHORTEST, LONGEST = 2.0, 3.8  # seconds
SOFTEST, LOUDEST = -30.0, -22.0  # dB, active level
TILT = 0.4  # at most: y[n] = x[n] - tilt x[n-1]
FAINTEST, STRONGEST = -60.0, -50.0  # dB, of the noise
# sha256 of all samples, x86-64, espeak-ng 1.52
PCM = "4e7b6341ec6590c5f0869bb5c67f26bed4e27244bff9480712e4a105eaa6d990"

README = f"""The built-in corpus of speaker identification of earlyexit-superb: espeak-ng voices, \
a folder each, and VoxCeleb1's list.
Made by tasks/corpora/mini/sid.py; delete this folder and it is made again.
recipe: {VERSION}
"""


def _make(out: Path) -> None:
    with whole(out, "README.txt") as folder:
        _speak_all(folder)


BUILTIN = Builtin(
    FOLDER, "24 espeak voices, a folder each, each sentence as if recorded elsewhere", _make, PCM
)


def _speak_all(folder: Path) -> None:
    from tqdm import tqdm

    digest, lines = hashlib.sha256(), []
    for part, name, pcm in tqdm(
        utterances(),
        desc=f"speaking to {FOLDER}",
        total=SPEAKERS * sum(PARTS.values()),
        file=sys.stderr,
        unit="utt",
        mininterval=1,
    ):
        write(folder / "wav" / name, pcm)
        digest.update(pcm.astype("<i2").tobytes())
        lines.append(f"{part} {name}\n")
    (folder / "iden_split.txt").write_text("".join(lines), encoding="utf-8")
    (folder / "README.txt").write_text(f"{README}pcm: {digest.hexdigest()}\n", encoding="utf-8")


def utterances() -> Iterator[tuple[int, str, np.ndarray]]:
    """(part of the list, speaker/file, (N,) int16) of every utterance."""
    for number, voice in enumerate(voices(SPEAKERS, SEED)):
        words = random.Random(f"mini-speakers-{SEED}-{number}")
        draw = np.random.default_rng([SEED, number])
        for i, part in enumerate(part for part, count in PARTS.items() for _ in range(count)):
            _, wav = lasting(voice, words, SHORTEST, LONGEST)
            pcm = to_pcm(_disguised(wav.astype(np.float64), draw))
            yield part, f"voice{number:02d}/{i:03d}.wav", pcm


def _disguised(wav: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """As another microphone at another distance would record it."""
    tilted = wav - draw.uniform(-TILT, TILT) * np.concatenate([[0.0], wav[:-1]])
    noise = draw.standard_normal(len(wav)) * 10 ** (draw.uniform(FAINTEST, STRONGEST) / 20)
    level = 10 ** (draw.uniform(SOFTEST, LOUDEST) / 20)
    return tilted * level / active_power(tilted) ** 0.5 + noise
