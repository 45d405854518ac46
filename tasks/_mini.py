"""The built-in noisy corpus: espeak voices in noises made in code, VoiceBank-DEMAND-shaped, made on first use and kept.

It is there so that every command has something honest to run on with nothing downloaded: about 20 minutes of 2 to 4 s
utterances, 36 voices of which no two splits share one, every noise at every ratio equally often. Its numbers say that
things work and in which order models come; they are not comparable with real recordings.
"""
import logging
import random
import re
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

from ..benchmark.audio import write
from ..benchmark.contract import SAMPLE_RATE
from ..benchmark.paths import cache_dir
from . import _mini_sid, _mini_ss
from ._noise import GENERATORS, active_power, babble
from ._noisy import SNRS, Part, write_voicebank
from ._speech import Voice, sentence, speak, voices

VERSION = 1
SEED = 20_26
SIZES = {"train": (24, 320), "dev": (4, 32), "test": (8, 64)}   # voices, utterances
TALKERS = 8                                                     # voices of a split's babble, heard nowhere else
SHORTEST, LONGEST = 2.0, 4.0                                    # seconds
SOFTEST, LOUDEST = -30.0, -22.0                                 # dB, active level: recordings differ so much
PCM = "5438999816f6f1ed875ac76081413833a0e190ee2519a4e75c534c7276ca20d9"  # sha256 of all samples, x86-64, espeak-ng 1.52

CORPORA = {
    "mini (se)": (f"mini-noisy-{VERSION}", "36 espeak voices in eight kinds of noise, VoiceBank-DEMAND layout"),
    "mini (sid)": (_mini_sid.FOLDER, "24 espeak voices, a folder each, each sentence as if recorded elsewhere"),
    "mini (ss)": (_mini_ss.NAME, "low and high espeak voices, two at a time, Libri2Mix layout"),
    "mini (asr)": ("mini-asr-1", "60 espeak voices, sentences of 34 words"),
}

README = f"""The built-in noisy corpus of earlyexit-superb: espeak-ng voices, noises made in code.
Made by tasks/_mini.py; delete this folder and it is made again.
recipe: {VERSION}
"""


def mini_noisy() -> Path:
    """The folder of the corpus, for `_voicebank.voicebank`; made now if this machine has none. Safe in parallel."""
    out = cache_dir() / CORPORA["mini (se)"][0]
    log = logging.getLogger("earlyexit_superb")
    if not (out / "README.txt").is_file():
        log.info("making the built-in noisy corpus in %s, once; this takes about 20 s", out)
        write_voicebank(out, _parts(), sum(utterances for _, utterances in SIZES.values()), README, SEED)
    made = re.search(r"^pcm: (\w+)$", (out / "README.txt").read_text(encoding="utf-8"), re.MULTILINE)
    if made is None or made[1] != PCM:
        log.warning("the built-in noisy corpus in %s is not sample for sample the usual one (another espeak-ng, numpy or "
                    "scipy?), so rows made with it carry another corpus hash and stand apart", out)
    return out


def _parts() -> Iterator[Part]:
    cast = iter(voices(sum(speakers + TALKERS for speakers, _ in SIZES.values()), SEED))
    for number, (split, (speakers, utterances)) in enumerate(SIZES.items()):
        rng = random.Random(f"mini-{SEED}-{split}")
        targets = [next(cast) for _ in range(speakers)]
        crowd = [speak(next(cast), " ".join(sentence(rng) for _ in range(3))) for _ in range(TALKERS)]
        settings = list(product([*GENERATORS, "babble"], SNRS[split]))
        settings = rng.sample(settings * (utterances // len(settings)), utterances)
        for i, (kind, ratio) in enumerate(settings):
            voice = targets[i % speakers]
            words, speech = _utterance(voice, rng)
            draw, samples = np.random.default_rng([SEED, number, i]), len(speech)
            noise = babble(draw, samples, crowd) if kind == "babble" else GENERATORS[kind](draw, samples)
            name = f"{split}{i % speakers:02d}"
            yield Part(split, f"{name}_{i // speakers:03d}.wav", name, kind, ratio, words, speech, noise)


def _utterance(voice: Voice, rng: random.Random) -> tuple[str, np.ndarray]:
    """The first sentence that lasts 2 to 4 s in this voice, at a level of its own."""
    while True:
        words = sentence(rng)
        wav = speak(voice, words)
        if SHORTEST <= len(wav) / SAMPLE_RATE <= LONGEST:
            return words, wav.astype(np.float64) * 10 ** (rng.uniform(SOFTEST, LOUDEST) / 20) / active_power(wav) ** 0.5


def make_speech(out: Path, minutes: float, seed: int) -> str:
    """Unlabelled sentences of 120 voices in `out`, for pre-training. None is a voice of `mini_noisy`, whose draw is another."""
    from tqdm import tqdm
    taken = {(v.base, v.pitch, v.rate) for v in voices(sum(speakers + TALKERS for speakers, _ in SIZES.values()), SEED)}
    cast = [v for v in voices(180, seed + 1) if (v.base, v.pitch, v.rate) not in taken][:120]
    rng, spoken, files = random.Random(f"speech-{seed}"), 0, 0
    out.mkdir(parents=True, exist_ok=True)
    with tqdm(total=round(minutes * 60), desc=f"speaking to {out.name}", file=sys.stderr, unit="s", mininterval=1) as bar:
        while spoken < minutes * 60 * SAMPLE_RATE:
            wav = speak(cast[files % len(cast)], f"{sentence(rng)}, {sentence(rng)}")
            write(out / f"voice{files % len(cast):03d}_{files // len(cast):03d}.wav", wav)
            spoken, files = spoken + len(wav), files + 1
            bar.update(round(spoken / SAMPLE_RATE) - bar.n)
    return f"{files} utterances of {len(cast)} voices, {spoken / SAMPLE_RATE / 60:.1f} minutes, in {out}"
