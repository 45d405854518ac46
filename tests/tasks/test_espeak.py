"""Built-in voices: distinct, and the same whatever was spoken before."""

import random
import sys

import numpy as np
import pytest
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.tasks.corpora import espeak
from earlyexit_superb.tasks.corpora.sentences import sentence


def test_speech_does_not_depend_on_what_was_spoken_before():
    pytest.importorskip("espeakng_loader")
    cast, said = espeak.voices(12), random.Random(0)
    jobs = [(voice, sentence(said)) for voice in cast]
    jobs += [
        (espeak.Voice("breathy", "en-us+f2", 50, 170), "the thief whispered"),
        (cast[0], "again"),
    ]
    first = [espeak.speak(*job) for job in jobs]
    for i in random.Random(1).sample(range(len(jobs)), len(jobs)):
        np.testing.assert_array_equal(espeak.speak(*jobs[i]), first[i])
    for wav in first:
        assert wav.dtype == np.float32 and 0.02 < np.abs(wav).max() < 0.99  # heard and not clipped


def test_every_built_in_voice_exists_and_sounds_unlike_the_others():
    pytest.importorskip("espeakng_loader")
    bases = [f"{accent}+m1" for accent in espeak.ACCENTS] + [
        f"en-us+{variant}" for variant in espeak.VARIANTS[1:]
    ]
    spoken = [
        espeak.speak(espeak.Voice(base, base, 50, 170), "a bath of hot water, dance")
        for base in bases
    ]
    assert len({wav.tobytes() for wav in spoken}) == len(bases)


def test_voices_are_distinct_and_a_longer_list_begins_with_the_shorter():
    many = espeak.voices(600, seed=3)
    assert len(set(many)) == len({v.name for v in many}) == 600
    assert many[:40] == espeak.voices(40, seed=3) != espeak.voices(40, seed=4)
    bases = len(espeak.ACCENTS) * len(espeak.VARIANTS)
    assert len({v.base for v in many[:bases]}) == bases


def test_sentences_are_short_plain_and_rich_in_words():
    said = [sentence(r) for r in [random.Random(0)] for _ in range(3000)]
    assert all(
        3 <= len(s.split()) <= 10 and set(s) <= set("abcdefghijklmnopqrstuvwxyz' ") for s in said
    )
    assert len({w for s in said for w in s.split()}) > 400


def test_an_unknown_voice_is_refused():
    pytest.importorskip("espeakng_loader")
    with pytest.raises(UsageError, match="no voice 'en-us.x9'"):
        espeak.speak(espeak.Voice("x", "en-us.x9", 50, 170), "hello")


def test_speech_complaints(monkeypatch):
    with pytest.raises(UsageError, match="nothing to speak"):
        espeak.speak(espeak.voices(1)[0], " ... ")
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MachineError, match=r"run: pip install .*\[mini\]"):
        espeak.speak(espeak.voices(1)[0], "hello")
