"""The built-in corpus of identification: twenty espeak voices, made on first use and kept.

Each is an accent and a vocal tract with a pitch and a rate that vary a little from sentence to
sentence: 42 sentences for training, 6 for dev and 21 for test. Every one is at another level,
through one of 20 microphones and in a faint noise. Test has other microphones, other kinds of
noise and other sentences than training, and so has dev, so that neither the colour of a recording
nor its words give anybody away. In folders and with a list like VoxCeleb1's.

The built-in model tells these voices apart all the same, at every depth (numbers: docs/data.md).
They say that things work, nothing about people.
"""

import hashlib
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....benchmark.audio import to_pcm, write
from ....benchmark.contract import Builtin
from ....benchmark.storage import whole
from ..channel import heard, microphone
from ..espeak import Voice, voices
from ..noise import GENERATORS, active_power, mix
from ..sentences import lasting

VERSION = 2
SEED = 20_28
FOLDER = f"mini-speakers-{VERSION}"
SPEAKERS = 20
MICROPHONES, COLOUR = 20, 0.7  # of a part, and the dB of a step of their responses
SHORTEST, LONGEST = 2.0, 3.6  # seconds
SOFTEST, LOUDEST = -30.0, -22.0  # dB, active level
PITCHES, RATES = (-1, 1), (-10, 10)  # about the voice's own: a person does not repeat himself


class Part(NamedTuple):
    """What is recorded for training, dev or test, of each voice."""

    utterances: int
    noises: tuple[str, ...]
    ratios: tuple[float, float]  # dB


# by the list's numbers
PARTS = {
    1: Part(42, ("white", "pink", "hum"), (30.0, 50.0)),
    2: Part(6, ("engine",), (25.0, 45.0)),
    3: Part(21, ("cafe", "clicks", "music"), (25.0, 45.0)),
}
# sha256 of all samples, x86-64, espeak-ng 1.52
PCM = "975d612f791d089200c17851e52545a9109543097946f65c24bb2a0a95afd954"

README = f"""The built-in corpus of speaker identification of earlyexit-superb: espeak-ng voices, \
a folder each, and VoxCeleb1's list.
Made by tasks/corpora/mini/sid.py; delete this folder and it is made again.
recipe: {VERSION}
"""


def _make(out: Path) -> None:
    with whole(out, "README.txt") as folder:
        _speak_all(folder)


BUILTIN = Builtin(
    FOLDER, "20 espeak voices, a folder each, each sentence as if recorded elsewhere", _make, PCM
)


def _speak_all(folder: Path) -> None:
    from tqdm import tqdm

    digest, lines = hashlib.sha256(), []
    for part, name, pcm in tqdm(
        utterances(),
        desc=f"speaking to {FOLDER}",
        total=SPEAKERS * sum(part.utterances for part in PARTS.values()),
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
    """(number of the part, speaker/file, (N,) int16) of every utterance."""
    taken: dict[str, int] = {}  # a sentence, and the part it is said in
    for who, voice in enumerate(voices(SPEAKERS, SEED)):
        rng = random.Random(f"mini-speakers-{SEED}-{who}")
        place = 0
        for number, part in PARTS.items():
            filters = _microphones(number)
            for _ in range(part.utterances):
                words, wav = _said(voice, rng)
                while taken.setdefault(words, number) != number:
                    words, wav = _said(voice, rng)
                draw = np.random.default_rng([SEED, who, place])
                pcm = to_pcm(_recorded(wav, part, filters, draw))
                yield number, f"voice{who:02d}/{place:03d}.wav", pcm
                place += 1


def _microphones(number: int) -> list[np.ndarray]:
    """Those of a part, which no other part has."""
    return [
        microphone(np.random.default_rng([SEED, number, i]), COLOUR) for i in range(MICROPHONES)
    ]


def _said(voice: Voice, rng: random.Random) -> tuple[str, np.ndarray]:
    """A sentence, higher or lower, faster or slower than the last one: its words, (N,) float32."""
    pitch, rate = voice.pitch + rng.randint(*PITCHES), voice.rate + rng.randint(*RATES)
    return lasting(replace(voice, pitch=pitch, rate=rate), rng, SHORTEST, LONGEST)


def _recorded(
    wav: np.ndarray, part: Part, filters: list[np.ndarray], draw: np.random.Generator
) -> np.ndarray:
    """(N,) float32, by one of the microphones, in one of the part's noises, at some distance."""
    speech = heard(wav, filters[draw.integers(len(filters))])
    level = 10 ** (draw.uniform(SOFTEST, LOUDEST) / 20)
    speech *= level / active_power(speech) ** 0.5
    noise = GENERATORS[part.noises[draw.integers(len(part.noises))]](draw, len(speech))
    return mix(speech, noise, draw.uniform(*part.ratios), draw).noisy
