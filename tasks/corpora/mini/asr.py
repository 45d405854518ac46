"""The built-in corpus of speech recognition: espeak voices say sentences of a small grammar; made
on first use and kept.

34 words, apostrophes among them, in five sentence shapes of 4 to 7 words: 1020 utterances, about 40
minutes. No sentence and no voice is in two splits, so that neither can be learned by heart; the 96
voices are those of the noisy corpus, which pre-training never hears, the fast ones slowed down.
Listed in a manifest like anybody's corpus. Its word error rates say that things work and in which
order models come, nothing about real speech.
"""

import hashlib
import random
import sys
import zlib
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

SIZES = {"train": (54, 648), "dev": (12, 72), "test": (30, 300)}  # voices, utterances
# of ten sentences, which are whose
SENTENCES = {"train": range(7), "dev": range(7, 8), "test": range(8, 10)}
FASTEST = 150  # words a minute: every voice has two frames of 20 ms a letter and more
# sha256 of all samples, x86-64, espeak-ng 1.52
PCM = "515dc4bf89ab00b2bf7ceaf8b5b65ca2ed387025a61917e9190d0008f8ca0042"
FOLDER, STAMP = "mini-asr-2", "pcm.txt"

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


BUILTIN = Builtin(FOLDER, "96 espeak voices, sentences of 34 words", _make, PCM, STAMP)


def sentence(rng: random.Random, split: str) -> str:
    """4 to 7 lower-case words that no other split says."""
    while True:
        text = filled(rng, _SHAPES, _WORDS)
        if zlib.crc32(text.encode()) % 10 in SENTENCES[split]:
            return text


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
                text, who = sentence(rng, split), f"{split}{i % speakers:02d}"
                pcm = to_pcm(speak(talkers[i % speakers], text))
                digest.update(pcm.tobytes())
                path = folder / split / f"{who}_{i // speakers:03d}.wav"
                write(path, pcm)
                entries.append(of_file(path.stem, split, path, who, text))
                bar.update()
    (folder / STAMP).write_text(digest.hexdigest())
    manifest.write(folder / manifest.NAME, entries)
