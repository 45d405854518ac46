"""The convolutional front-end of HuBERT and its relatives: samples in, 50 frames a second out.

Baevski et al., 2020 (wav2vec 2.0, sec. 2). Base models normalise the first convolution over time (a
group norm with one group a channel): run as usual, on a zero-padded batch, that statistic includes
the padding and every state of a shorter utterance changes. Here it is taken over each utterance's
valid frames.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...benchmark.masking import valid_mask
from .hubert_shape import HubertShape, frame_counts

# frames that `Convolutions.alone` makes at a time: 2 s, whose widest layer (13 MB) stays in the
# cache
PIECE = 100


class Convolutions(nn.Module):
    """Strided convolutions, seven as a rule: a frame sees 400 samples, the next begins 320 samples
    later.

    Shape: (B, N) samples and (B,) valid samples -> (B, T, C).
    """

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.shape, self.norm = shape, shape.conv_norm
        self.conv_layers = nn.ModuleList()
        for i, (kernel, stride) in enumerate(zip(shape.kernels, shape.strides, strict=True)):
            inputs = 1 if i == 0 else shape.conv_dim
            layer = nn.Module()
            layer.conv = nn.Conv1d(inputs, shape.conv_dim, kernel, stride, bias=shape.conv_bias)
            if not layer.conv.weight.is_meta:  # where there is nothing to fill, it imports dynamo
                nn.init.kaiming_normal_(layer.conv.weight)
            # The shape is (out, in, kernel) as usual; in memory the inputs of one tap are
            # contiguous, for `alone`.
            layer.conv.weight = nn.Parameter(layer.conv.weight.data.mT.contiguous().mT)
            if shape.conv_norm == "layer":
                layer.layer_norm = nn.LayerNorm(shape.conv_dim)
            elif i == 0:
                layer.layer_norm = nn.GroupNorm(shape.conv_dim, shape.conv_dim)
            self.conv_layers.append(layer)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        # on the host, so that no decision by lengths waits for the device
        x, n = wavs[:, None], lengths.cpu()
        for i, layer in enumerate(self.conv_layers):
            x, n = layer.conv(x), (n - self.shape.kernels[i]) // self.shape.strides[i] + 1
            if self.norm == "layer":
                x = layer.layer_norm(x.mT).mT
            elif i == 0:
                x = norm_over_valid_frames(x, n, layer.layer_norm)
            x = F.gelu(x)
        return x.mT

    def alone(self, wav: Tensor) -> Tensor:
        """(N,) -> (T, C), as `forward` of one utterance, in pieces that fit the CPU's cache: each
        layer is a matrix product over (time, channels).
        """
        weight, bias = self._first(wav)
        stride, seen = self.shape.stride, self.shape.shortest
        frames = frame_counts(len(wav), self.shape)
        pieces = []
        for start in range(0, frames, PIECE):
            last = min(start + PIECE, frames) - 1
            samples = wav[stride * start : stride * last + seen]
            pieces.append(self._piece(samples, weight, bias))
        return torch.cat(pieces)

    def _first(self, wav: Tensor) -> tuple[Tensor, Tensor | None]:
        """(C, 10), (C,): the first convolution with its group norm folded in.

        Mean and variance over time of a linear map follow from the mean and covariance of its
        inputs, the ten samples of each step.
        """
        layer = self.conv_layers[0]
        weight, bias = layer.conv.weight[:, 0], layer.conv.bias
        if self.norm == "layer":
            return weight, bias
        inputs, wide = self._steps(wav.double()), weight.double()
        mean = inputs.mean(0)
        covariance = (inputs - mean).T @ (inputs - mean) / len(inputs)
        variance = ((wide @ covariance) * wide).sum(1)
        scale = layer.layer_norm.weight * (variance + layer.layer_norm.eps).rsqrt()
        wide = wide * scale[:, None]
        # a bias of the convolution cancels with the mean
        return wide.float(), (layer.layer_norm.bias - wide @ mean).float()

    def _steps(self, wav: Tensor) -> Tensor:
        """(N,) -> (T', 10): what each step of the first convolution reads."""
        return wav.unfold(0, self.shape.kernels[0], self.shape.strides[0])

    def _piece(self, wav: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = F.linear(self._steps(wav), weight, bias)
        for i, layer in enumerate(self.conv_layers):
            x = x if i == 0 else by_twos(x, layer.conv)
            x = F.gelu(layer.layer_norm(x) if self.norm == "layer" else x)
        return x


def by_twos(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """(T, C) -> (T', C'): a convolution of stride 2 and 2 or 3 taps. Two successive steps are one
    row in memory, so nothing is copied.
    """
    channels, kernel = x.shape[1], conv.kernel_size[0]
    taps = conv.weight.mT.flatten(1)  # (C', kernel * C), a view
    n = (len(x) - kernel) // 2 + 1
    y = F.linear(x[: 2 * n].view(n, 2 * channels), taps[:, : 2 * channels], conv.bias)
    if kernel == 2:
        return y
    return y.addmm_(x[2 : 2 * n + 1 : 2].to(y), taps[:, 2 * channels :].T.to(y))


def norm_over_valid_frames(x: Tensor, frames: Tensor, norm: nn.GroupNorm) -> Tensor:
    """(B, C, T) normalised over time, each row with the mean and variance of its first
    `frames` steps only.
    """
    if bool((frames == x.shape[-1]).all()):
        return norm(x)
    frames = frames.to(x.device, non_blocking=True)
    valid = valid_mask(frames, x.shape[-1])[:, None]  # (B, 1, T)
    count, dtype = frames[:, None, None], x.dtype
    x = x.float()  # statistics in full precision, as torch's own norm takes them
    mean = (x * valid).sum(-1, keepdim=True) / count
    centred = x - mean
    variance = (centred.square() * valid).sum(-1, keepdim=True) / count
    scaled = centred * (variance + norm.eps).rsqrt()
    return (scaled * norm.weight[:, None] + norm.bias[:, None]).to(dtype)
