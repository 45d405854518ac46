"""Print what torch does in bfloat16 on this CPU: python tests/bench/measure_bfloat16.py

Convolutions whose sums are wrong, by channels a group and width, and how long attention takes there
and back beside float32, on one thread.
"""

import time
from itertools import product

import torch
from torch.nn import functional

CHANNELS, WIDTHS = (2, 4, 8, 12, 14, 16, 24, 48), (8, 9, 16, 31, 32, 64, 127, 128, 129)
WRONG = 0.02  # relative error; rounding alone makes 0.003
SHAPE = (8, 4, 100, 48)  # utterances, heads, frames, features of a head
ROUNDS = 10


@torch.no_grad()
def error(channels: int, width: int) -> float:
    conv = torch.nn.Conv1d(16 * channels, 16 * channels, width, padding=width // 2, groups=16)
    x = torch.randn(2, 16 * channels, 200)
    wanted = conv(x)
    with torch.autocast("cpu", torch.bfloat16):
        return float((wanted - conv(x).float()).norm() / wanted.norm())


def milliseconds(kind: torch.dtype, masked: bool) -> float:
    q, k, v = (torch.randn(SHAPE, dtype=kind, requires_grad=True) for _ in range(3))
    mask = torch.ones(SHAPE[0], 1, 1, SHAPE[2], dtype=torch.bool) if masked else None
    begun = 0.0
    for i in range(ROUNDS + 1):
        begun = time.perf_counter() if i == 1 else begun  # after a first one
        functional.scaled_dot_product_attention(q, k, v, mask).sum().backward()
    return 1e3 * (time.perf_counter() - begun) / ROUNDS


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for channels, width in product(CHANNELS, WIDTHS):
        if (found := error(channels, width)) > WRONG:
            print(f"wrong: {channels} channels a group, width {width}: error {found:.2f}")
    for masked in (False, True):
        full, half = (milliseconds(kind, masked) for kind in (torch.float32, torch.bfloat16))
        told = f"attention{', masked' if masked else ''}"
        print(f"{told}: {full:.1f} ms in float32, {half:.1f} in bfloat16")


if __name__ == "__main__":
    main()
