"""Small corpora in the layouts of their publishers, and what is found in them."""

from collections import Counter

import numpy as np
import soundfile
from earlyexit_superb.benchmark.errors import UsageError, listed
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.benchmark.validation import problems
from earlyexit_superb.tasks import corpora
from earlyexit_superb.tasks.corpora import Need, layouts


def sound(path, samples=8000, rate=16_000, level=0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    wav = level * np.sin(np.arange(samples * rate // 16_000) * (0.1 + len(path.stem) / 50))
    soundfile.write(path, wav, rate, subtype="PCM_16")
    return path


def librispeech(root, sets, speakers=(1, 2), utterances=3):
    """LibriSpeech's tree with sets of so many utterances a speaker."""
    for part in sets:
        for speaker in speakers:
            folder, lines = root / part / str(speaker) / "7", []
            for i in range(utterances):
                id = f"{speaker}-7-{i:04d}"
                sound(folder / f"{id}.flac", 8000 + 800 * i)
                lines.append(f"{id} IT'S NUMBER {'ABC'[i % 3]}\n")
            (folder / f"{speaker}-7.trans.txt").write_text("".join(lines))
    return root


def mixtures(root, folders=("train-100", "dev", "test")):
    for folder in folders:
        for i in range(2):
            for part in ("mix_clean", "s1", "s2"):
                sound(root / "wav16k" / "min" / folder / part / f"1-7-000{i}_2-7-000{i}.wav")
    return root


def voxceleb(root):
    lines = []
    for speaker in ("id10001", "id10002"):
        for part, split in (
            (f"{'dev' if speaker == 'id10001' else 'test'}/wav/{speaker}/v{i}", i)
            for i in (1, 2, 3)
        ):
            sound(root / part / "00001.wav")
            lines.append(f"{split} {speaker}/v{split}/00001.wav\n")
    (root / "veri_test_class.txt").write_text("".join(lines))
    return root


def digits(root, speakers=("ann", "bob")):
    for speaker in speakers:
        for digit in range(10):
            for number in range(8):
                sound(
                    root / "recordings" / f"{digit}_{speaker}_{number}.wav",
                    3200 + 160 * digit,
                    rate=8_000,
                )
    return root


def voicebank(root):
    for part, speaker in (
        ("trainset_28spk", "p226"),
        ("trainset_28spk", "p230"),
        ("testset", "p232"),
    ):
        for side in ("clean", "noisy"):
            for i in range(2):
                sound(root / f"{side}_{part}_wav" / f"{speaker}_00{i}.wav", rate=48_000)
    return root


def counts(found):
    return dict(Counter(e.split for e in found))


def scan(root, task, train=""):
    return corpora.scan(root, Need(tasks.get(task).needs, task, train))


def entries(root, task, train=""):
    """What is listed, and notices; UsageError with everything that headers and labels tell against
    it.
    """
    found = scan(root, task, train)
    if wrong := layouts.wrong(found, Need(tasks.get(task).needs, task, train)):
        raise UsageError(listed(wrong))
    return found.entries, found.notices


def wrong(root, task):
    """Everything that is wrong before anything is decoded, in one sentence each."""
    t = tasks.get(task)
    return problems(t, t.corpus(root, t.protocols[t.default]), t.protocols[t.default])
