"""Attention of a block: torch's own, in float32 where a CPU learns in bfloat16."""

import pytest
import torch
from earlyexit_superb.upstreams.backbones.attending import attended
from torch.backends import cuda
from torch.nn import functional as F

KEPT = torch.tensor([True, True, True, False, False])[None, None, None]
ADDED = torch.zeros(1, 1, 1, 5).masked_fill(~KEPT, -torch.inf)
MASKS = {"none": None, "kept": KEPT, "added": ADDED, "added-half": ADDED.bfloat16()}


def parts(dtype: torch.dtype, learn: bool) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    shapes = ((2, 3, 4, 8), (2, 3, 5, 8), (2, 3, 5, 8))
    return [torch.randn(s, generator=rng).to(dtype).requires_grad_(learn) for s in shapes]


def gradients(made: torch.Tensor, by: list[torch.Tensor]) -> list[torch.Tensor]:
    return list(torch.autograd.grad(made.float().square().sum(), by))


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_learner_in_bfloat16_has_what_float32_gives(mask):
    given = parts(torch.bfloat16, learn=True)
    with torch.autocast("cpu", torch.bfloat16):
        made = attended(*given, mask, 0.0)
    wide = [part.detach().float().requires_grad_() for part in given]
    wanted = F.scaled_dot_product_attention(*wide, None if mask is None else ADDED)
    assert made.dtype == torch.float32 and torch.equal(made, wanted)
    for found, right in zip(gradients(made, given), gradients(wanted, wide), strict=True):
        assert torch.equal(found, right.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("learn", [False, True], ids=["reads", "learns"])
def test_otherwise_it_is_the_attention_of_torch(dtype, learn):
    given = parts(dtype, learn)
    wanted = F.scaled_dot_product_attention(*given, KEPT)
    assert torch.equal(attended(*given, KEPT, 0.0), wanted) and wanted.dtype == dtype


def test_who_reads_in_bfloat16_stays_in_it():
    given = parts(torch.bfloat16, learn=False)
    with torch.autocast("cpu", torch.bfloat16):
        assert attended(*given, KEPT, 0.0).dtype == torch.bfloat16


@pytest.mark.parametrize("chosen", [True, False])
def test_no_kernel_is_planned_for_every_size(chosen, monkeypatch):
    """cuDNN's; whoever calls keeps their own choice."""
    before, usual, seen = cuda.cudnn_sdp_enabled(), F.scaled_dot_product_attention, []

    def spy(*given):
        seen.append(cuda.cudnn_sdp_enabled())
        return usual(*given)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    cuda.enable_cudnn_sdp(chosen)
    try:
        attended(*parts(torch.float32, False), KEPT, 0.0)
        assert cuda.cudnn_sdp_enabled() == chosen and seen == [False]
    finally:
        cuda.enable_cudnn_sdp(before)
