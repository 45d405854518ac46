"""What is added to clean speech, by kind: noise, music, and babble of five or more people.

Each from recordings or, where no folder is given, from the built-in generators and voices. No
recording, and no voice of a babble, is drawn for two splits. The people of a babble are no targets
of the split they are added to. Where none are given, they are training speakers of the corpus
itself, some set aside for each split; the babble over a training target is then of other training
speakers, since a test speaker's voice must not be heard in training.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...benchmark.audio import length, read
from ...benchmark.contract import Corpus, Item
from ...benchmark.errors import UsageError
from .builtin import SEED, cast
from .entry import SPLITS
from .espeak import speak, voices
from .noise import GENERATORS, babble
from .recordings import noise_recordings, shares, utterances
from .sentences import sentence

KINDS = ("noise", "music", "babble")
TALKERS = (5, 8)  # people of a babble, where there are so many
VOICES = 8  # built-in voices of a split's babble
NOISES = tuple(name for name in GENERATORS if name != "music")

Wav = Callable[[], np.ndarray]  # (N,), read or made when called
# (a random generator, the target) -> what is added, in words, and its samples
Draw = Callable[[np.random.Generator, Item], tuple[str, Wav]]


class Pool(NamedTuple):
    """One kind of noise.

    Attributes:
        draws: by split.
        about: what it is drawn from, a clause for the corpus' notices.
        files: recording -> its files, () of the generators: what the draw depends on.
    """

    draws: Mapping[str, Draw]
    about: str
    files: Mapping[str, Sequence[Path]]


def pool(kind: str, folder: Path | None, speech: Corpus, builtin: bool, seed: int) -> Pool:
    """What `kind` is drawn from.

    Args:
        folder: recordings of that kind; None = built-in, and for babble over a corpus of somebody's
            own its own speakers.
        speech: the targets.
        builtin: whether they are the built-in corpus.

    Raises:
        UsageError: too few recordings or speakers for three splits.
    """
    if kind == "babble":
        return _babble(folder, speech, builtin, seed)
    if folder is not None:
        return _recordings(kind, folder, seed)
    names = ("music",) if kind == "music" else NOISES
    draw = partial(_generated, names)
    return Pool(dict.fromkeys(SPLITS, draw), f"{kind} made in code ({', '.join(names)})", {})


# ---- noise and music -----------------------------------------------------------------------------


def _generated(names: Sequence[str], rng: np.random.Generator, target: Item) -> tuple[str, Wav]:
    name = names[rng.integers(len(names))]
    return name, partial(GENERATORS[name], rng, target.samples)


def _recordings(kind: str, folder: Path, seed: int) -> Pool:
    groups = noise_recordings(folder)
    shared = shares(groups, f"{kind} recordings", folder, seed)
    draws = {
        split: partial(_recorded, folder, [groups[name] for name in shared[split]])
        for split in SPLITS
    }
    counts = ", ".join(f"{len(shared[split])} {split}" for split in SPLITS)
    return Pool(draws, f"{kind} from {folder.name} ({counts} recordings, none in two)", groups)


def _recorded(
    folder: Path, groups: Sequence[Sequence[Path]], rng: np.random.Generator, target: Item
) -> tuple[str, Wav]:
    """A file of a recording; every recording as often, however many cuts it has."""
    files = groups[rng.integers(len(groups))]
    path = files[rng.integers(len(files))]
    return path.relative_to(folder).as_posix(), partial(read, path)


# ---- babble --------------------------------------------------------------------------------------


def _babble(folder: Path | None, speech: Corpus, builtin: bool, seed: int) -> Pool:
    if folder is None and builtin:
        people, about = _built_in_people(seed), "babble of built-in voices that say nothing else"
        return Pool({s: partial(_crowd, people[s]) for s in SPLITS}, about, {})
    if folder is None:
        spoken = _training_speakers(speech)
        files: Mapping[str, list[Path]] = {}  # the corpus' own hash covers them
        what, where, least = "training speakers", Path(speech.name), TALKERS[0] + 1
    else:
        known = {item.speaker for items in speech.splits.values() for item in items}
        heard, _ = utterances(folder, longest=np.inf)
        files = {who: paths for who, paths in heard.items() if who not in known}
        spoken = {
            who: [Item(path.stem, path, length(path), speaker=who) for path in paths]
            for who, paths in files.items()
        }
        what, where, least = "speakers who are not in the corpus", folder, TALKERS[0]
    if len(spoken) < 3 * least:
        raise UsageError(
            f"{where} has {len(spoken)} {what} and babble needs {least} of their own for each of "
            "train, dev and test; give a folder of other speech: --babble DIR, or leave babble out "
            "of --kinds"
        )
    shared = shares(spoken, what, where, seed, least)
    people = {s: {who: _wavs(spoken[who]) for who in shared[s]} for s in SPLITS}
    counts = ", ".join(f"{len(shared[split])} {split}" for split in SPLITS)
    about = f"babble of {what} ({counts}, none in two)"
    return Pool({s: partial(_crowd, people[s]) for s in SPLITS}, about, files)


def _training_speakers(speech: Corpus) -> dict[str, list[Item]]:
    spoken = defaultdict(list)
    for item in speech.splits["train"]:
        if item.speaker:
            spoken[item.speaker].append(item)
    return dict(spoken)


def _wavs(items: Sequence[Item]) -> list[Wav]:
    return [partial(read, item.path, item.start, item.samples) for item in items]


def _built_in_people(seed: int) -> dict[str, dict[str, list[Wav]]]:
    """Split -> voice -> what it says. None is a voice of the built-in corpora."""
    taken = {(voice.base, voice.pitch, voice.rate) for voice in cast()}
    drawn = voices(3 * VOICES + len(taken), SEED + seed + 1)
    free = [voice for voice in drawn if (voice.base, voice.pitch, voice.rate) not in taken]
    rng, people = random.Random(f"babble-{seed}"), {}
    for number, split in enumerate(SPLITS):
        mine = free[number * VOICES : (number + 1) * VOICES]
        said = {voice: " ".join(sentence(rng) for _ in range(3)) for voice in mine}
        # spoken when first drawn, and kept
        people[split] = {v.name: [cache(partial(speak, v, text))] for v, text in said.items()}
    return people


def _crowd(
    people: Mapping[str, Sequence[Wav]], rng: np.random.Generator, target: Item
) -> tuple[str, Wav]:
    """Five to eight of `people` at once, the target's speaker not among them."""
    others = sorted(who for who in people if who != target.speaker)
    least, most = TALKERS
    count = int(rng.integers(least, min(most, len(others)) + 1))
    chosen = [others[i] for i in rng.permutation(len(others))[:count]]
    said = [people[who][rng.integers(len(people[who]))] for who in chosen]
    return "+".join(chosen), lambda: babble(rng, target.samples, [wav() for wav in said])
