"""Print what filling branches up to a multiple of 16 rows saves.

    python tests/bench/measure_width.py [ROUNDS]

HuBERT Base with random weights and 504 units hears noise of three lengths, its twelve branches once
as wide as they are and once filled up (`upstreams/backbones/entropy_branches.py`), by turns; the
share is that of the branches within the same pass, as `speed` prints it.
"""

import sys

import torch
from earlyexit_superb.benchmark.conformance.probe import noise
from earlyexit_superb.benchmark.engine.speed_bench import Bench
from earlyexit_superb.benchmark.engine.speed_exits import Walks
from earlyexit_superb.benchmark.engine.timing import paired
from earlyexit_superb.benchmark.registry import build_upstream


@torch.no_grad()
def main() -> None:
    rounds = int(sys.argv[1]) if sys.argv[1:] else 15
    filled = build_upstream("daisy.base", {"weights": "random"}).requires_grad_(False)
    narrow = build_upstream("daisy.base", {"weights": "random"}).requires_grad_(False)
    units = narrow.backbone.net.shape.units
    for branch in narrow.branches:
        branch.weight, branch.bias = (
            torch.nn.Parameter(p[:units].clone(), requires_grad=False)
            for p in (branch.weight, branch.bias)
        )
    for seconds in (2.5, 5.0, 10.0):
        wavs = [noise(seconds, 0)[0]]
        walks = {
            up.branches[0].bias.numel(): Walks(Bench(up, "fp32", "cpu", wavs, rounds), True)
            for up in (narrow, filled)
        }
        paired(walks, wavs, rounds, "cpu", f"{seconds} s")
        shares = {}
        for width, walk in walks.items():
            parts, branches = walk.parts(), walk.of_branches()
            shares[width] = parts[branches].sum() / parts[~branches].sum()
        said = ", ".join(f"{share:.2%} of a pass with {n} rows" for n, share in shares.items())
        print(f"{seconds:4} s of audio: all branches take {said}")


if __name__ == "__main__":
    main()
