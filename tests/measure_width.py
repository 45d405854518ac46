"""Print what filling branches up to a multiple of 16 rows saves: python tests/measure_width.py [ROUNDS]

HuBERT Base with random weights and 504 units hears noise of three lengths, its twelve branches once as wide as they are and once
filled up (`upstreams/_branches.py`), by turns; the share is that of the branches within the same pass, as `speed` prints it.
"""
import sys

import numpy as np
import torch
from earlyexit_superb.benchmark import speed
from earlyexit_superb.benchmark.conformance import noise
from earlyexit_superb.benchmark.race import paired, summed_median
from earlyexit_superb.benchmark.registry import build_upstream


def main() -> None:
    rounds = int(sys.argv[1]) if sys.argv[1:] else 15
    filled = build_upstream("daisy.base", {"weights": "random"}).requires_grad_(False)
    narrow = build_upstream("daisy.base", {"weights": "random"}).requires_grad_(False)
    units = narrow.backbone.net.shape.units
    for branch in narrow.branches:
        branch.weight, branch.bias = (torch.nn.Parameter(p[:units].clone(), requires_grad=False) for p in (branch.weight, branch.bias))
    for seconds in (2.5, 5.0, 10.0):
        stamped = {units: [], filled.branches[0].out_features: []}
        runners = {width: lambda wav, up=up, width=width: stamped[width].append(speed.walk(up, wav, "cpu", True))
                   for width, up in zip(stamped, (narrow, filled), strict=True)}
        paired(runners, [noise(seconds, 0)[0]], rounds, "cpu", f"{seconds} s")
        parts = {width: summed_median(np.stack([s.seconds() for s in all_of[1:]])[:, None])       # the first is warm-up
                 for width, all_of in stamped.items()}
        print(f"{seconds:4} s of audio: all branches take " + ", ".join(
            f"{p[2::2].sum() / (p.sum() - p[2::2].sum()):.2%} of a pass with {width} rows" for width, p in parts.items()))


if __name__ == "__main__":
    main()
