"""Sounds, and ways to spoil the files they are in."""

import numpy as np
import soundfile
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.benchmark.validation import opened


def voicebank(root):
    """A folder of that layout as a run opens it."""
    se = tasks.get("se")
    return opened(se, root, se.protocols["mini"])


def rng(seed=0):
    return np.random.default_rng(seed)


def speechlike(seconds=1.5, seed=0):
    """Bursts with pauses: what the active part is for."""
    t = np.arange(int(seconds * 16_000)) / 16_000
    return (0.2 * rng(seed).standard_normal(len(t)) * (np.sin(2 * np.pi * 1.5 * t) > 0)).astype(
        np.float32
    )


SPOKEN = {"train": (18, 1), "dev": (1, 5), "test": (2, 5)}  # speakers, utterances each


def spoken_list(root):
    """A list of soft bursts with transcripts: 18 training, 5 dev and 10 test utterances."""
    lines = ["path,split,speaker,text"]
    for split, (speakers, each) in SPOKEN.items():
        for who in range(speakers):
            for i in range(each):
                path = f"{split}{who}/{split}{who}_{i}.wav"
                audio.write(root / path, 0.1 * speechlike(1 + i / 10, seed=7 * who + i))
                lines.append(f"{path},{split},{split}{who},SAY {'ABCDE'[i]}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def people(root):
    """A tree of four speakers of ten utterances, 0.3 to 1.1 s, with a list of its splits: a tone
    a speaker, in noise.
    """
    draw, lines = rng(), []
    for s in range(4):
        for k in range(10):
            n = int(draw.integers(5_000, 17_000))
            tone = np.sin(2 * np.pi * (200 + 150 * s) * np.arange(n) / 16_000)
            wav = 0.1 * tone + 0.01 * draw.standard_normal(n)
            audio.write(root / "wav" / f"speaker{s}" / f"{k}.wav", wav.astype(np.float32))
            lines.append(f"{1 if k < 6 else 2 if k < 8 else 3} speaker{s}/{k}.wav\n")
    (root / "iden_split.txt").write_text("".join(lines))
    return root


def mixed(root, counts=(("train-100", 6), ("dev", 2), ("test", 3))):
    """Mixtures of two bursts of noise in Libri2Mix's tree, 0.8 s and longer."""
    for part, count in counts:
        for i in range(count):
            pair = [0.3 * speechlike(0.8 + i / 10, 100 * n + i)[:: 1 - 2 * n] for n in (0, 1)]
            for side, wav in zip(("mix_clean", "s1", "s2"), (sum(pair), *pair), strict=True):
                name = f"{2 * i + 1}-7-{i:04d}_{2 * i + 2}-7-{i:04d}.wav"
                audio.write(root / "wav16k" / "min" / part / side / name, wav)
    return root


def mostly_silent(draw, samples):
    """A dog that barks once: digital silence but for 60 ms."""
    wav = np.zeros(samples, np.float32)
    wav[samples // 2 : samples // 2 + 960] = 0.3 * draw.standard_normal(960)
    return wav


def spoil(path, how):
    """Make a good file bad; what the complaint must say."""
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
        return "no audio file"
    if how == "empty":
        path.write_bytes(b"")
        return "empty file"
    if how == "not audio":
        path.write_bytes(b"<html>not found</html>")
        return "cannot be read as audio"
    if how == "cut":
        path.write_bytes(whole[: len(whole) // 2])
        return "cut short|breaks off"
    wav = {
        "no samples": np.zeros(0),
        "not finite": np.array([0.1, np.nan, 0.2]),
        "silent": np.zeros(24_000),
    }[how]
    soundfile.write(path, wav, 16_000, subtype="FLOAT")
    return {
        "no samples": "holds no samples",
        "not finite": "not finite",
        "silent": "digital silence",
    }[how]


BAD = ["missing", "empty", "not audio", "cut", "no samples", "not finite"]


def tree(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
