"""Take out of every block's output the vector that is the same in every frame, without changing what the network computes.

A post-norm network trained for long keeps most of a state's power in one constant vector. Softmax and linear layers do not
mind, but whoever normalises a state over its features (DAISY, eq. 4; MiniSUPERB) divides by that constant and flattens what
differs. A constant taken off one block's last bias can be given back by the biases of everything that reads it: the next
block's attention, its residual path, and the self-supervised head. So logits, units and attention stay as they are
(tests/test_training.py), and states become zero-mean over speech.
"""
from collections.abc import Iterable

import torch
from torch import Tensor

from ._hubert import HubertNet


@torch.no_grad()
def mean_states(net: HubertNet, wavs: Iterable[Tensor]) -> list[Tensor]:
    """(1, N) utterances, one at a time -> L+1 of (D,): the means over all frames of what enters block 1 and of every block's output."""
    total, frames = [0.0] * (net.shape.depth + 1), 0
    for wav in wavs:
        x = net.position(net.project(wav, torch.tensor([wav.shape[1]], device=wav.device)))
        for k, state in enumerate([x, *net.blocks(x, None)]):
            total[k] = total[k] + state.double().sum((0, 1))
        frames += x.shape[1]
    return [(t / frames).float() for t in total]


@torch.no_grad()
def centre(net: HubertNet, means: list[Tensor]) -> None:
    """Subtract `means`, as `mean_states` gives them, from the states of a post-norm `net`, in place."""
    net.encoder.layer_norm.bias -= means[0]
    for block, before, after in zip(net.encoder.layers, means[:-1], means[1:], strict=True):
        for projection in (block.attention.q_proj, block.attention.k_proj, block.attention.v_proj):
            projection.bias += projection.weight @ before
        block.attention.out_proj.bias += before          # the residual path: x + attention(x)
        block.final_layer_norm.bias -= after
    if net.head is not None:
        net.head.final_proj.bias += net.head.final_proj.weight @ means[-1]
