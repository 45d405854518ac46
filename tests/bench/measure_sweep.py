"""Print how much faster two workers are than one: python tests/bench/measure_sweep.py [--local]
[CELLS]

A grid of small cells (the toy upstream of the tests on a corpus made here, another seed each) is
swept twice into empty folders, by one worker and by two, each worker with one thread: over Ray
(default) or over local processes (--local). The rows of both must be equal. What the first sweep
leaves in the file cache is warm for both: a cell runs before.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from earlyexit_superb.benchmark import audio

ROOT = Path(__file__).parents[2]


def corpus(root: Path) -> Path:
    """Forty-nine training, seven dev (p226) and six test pairs of harmonics in noise."""
    rng = np.random.default_rng(0)
    for part, speakers, count in (
        ("trainset_28spk", (225, 226, 227, 228, 230, 231, 233, 236), 56),
        ("testset", (232, 257), 6),
    ):
        for i in range(count):
            clean = (
                0.1
                * np.sin(np.cumsum(0.05 + 0.03 * rng.standard_normal(24_000)))
                * (np.sin(np.arange(24_000) / 1800) > -0.3)
            )
            noisy = clean + 10 ** rng.uniform(-2.5, -1.5) * rng.standard_normal(24_000)
            for side, wav in (("clean", clean), ("noisy", noisy)):
                audio.write(
                    root / f"{side}_{part}_wav_16k" / f"p{speakers[i % len(speakers)]}_{i:03d}.wav",
                    wav.astype(np.float32),
                )
    return root


def sweep(data: Path, out: Path, workers: int, seeds: range, how: list[str]) -> float:
    """Seconds of one sweep in a process of its own."""
    line = [
        sys.executable,
        str(ROOT / "run_benchmark.py"),
        "sweep",
        "--upstream",
        f"{ROOT / 'tests' / 'toys' / 'toy.py'}:Toy",
        "--task",
        "se",
        "--seed",
        *map(str, seeds),
        "--data",
        str(data),
        "--protocol",
        "mini",
        "--set",
        "steps=24",
        "eval_every=24",
        "--results",
        str(out),
        "--workers",
        str(workers),
        "--threads",
        "1",
        *how,
    ]
    started = time.perf_counter()
    subprocess.run(
        line,
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"EARLYEXIT_SUPERB_CACHE": str(out / "cache")},
    )
    return time.perf_counter() - started


def main() -> None:
    how = [] if "--local" in sys.argv else ["--ray"]
    cells = int(next((a for a in sys.argv[1:] if a.isdecimal()), 8))
    with tempfile.TemporaryDirectory() as folder:
        data = corpus(Path(folder) / "corpus")
        sweep(data, Path(folder) / "warm", 1, range(1), [])
        one, two = (
            sweep(data, Path(folder) / str(workers), workers, range(cells), how)
            for workers in (1, 2)
        )
        rows = {
            w: {
                p.relative_to(Path(folder) / w): p.read_bytes()
                for p in (Path(folder) / w).glob("se/*/*/*/*.csv")
            }
            for w in ("1", "2")
        }
        assert rows["1"] == rows["2"] and rows["1"], "two workers gave other numbers than one"
    print(
        f"{cells} cells over {'Ray' if how else 'local processes'}: one worker {one:.1f} s, two "
        f"workers {two:.1f} s, {one / two:.2f} times faster; {len(rows['1'])} rows with equal "
        "scores of every utterance"
    )


if __name__ == "__main__":
    main()
