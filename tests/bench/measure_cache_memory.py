"""Peak memory of recording and of reading a trace, for a corpus and for one eight times as
long: it should not grow.

    python tests/bench/measure_cache_memory.py [minutes]

Utterances of 2 to 12 s of noise go through hubert.tiny's shape with random weights; each line is
a process of its own.
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def items_of(folder: Path, minutes: float):
    """Items whose waveforms are made when they are asked for, and a loader."""
    import numpy as np
    import torch
    from earlyexit_superb.benchmark.contract import Example, Item

    rng, items = np.random.default_rng(0), []
    (folder / "audio").touch()
    while sum(i.samples for i in items) < minutes * 60 * 16_000:
        items.append(
            Item(
                f"u{len(items)}",
                folder / "audio",
                int(rng.integers(32_000, 192_000)),
                start=1_000_000 * len(items),
            )
        )
    return items, lambda item: Example(
        item.id,
        0.1 * torch.randn(item.samples, generator=torch.Generator().manual_seed(item.start)),
        None,
    )


def work(minutes: float, pooled: bool, read: bool) -> None:
    import torch
    from earlyexit_superb.benchmark.engine.feature_cache import cached_features
    from earlyexit_superb.benchmark.engine.heads import batch_rows
    from earlyexit_superb.benchmark.registry import build_upstream

    torch.set_num_threads(1)
    items, load = items_of(Path(os.environ["EARLYEXIT_SUPERB_CACHE"]), minutes)
    kept = cached_features(
        build_upstream("hubert.tiny", {"weights": "random"}).requires_grad_(False),
        items,
        load,
        "noise",
        pooled=pooled,
    )
    if read:
        for i in range(2 * len(items) // 8):
            kept.batch(batch_rows(len(items), 8, 0, i))
    size = sum(s["bytes"] for s in kept.manifest["shards"]) / 2**20
    print(
        f"{minutes:6.1f} min of audio, {len(items):5} utterances, {size:8.1f} MiB of "
        f"{'pooled ' if pooled else ''}states in {len(kept.manifest['shards'])} shards, "
        f"{'read twice' if read else 'recorded  '}: peak memory "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:7.1f} MiB",
        flush=True,
    )


if __name__ == "__main__":
    if len(sys.argv) == 4:
        work(float(sys.argv[1]), sys.argv[2] == "pooled", sys.argv[3] == "read")
        sys.exit()
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    with tempfile.TemporaryDirectory() as cache:
        for kind in ("frames", "pooled"):
            for length in (minutes, 8 * minutes):
                for step in ("record", "read"):
                    subprocess.run(
                        [sys.executable, __file__, str(length), kind, step],
                        check=True,
                        stderr=subprocess.DEVNULL,
                        env=os.environ | {"EARLYEXIT_SUPERB_CACHE": cache},
                    )
