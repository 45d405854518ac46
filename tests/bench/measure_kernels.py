"""Print what two kernels take on a GPU in bfloat16, as torch chooses them and as ours are: python
tests/bench/measure_kernels.py [DEVICE]

Convolutions of positions at HuBERT Base's size, there, and there and back; and attention of sizes
that this process has not met, there and back, each a first time.
"""

import sys
import time

import torch
from earlyexit_superb.upstreams.backbones.attending import attended
from earlyexit_superb.upstreams.backbones.positions import in_wide_groups
from torch.nn import functional as F

ROUNDS, SIZES = 7, (131, 157, 203, 251)


def milliseconds(work) -> float:
    wait = torch.cuda.synchronize if torch.cuda.is_available() else int
    wait()
    begun = time.perf_counter()
    work()
    wait()
    return 1000 * (time.perf_counter() - begun)


def main() -> None:
    device = sys.argv[1] if sys.argv[1:] else "cuda"
    conv = torch.nn.Conv1d(768, 768, 128, padding=64, groups=16).to(device, torch.bfloat16)
    x = torch.randn(8, 250, 768, device=device, dtype=torch.bfloat16, requires_grad=True)
    for name, way in (
        ("torch's", lambda: conv(x.mT).mT),
        ("ours", lambda: in_wide_groups(conv, x)),
    ):
        both = (torch.no_grad()(way), lambda way=way: way().float().square().sum().backward())
        took = [sorted(milliseconds(work) for _ in range(ROUNDS))[ROUNDS // 2] for work in both]
        print(f"positions, {name}: {took[0]:.2f} ms, there and back {took[1]:.2f}")
    ways = {"torch's": F.scaled_dot_product_attention, "ours": lambda *given: attended(*given, 0.0)}
    for name, way in ways.items():
        took = []
        for frames in SIZES:
            shape = (8, 12, frames, 64)
            parts = [torch.randn(shape, device=device, dtype=torch.bfloat16) for _ in range(3)]
            given = [part.requires_grad_() for part in parts]
            mask = (torch.arange(frames, device=device) < frames - 5)[None, None, None]
            took.append(
                milliseconds(lambda way=way, g=given, m=mask: way(*g, m).float().sum().backward())
            )
        print(f"attention of new sizes, {name}: {', '.join(f'{ms:.1f}' for ms in took)} ms")


if __name__ == "__main__":
    main()
