"""Unlabelled speech of built-in voices, for pre-training: `run_benchmark.py data speech`."""

import random
import sys
from pathlib import Path

from ...benchmark.audio import write
from ...benchmark.contract import SAMPLE_RATE
from .builtin import cast
from .espeak import speak, voices
from .sentences import sentence

CAST, DRAWN = 120, 180  # voices that speak, of so many drawn


def make_speech(out: Path, minutes: float, seed: int) -> str:
    """Sentences of 120 voices in `out`, none of them a voice of the built-in corpora that are
    tested on.
    """
    from tqdm import tqdm

    taken = {(v.base, v.pitch, v.rate) for v in cast()}
    speakers = [v for v in voices(DRAWN, seed + 1) if (v.base, v.pitch, v.rate) not in taken][:CAST]
    rng, spoken, files = random.Random(f"speech-{seed}"), 0, 0
    out.mkdir(parents=True, exist_ok=True)
    with tqdm(
        total=round(minutes * 60),
        desc=f"speaking to {out.name}",
        file=sys.stderr,
        unit="s",
        mininterval=1,
    ) as bar:
        while spoken < minutes * 60 * SAMPLE_RATE:
            who = files % len(speakers)
            wav = speak(speakers[who], f"{sentence(rng)}, {sentence(rng)}")
            write(out / f"voice{who:03d}_{files // len(speakers):03d}.wav", wav)
            spoken, files = spoken + len(wav), files + 1
            bar.update(round(spoken / SAMPLE_RATE) - bar.n)
    return (
        f"{files} utterances of {len(speakers)} voices, {spoken / SAMPLE_RATE / 60:.1f} minutes, "
        f"in {out}"
    )
