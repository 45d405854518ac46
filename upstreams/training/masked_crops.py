"""Batches for masked prediction: convolution outputs, the units of their frames, and span masks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...benchmark import distributed
from .heard import Heard
from .hubert_recipe import HubertRecipe

LOOKS = 8  # batches of a look at held-out speech
NONE = -100  # as torch's cross entropy leaves out


@dataclass(frozen=True)
class Crops:
    """One batch, on the training's device; (B, T) unless said otherwise.

    Attributes:
        heard, clean: (B, T, C) convolution outputs.
        units: of the clean speech; NONE where none is asked for.
        mask: True where masked.
        masked, opened: frames of either kind in the whole batch, whoever computes which rows.
    """

    heard: Tensor
    clean: Tensor
    units: Tensor
    mask: Tensor
    masked: int
    opened: int


class Draw:
    """Batches with their units and masks, as functions of a random generator."""

    def __init__(self, recipe: HubertRecipe, heard: Heard, units: list[np.ndarray], device: str):
        self.recipe, self.heard, self.units, self.device = recipe, heard, units, device

    def __call__(self, rng: np.random.Generator, held_out: bool = False) -> Crops:
        """The rows that are this process's; of held-out speech all."""
        r = self.recipe
        x, clean, noisy, places = self.heard.crops(rng, r, held_out)
        units = np.stack([self.units[clip][at : at + r.frames] for clip, at in places])
        mask = span_mask(rng, r.batch, r.frames, r.mask_start, r.mask_span)
        if not r.noisy_units:
            units[noisy], mask[noisy] = NONE, False
        masked = max(1, int(mask.sum()))  # crops that are all heard with noise may have none
        own = slice(None) if held_out else distributed.share(r.batch)
        tensors = (x, clean, torch.from_numpy(units).long(), torch.from_numpy(mask))
        x, clean, target, mask = (t[own].to(self.device) for t in tensors)
        opened = max(1, r.batch * r.frames - masked)
        return Crops(x, clean, target, mask, masked, opened)

    def held_out(self, seed: int) -> Iterator[Crops]:
        rng = np.random.default_rng(seed)
        for _ in range(LOOKS):
            yield self(rng, held_out=True)


def span_mask(
    rng: np.random.Generator, batch: int, frames: int, start: float, span: int
) -> np.ndarray:
    """(B, T) True where masked: each frame starts a masked span with probability `start`."""
    starts = rng.random((batch, frames)) < start
    mask = np.zeros_like(starts)
    for shift in range(min(span, frames)):
        mask[:, shift:] |= starts[:, : frames - shift]
    mask[:, 0] |= ~mask.any(1)  # a row without a mask would have no loss
    return mask
