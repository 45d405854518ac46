"""The built-in corpus of speech recognition: espeak voices say sentences of a small grammar; made
on first use and kept.

34 words, apostrophes among them, in five sentence shapes of 4 to 7 words: about 20 minutes. The
voices are those of the noisy corpus, which pre-training never hears, dealt out so that no two
splits share one, the fast ones slowed down. Listed in a manifest like anybody's corpus. Its word
error rates say that things work and in which order models come, nothing about real speech.
"""

import hashlib
import random
import sys
from dataclasses import replace
from pathlib import Path

from ....benchmark.audio import to_pcm, write
from ....benchmark.contract import Builtin
from ....benchmark.storage import whole
from .. import manifest
from ..builtin import SEED, cast
from ..entry import of_file
from ..espeak import speak
from ..sentences import filled

SIZES = {"train": (40, 480), "dev": (6, 48), "test": (14, 112)}  # voices, utterances
FASTEST = 150  # words a minute: every voice has two frames of 20 ms a letter and more
# sha256 of all samples, x86-64, espeak-ng 1.52
PCM = "e3c512485795c1322b97dae7e10a57b38e2cf5bf97ebaac75968d82eba3eee04"
FOLDER, STAMP = "mini-asr-1", "pcm.txt"

_LISTS = {
    "name": "alice george victor",
    "verb": "bring find paint",
    "adj": "green heavy yellow little",
    "thing": "basket candle jacket horse",
    "things": "baskets candles jackets horses",
    "place": "garden kitchen river",
    "number": "two five seven nine",
    "wont": "don't can't",
}
_WORDS = {kind: words.split() for kind, words in _LISTS.items()}
_SHAPES = """
name will verb the adj thing
please verb number things
we wont verb the adj thing
the adj thing is in the place
number things are in the place
""".strip().splitlines()


def _make(out: Path) -> None:
    with whole(out, STAMP) as folder:
        _speak_all(folder)


BUILTIN = Builtin(FOLDER, "60 espeak voices, sentences of 34 words", _make, PCM, STAMP)


def sentence(rng: random.Random) -> str:
    """4 to 7 lower-case words."""
    return filled(rng, _SHAPES, _WORDS)


def _speak_all(folder: Path) -> None:
    from tqdm import tqdm

    voices = (replace(voice, rate=min(voice.rate, FASTEST)) for voice in cast())
    digest, entries = hashlib.sha256(), []
    with tqdm(
        total=sum(n for _, n in SIZES.values()),
        desc=f"speaking to {FOLDER}",
        file=sys.stderr,
        unit="utt",
        mininterval=1,
    ) as bar:
        for split, (speakers, utterances) in SIZES.items():
            talkers = [next(voices) for _ in range(speakers)]
            rng = random.Random(f"mini-asr-{SEED}-{split}")
            for i in range(utterances):
                text, who = sentence(rng), f"{split}{i % speakers:02d}"
                pcm = to_pcm(speak(talkers[i % speakers], text))
                digest.update(pcm.tobytes())
                path = folder / split / f"{who}_{i // speakers:03d}.wav"
                write(path, pcm)
                entries.append(of_file(path.stem, split, path, who, text))
                bar.update()
    (folder / STAMP).write_text(digest.hexdigest())
    manifest.write(folder / manifest.NAME, entries)
