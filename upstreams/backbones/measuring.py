"""What a model of another library does not say of itself, measured: its frames, and its cost."""

import warnings
from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ...benchmark.errors import UsageError

SHORTEST = 800  # samples: anything shorter is zero-padded to 0.05 s, as s3prl's S3PRLUpstream does
FAR = (16_000, 64_000)  # samples, so far apart that their frames nearly tell the stride
NEAR = 1600  # samples, from where the next two frames are looked for
VERIFIED = (SHORTEST, 11_113, *FAR)


def frame_rule(count: Callable[[int], int], who: str) -> tuple[int, int]:
    """(stride, offset) with which N samples have (N + offset) // stride frames, at least one.

    Convolutions, framed spectra and rounding up all follow such a rule. Stride and offset are read
    off the two lengths at which a short clip gets one frame more and another one; then the rule
    must hold at other lengths.

    Args:
        count: samples -> frames.
        who: as the sentence begins.
    Raises: UsageError where the frames follow no such rule.
    """
    counts = {n: count(n) for n in VERIFIED}
    few, many = (counts[n] for n in FAR)
    if many <= few:
        raise UsageError(
            f"{who} gives {few} frames for {FAR[0]} samples and {many} for {FAR[1]}: no sequence "
            "in time, which every task here reads"
        )
    about = 1.25 * (FAR[1] - FAR[0]) / (many - few)
    first = _next_frame(count, NEAR, about)
    stride = max(1, _next_frame(count, first, about) - first)
    offset = count(first) * stride - first
    wrong = [n for n in VERIFIED if counts[n] != max(1, (n + offset) // stride)]
    if wrong:
        raise UsageError(
            f"{who} gives {counts[wrong[0]]} frames for {wrong[0]} samples, where one every "
            f"{stride} samples would be {max(1, (wrong[0] + offset) // stride)}: its frames do not "
            "follow from the length, so they cannot be lined up with a target"
        )
    return stride, offset


def _next_frame(count: Callable[[int], int], low: int, about: float) -> int:
    """The smallest number of samples above `low` that has more frames; about so far away."""
    frames, high = count(low), low + max(1, round(about))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= frames else (low, middle)
    return high


@torch.no_grad()
def products(forward: Callable[[], object]) -> int:
    """Multiply-accumulates of matrix products, convolutions and attention, by torch's counter.

    It does not see inside fused kernels (attention, recurrent layers, whole encoder layers), so
    those are taken apart meanwhile.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # switching the kernels says something about TF32
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False, allow_tf32=False))
        fast = torch.backends.mha.get_fastpath_enabled()
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        counter = stack.enter_context(FlopCounterMode(display=False))
        forward()
        return counter.get_total_flops() // 2
