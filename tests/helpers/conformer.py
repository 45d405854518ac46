"""Shapes of Conformers, and torchaudio's with the same weights."""

import torch
from earlyexit_superb.upstreams.backbones.conformer import ConformerNet
from earlyexit_superb.upstreams.backbones.conformer_shape import ConformerShape
from torch import Tensor, nn

from helpers.libraries import library, unlike_new

SMALL = ConformerShape(dim=16, depth=3, heads=2, ffn=24, kernel=7, mels=20)
CTC = ConformerShape()  # Conformer-CTC of the paper


def net_of(shape: ConformerShape) -> ConformerNet:
    torch.manual_seed(4)
    return unlike_new(ConformerNet(shape))


def of_torchaudio(net: ConformerNet) -> nn.Module:
    """torchaudio's encoder with the blocks' weights."""
    shape = net.shape
    made = library("torchaudio").models.Conformer(
        shape.dim, shape.heads, shape.ffn, shape.depth, shape.kernel, shape.dropout
    )
    ours = {k: v for k, v in net.state_dict().items() if k.startswith("conformer_layers.")}
    missing, unknown = made.load_state_dict(ours, strict=False)
    assert not unknown and all(name.endswith("num_batches_tracked") for name in missing)
    return made.eval()


@torch.no_grad()
def states_of_torchaudio(model: nn.Module, x: Tensor, frames: Tensor) -> list[Tensor]:
    """(B, T, D) what enters block 1 -> what leaves every block, in double precision."""
    model, x, out = model.double(), x.double().transpose(0, 1), []
    padding = torch.arange(len(x)) >= frames[:, None]
    for layer in model.conformer_layers:
        x = layer(x, padding)
        out.append(x.transpose(0, 1).float())
    return out
