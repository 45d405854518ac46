"""The built-in corpus of separation: two espeak voices at a time, Libri2Mix-shaped, made
on first use and kept.

One voice of a pair has a low and the other a high pitch, so that a model of minutes has a chance:
which mask is whose then follows from the voice alone. 768 mixtures of 1.8 to 3.2 s; no voice is in
two splits, and the test split has 224 mixtures of 16 low and 16 high voices. Its numbers say that
things work and in which order models come; LibriMix, where half of the pairs are of one sex, is
harder.
"""

import hashlib
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ....benchmark.audio import read, to_pcm
from ....benchmark.contract import Builtin
from ....benchmark.storage import write_text
from ..espeak import Voice, voices
from ..make_mixtures import FOLDERS, SIDES, Mixture, write_librimix
from ..noise import active_power
from ..sentences import lasting

VERSION = 5
SEED = 20_27
SIZES = {"train": (96, 480), "dev": (16, 64), "test": (32, 224)}  # voices, mixtures
_LOW = "m1 m2 m3 m4 m5 m6 m7 m8 Alex Andy Denis Gene Michael Mike ed max paul quincy rob"
LOW = set(_LOW.split())
HIGH = {"f1", "f2", "f3", "f4", "f5", "belinda", "Annie", "grandma"}
DRAWN = 1200  # voices, of which 144 are low or high enough and speak
LOWEST, HIGHEST = 35, 60  # espeak's pitch: low voices are below, high ones above
SHORTEST, LONGEST = 1.8, 3.2  # seconds of a sentence; a mixture is as long as its shorter one
SOFTEST, LOUDEST = -28.0, -23.0  # dB, active level
# sha256 of all samples, x86-64, espeak-ng 1.52
PCM = "dc82da2914fdad9ab56fe310cb03a340b100a5ee78f5fa26170a39fa6e480adf"
NAME = f"mini-mixtures-{VERSION}"

README = f"""The built-in corpus of two-speaker mixtures of earlyexit-superb: espeak-ng voices in \
the layout of Libri2Mix.
Made by tasks/corpora/mini/ss.py; delete this folder and it is made again.
recipe: {VERSION}
pcm: {{pcm}}
"""


def _make(out: Path) -> None:
    """A run that was killed is continued."""
    mixtures = _mixtures()
    write_librimix(out, mixtures)
    write_text(out / "README.txt", README.format(pcm=_pcm(out, mixtures)))


BUILTIN = Builtin(NAME, "low and high espeak voices, two at a time, Libri2Mix layout", _make, PCM)


def _pcm(out: Path, mixtures: list[Mixture]) -> str:
    digest = hashlib.sha256()
    for mixture in mixtures:
        for side in SIDES:
            folder = out / "wav16k" / "min" / FOLDERS[mixture.split] / side
            pcm = to_pcm(read(folder / f"{mixture.id}.wav"))
            digest.update(pcm.astype("<i2").tobytes())
    return digest.hexdigest()


def _mixtures() -> list[Mixture]:
    cast = voices(DRAWN, SEED)
    low = iter([v for v in cast if v.base.split("+")[1] in LOW and v.pitch < LOWEST])
    high = iter([v for v in cast if v.base.split("+")[1] in HIGH and v.pitch > HIGHEST])
    mixtures = []
    for split, (speakers, count) in SIZES.items():
        deep, light = ([next(kind) for _ in range(speakers // 2)] for kind in (low, high))
        for i in range(count):
            rng = random.Random(f"mixture-{SEED}-{split}-{i}")
            a, b = rng.randrange(len(deep)), rng.randrange(len(light))
            pair = [
                (f"{split}low{a:02d}-{i:04d}", deep[a]),
                (f"{split}high{b:02d}-{i:04d}", light[b]),
            ]
            rng.shuffle(pair)
            names, talkers = zip(*pair, strict=True)
            sources = partial(_spoken, talkers, rng.random())
            mixtures.append(Mixture("_".join(names), split, sources))
    return mixtures


def _spoken(cast: Sequence[Voice], seed: float) -> tuple[np.ndarray, np.ndarray]:
    rng = random.Random(seed)
    first, second = (_utterance(voice, rng) for voice in cast)
    return first, second


def _utterance(voice: Voice, rng: random.Random) -> np.ndarray:
    """(N,) float32: a sentence of 1.8 to 3.2 s at a random level."""
    _, wav = lasting(voice, rng, SHORTEST, LONGEST)
    level = 10 ** (rng.uniform(SOFTEST, LOUDEST) / 20)
    return (wav * level / active_power(wav) ** 0.5).astype(np.float32)
