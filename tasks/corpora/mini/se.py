"""The built-in noisy corpus: espeak voices in noises made in code, VoiceBank-DEMAND-shaped, made
on first use and kept.

It is there so that every command has something honest to run on with nothing downloaded: 768
utterances of 1.6 to 3 s, half an hour, by 68 voices of which no two splits share one. Every one of
eight noises comes at every ratio equally often in every split, so that rows by ratio or by noise
have the same number of utterances; `more` of an item says which. Dev and test have the ratios of
training, 15 to 0 dB, but other voices, other noise (drawn anew) and other people in the babble.
The 40/30/20/10 mixture of the DAISY paper (sec. 4.2: clean, 10, 5, 0 dB) is not used here: clean
speech cannot be enhanced. The numbers say that things work and in which order models come; they
are not comparable with real recordings.
"""

import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

from ....benchmark.contract import Builtin
from ..builtin import SEED, cast
from ..espeak import Voice, speak
from ..noise import GENERATORS, active_power, babble
from ..noisy_pairs import Part, write_voicebank
from ..sentences import lasting, sentence

VERSION = 2
SIZES = {"train": (32, 480), "dev": (8, 64), "test": (28, 224)}  # voices, utterances
TALKERS = 8  # voices of a split's babble, who speak nowhere else
SNRS = (15.0, 10.0, 5.0, 0.0)  # dB
SHORTEST, LONGEST = 1.6, 3.0  # seconds
SOFTEST, LOUDEST = -30.0, -22.0  # dB, active level: recordings differ so much
# sha256 of all samples, x86-64, espeak-ng 1.52
PCM = "2f04ab527c787388a827252ccb5e53f06639ebb11730bbcc538cf7e971080ff7"

README = f"""The built-in noisy corpus of earlyexit-superb: espeak-ng voices, noises made in code.
Made by tasks/corpora/mini/se.py; delete this folder and it is made again.
recipe: {VERSION}
"""


def _make(folder: Path) -> None:
    total = sum(utterances for _, utterances in SIZES.values())
    write_voicebank(folder, _parts(), total, README, SEED)


BUILTIN = Builtin(
    f"mini-noisy-{VERSION}",
    "68 espeak voices in eight kinds of noise, VoiceBank-DEMAND layout",
    _make,
    PCM,
)


def _parts() -> Iterator[Part]:
    talkers = iter(cast())
    for number, (split, (speakers, utterances)) in enumerate(SIZES.items()):
        rng = random.Random(f"mini-{SEED}-{split}")
        targets = [next(talkers) for _ in range(speakers)]
        crowd = [
            speak(next(talkers), " ".join(sentence(rng) for _ in range(3))) for _ in range(TALKERS)
        ]
        settings = list(product([*GENERATORS, "babble"], SNRS))
        settings = rng.sample(settings * (utterances // len(settings)), utterances)
        for i, (kind, ratio) in enumerate(settings):
            voice = targets[i % speakers]
            words, speech = _utterance(voice, rng)
            draw, samples = np.random.default_rng([SEED, number, i]), len(speech)
            if kind == "babble":
                noise = babble(draw, samples, crowd)
            else:
                noise = GENERATORS[kind](draw, samples)
            name = f"{split}{i % speakers:02d}"
            yield Part(
                split, f"{name}_{i // speakers:03d}.wav", name, kind, ratio, words, speech, noise
            )


def _utterance(voice: Voice, rng: random.Random) -> tuple[str, np.ndarray]:
    """A sentence of 1.6 to 3 s at a random level: its words, (N,) float64."""
    words, wav = lasting(voice, rng, SHORTEST, LONGEST)
    level = 10 ** (rng.uniform(SOFTEST, LOUDEST) / 20)
    return words, wav.astype(np.float64) * level / active_power(wav) ** 0.5
