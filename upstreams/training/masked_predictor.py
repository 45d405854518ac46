"""What masked prediction trains: a network, the heads that name units, and what tells its input."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..backbones.hubert import HubertNet
from ..backbones.hubert_shape import HubertShape
from ..backbones.transformer import SelfSupervisedHead
from .front_end import half, initialise
from .masked_crops import Crops


class Predictor(nn.Module):
    """A network that predicts units at masked frames, and tells what its convolutions gave.

    Its blocks and projections begin as those of `warm`; the units' embeddings are new.

    Args:
        every: whether every block tells, not the last alone.
        deep: whether blocks before the last predict, too.
    """

    def __init__(self, shape: HubertShape, warm: HubertNet, every: bool, deep: bool):
        super().__init__()
        self.net = HubertNet(shape)
        self.mask_embedding = nn.Parameter(torch.empty(shape.dim).uniform_())
        tellers = shape.depth if every else 1
        self.carried = nn.ModuleList(nn.Linear(shape.dim, shape.conv_dim) for _ in range(tellers))
        earlier = shape.depth - 1 if deep else 0
        self.earlier = nn.ModuleList(SelfSupervisedHead(shape) for _ in range(earlier))
        initialise(self.net)
        state = {k: v for k, v in warm.state_dict().items() if not k.startswith("head.label")}
        self.net.load_state_dict(state, strict=False)
        self.net.feature_extractor.requires_grad_(False)

    def states(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        """(B, T, C) convolution outputs, (B, T) -> (B, T, D): projected, and of every block."""
        projection = self.net.feature_projection
        with _plain_products(x):
            x = projected = projection.projection(projection.layer_norm(x))
            x = torch.where(mask[..., None], self.mask_embedding.to(x.dtype), x)
            return [projected, *self.net.blocks(self.net.position(x), None)]

    def naming_error(
        self, states: list[Tensor], crops: Crops, unmasked: float, deep: float
    ) -> Tensor:
        """() cross entropy of the units, mean over masked frames plus `unmasked` times open ones:
        the last block's, and block k's of L times `deep` k / L."""
        error = _naming_error(self.net.head(states[-1]), crops, unmasked)
        for k, head in enumerate(self.earlier, 1):
            weight = deep * k / self.net.shape.depth
            error = error + weight * _naming_error(head(states[k]), crops, unmasked)
        return error

    def carry_error(self, states: list[Tensor], crops: Crops) -> Tensor:
        """() squared, summed over frames that are not masked; mean over channels and tellers."""
        clean = F.layer_norm(crops.clean, crops.clean.shape[-1:])
        tellers = zip(self.carried, states[-len(self.carried) :], strict=True)
        errors = [
            (tell(state).float() - clean)[~crops.mask].square().mean(-1).sum()
            for tell, state in tellers
        ]
        return torch.stack(errors).mean()


def _naming_error(logits: Tensor, crops: Crops, unmasked: float) -> Tensor:
    """(B, T, units) -> ()"""
    ce = F.cross_entropy(logits.flatten(0, 1).float(), crops.units.flatten(), reduction="none")
    mask = crops.mask.flatten()
    return ce[mask].sum() / crops.masked + unmasked * ce[~mask].sum() / crops.opened


def _plain_products(x: Tensor) -> AbstractContextManager:
    """Attention as matrix products on a CPU, which bf16 suits there."""
    return sdpa_kernel(SDPBackend.MATH) if x.device.type == "cpu" else nullcontext()


def look(model: Predictor, batches: Iterator[Crops], device: str) -> dict[str, float]:
    """On held-out clean speech: how often each second block's output names the right unit, by its
    own head where it has one."""
    depth = model.net.shape.depth
    heads = [*(model.earlier or [model.net.head] * (depth - 1)), model.net.head]
    right, masked, open_right, opened, errors = np.zeros(depth), 0, 0, 0, []
    for crops in batches:
        with half(device):
            states = [x.float() for x in model.states(crops.heard, crops.mask)[1:]]
        errors.append(float(model.carry_error(states, crops)) / crops.opened)
        named = [head(x).argmax(-1) for head, x in zip(heads, states, strict=True)]
        hits = [units == crops.units for units in named]
        right += [int(hit[crops.mask].sum()) for hit in hits]
        open_right += int(hits[-1][~crops.mask].sum())
        masked, opened = masked + crops.masked, opened + crops.opened
    shares = {f"masked@{k}": right[k - 1] / masked for k in range(2, depth + 1, 2)}
    return {**shares, "unmasked": open_right / opened, "carry_error": float(np.mean(errors))}
