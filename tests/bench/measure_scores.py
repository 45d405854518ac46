"""Print what PESQ and STOI take as the packages come and as this project calls them, and whether
the scores are the same to the last bit: python tests/bench/measure_scores.py FOLDER [FILES]

FOLDER is searched for recordings (wav, flac); at most FILES of them, 150, are heard up to 5 s, in
white noise, half of them with half a second of silence at the end.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pesq
import pystoi
from earlyexit_superb.benchmark.audio import read
from earlyexit_superb.benchmark.metrics import pesq_wb, stoi

RATE = 16_000
METRICS = {
    "pesq": (lambda clean, noisy: pesq.pesq(RATE, clean, noisy, "wb"), pesq_wb),
    "stoi": (lambda clean, noisy: pystoi.stoi(clean, noisy, RATE), stoi),
}


def pairs(folder: Path, most: int) -> list[tuple[np.ndarray, np.ndarray]]:
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".wav", ".flac"))
    random.Random(0).shuffle(files)
    rng, made = np.random.default_rng(0), []
    for path in files[:most]:
        clean = np.asarray(read(path), np.float32)[: 5 * RATE].copy()
        noise = 10 ** rng.uniform(-4, -1) * rng.standard_normal(len(clean))
        noisy = (clean + noise).astype(np.float32)
        if rng.random() < 0.5:
            clean[-RATE // 2 :] = 0
        made.append((clean, noisy))
    return made


def timed(score: Callable, heard: list) -> tuple[list, float, float]:
    """The scores, seconds by the clock and of CPU."""
    clock, cpu, found = time.perf_counter(), time.process_time(), []
    for clean, noisy in heard:
        try:
            found.append(float(score(clean, noisy)))
        except Exception:
            found.append(None)
    return found, time.perf_counter() - clock, time.process_time() - cpu


def main() -> None:
    heard = pairs(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 150)
    for name, (theirs, ours) in METRICS.items():
        timed(ours, heard[:1])  # imports
        expected, clock, cpu = timed(theirs, heard)
        found, our_clock, our_cpu = timed(ours, heard)
        scored = [i for i, value in enumerate(expected) if value is not None]
        same = sum(found[i] == expected[i] for i in scored)
        print(f"{name}: {same} of {len(scored)} the same; {clock:.1f} s, {cpu:.1f} s of CPU by the "
              f"package, {our_clock:.1f} s, {our_cpu:.1f} s of CPU here")  # fmt: skip


if __name__ == "__main__":
    main()
