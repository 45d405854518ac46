"""Frames and products of a model that does not state them."""

import pytest
import torch
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.upstreams.backbones.measuring import frame_rule, products
from torch import nn

T, D = 50, 32


@pytest.mark.parametrize("stride", [1, 80, 160, 320, 441, 1280])
@pytest.mark.parametrize("offset", [-399, -1, 0, 160, "up"])
def test_frames_are_found_from_a_few_lengths(stride, offset):
    offset = stride - 1 if offset == "up" else min(offset, stride - 1)  # at most rounded up
    asked = []

    def count(samples):
        asked.append(samples)
        return max(1, (samples + offset) // stride)

    assert frame_rule(count, "x") == (stride, offset)
    assert len(asked) < 35


@pytest.mark.parametrize("count", [lambda n: int(n**0.5), lambda n: n // 320 + (n == 11_113)])
def test_frames_that_follow_no_rule_are_refused(count):
    with pytest.raises(UsageError, match="do not follow from the length"):
        frame_rule(count, "x")


@pytest.mark.parametrize(
    "layer, expected",
    [
        (nn.LSTM(D, D, batch_first=True), 8 * T * D * D),
        (nn.GRU(D, D, batch_first=True), 6 * T * D * D),
        (nn.TransformerEncoderLayer(D, 4, 64, batch_first=True), T * D * (4 * D + 2 * 64 + 2 * T)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_products_inside_fused_kernels_are_counted(layer, expected):
    fast = torch.backends.mha.get_fastpath_enabled()
    x = torch.randn(1, T, D)
    assert products(lambda: layer.eval()(x)) == expected
    assert torch.backends.mha.get_fastpath_enabled() == fast
