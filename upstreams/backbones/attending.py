"""Attention as every block here computes it."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F


def attended(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float
) -> Tensor:
    """(B, H, T, E), twice (B, H, S, E) -> (B, H, T, E), scaled dot products.

    Args:
        mask: True on the keys that may be read, or what is added to the scores; None = all.
        dropout: of the weights.
    """
    if queries.device.type != "cpu" or not _learns_in_half(queries):
        with _without_plans():
            return F.scaled_dot_product_attention(queries, keys, values, mask, dropout)
    # there and back torch's kernel for CPUs takes four times as long in bfloat16
    with torch.autocast("cpu", enabled=False):
        q, k, v = (part.float() for part in (queries, keys, values))
        added = mask.float() if mask is not None and mask.is_floating_point() else mask
        return F.scaled_dot_product_attention(q, k, v, added, dropout)


def _learns_in_half(queries: Tensor) -> bool:
    return torch.is_autocast_enabled("cpu") and queries.requires_grad


@contextlib.contextmanager
def _without_plans() -> Iterator[None]:
    """Without cuDNN's kernel, which torch prefers on newer GPUs in half precision. It is planned
    for every new size, in up to a second there and one back (H200, torch 2.11), and nearly every
    batch of speech is of a new one; torch's own kernels need no plan and take as long."""
    planned = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(planned)
