"""Shapes of HuBERT, and its states beside others'."""

from dataclasses import replace

import torch
from earlyexit_superb.upstreams.backbones.hubert import HubertNet
from earlyexit_superb.upstreams.backbones.hubert_shape import HubertShape
from torch import Tensor, nn

BASE = HubertShape()


LARGE = HubertShape(
    dim=1024,
    depth=24,
    heads=16,
    ffn=4096,
    conv_norm="layer",
    conv_bias=True,
    pre_norm=True,
    normalise_wav=True,
)


SMALL = HubertShape(
    dim=32, depth=3, heads=2, ffn=64, conv_dim=16, pos_kernel=8, pos_groups=4, units=11, unit_dim=8
)


SMALL_LARGE = replace(
    SMALL, pos_kernel=7, conv_norm="layer", conv_bias=True, pre_norm=True, normalise_wav=True
)


# what tells the relatives apart, at that size; distances of 24 to 49 frames reach every bucket
SMALL_WAVLM = replace(SMALL, units=0, buckets=16, max_distance=20)


SMALL_DATA2VEC = replace(
    SMALL, units=0, pos_layers=3, pos_kernel=5, conv_norm="layer", normalise_wav=True
)


# 25 frames a second from an eighth convolution, batch norm before the positional one
SMALL_MHUBERT = replace(
    SMALL,
    units=0,
    pos_batch_norm=True,
    kernels=(*SMALL.kernels, 2),
    strides=(*SMALL.strides, 2),
)


SAMPLES = (8000, 12_345, 16_000)  # 24, 38 and 49 frames: s3prl pads odd counts


@torch.no_grad()
def states(net: HubertNet, wavs: list[Tensor]) -> list[Tensor]:
    """One zero-padded batch -> the states of the depths 0..L."""
    return list(
        net.states(
            nn.utils.rnn.pad_sequence(wavs, batch_first=True), torch.tensor([len(w) for w in wavs])
        )
    )


def padded(net: HubertNet, wavs: list[Tensor]) -> list[Tensor]:
    """The same as one padded batch, as it runs where gradients flow and on other devices."""
    with torch.enable_grad():
        return [x.detach() for x in states.__wrapped__(net, wavs)]


def close(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-5) -> None:
    for depth, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        torch.testing.assert_close(
            a, b, atol=tolerance, rtol=tolerance, msg=lambda said, k=depth: f"state {k}: {said}"
        )


def alone_and_together(
    together: list[Tensor], alone: list[list[Tensor]], tolerance: float = 1e-5
) -> None:
    for row, own in enumerate(alone):
        frames = own[0].shape[1]
        close([x[row : row + 1, :frames] for x in together], own, tolerance)
