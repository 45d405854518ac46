"""How a trunk is walked while it learns: the states of every depth, with frames and features
masked, blocks left out and dropout, none of which an upstream's own `states` has. Masks are of what
enters the blocks of a HuBERT, and of the spectrum that a Conformer hears (Park et al., 2019,
SpecAugment).

A block that is left out leaves the state as it was, so depth k stays depth k and every exit reads
the state at its own number (fairseq/models/wav2vec/wav2vec2.py, layerdrop).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...benchmark.contract import Upstream
from ...benchmark.contract.wrapper import WaveformTransform
from ..backbones.conformer_trunk import ConformerTrunk
from ..backbones.hubert import HubertNet
from ..backbones.hubert_shape import frame_counts
from ..backbones.pretrained import PretrainedEncoder
from .disturbed import span_rows
from .recognition_recipe import RecognitionRecipe


@dataclass(frozen=True)
class Changes:
    """What the input of one batch is changed by.

    Attributes:
        recipe: how many spans of frames and features are masked.
        rngs: of every row; () = nothing is masked.
        blocks: those that are run, from 1 on; () = all.
        filling: (D,) what stands in a masked frame; None = zeros.
    """

    recipe: RecognitionRecipe
    rngs: Sequence[np.random.Generator] = ()
    blocks: Sequence[int] = ()
    filling: Tensor | None = None

    def __call__(self, x: Tensor, frames: Tensor) -> Tensor:
        """(B, T, D), (B,) valid frames -> (B, T, D)"""
        recipe, (rows, _, dim) = self.recipe, x.shape
        if self.rngs and recipe.mask_prob:
            spans = recipe.mask_prob, recipe.mask_width, recipe.mask_least
            mask = span_rows(self.rngs, frames.tolist(), *spans)
            filling = x.new_zeros(dim) if self.filling is None else self.filling.to(x.dtype)
            x = torch.where(padded_to(mask, x.shape[1]).to(x.device)[..., None], filling, x)
        if self.rngs and recipe.channel_prob:
            width = recipe.channel_width
            mask = span_rows(self.rngs, [dim] * rows, recipe.channel_prob, width)
            x = x.masked_fill(mask.to(x.device)[:, None], 0.0)
        return x


def padded_to(mask: Tensor, frames: int) -> Tensor:
    """(B, T) -> (B, frames), False behind."""
    return F.pad(mask, (0, frames - mask.shape[1]))


def states(trunk: Upstream, wavs: Tensor, lengths: Tensor, changes: Changes) -> Iterator[Tensor]:
    """The (B, T, D) states of depth 0, 1, ..., L of a zero-padded batch."""
    if isinstance(trunk, WaveformTransform):
        with torch.autocast(wavs.device.type, enabled=False):  # a waveform stays as fine as it is
            wavs, lengths = trunk.transform(wavs, lengths), trunk.heard(lengths)
        return states(trunk.inner, wavs, lengths, changes)
    if encoder_of(trunk) is not None:
        return _of_encoder(trunk, wavs, lengths, changes)
    if isinstance(trunk, ConformerTrunk):
        return trunk.net.states(wavs, lengths, *([changes] if changes.rngs else []))
    return trunk.states(wavs, lengths)


def encoder_of(trunk: Upstream) -> HubertNet | None:
    """The HuBERT or the relative inside a trunk; None where there is none."""
    if isinstance(trunk, WaveformTransform):
        return encoder_of(trunk.inner)
    return trunk.net if isinstance(trunk, PretrainedEncoder) else None


def _of_encoder(
    trunk: PretrainedEncoder, wavs: Tensor, lengths: Tensor, changes: Changes
) -> Iterator[Tensor]:
    """Dropout before masks and before the blocks as transformers' Wav2Vec2Model has them
    (feat_proj_dropout, hidden_dropout) and fairseq's (dropout_input, dropout)."""
    net, residual, recipe = trunk.net, trunk.tap == "residual", changes.recipe
    x = F.dropout(_front(net, wavs, lengths), recipe.projection_dropout, net.training)
    x = changes(x, frame_counts(lengths, net.shape))
    mask = net.attention_mask(x, lengths)
    x = F.dropout(net.position(x, mask), recipe.dropout, net.training)
    yield x
    bias, last = net.relative_bias(x.shape[1]), net.shape.depth
    for depth in range(1, last + 1):
        if not changes.blocks or depth in changes.blocks:
            x = net.outputs(depth, x, mask, bias, residual)[0]
        elif depth == last and net.shape.pre_norm and not residual:
            x = net.encoder.layer_norm(x)  # it belongs to the state, not to the block
        yield x


def _front(net: HubertNet, wavs: Tensor, lengths: Tensor) -> Tensor:
    """`net.project`, by the quicker way of a CPU where the convolutions do not learn."""
    learns = any(p.requires_grad for p in net.feature_extractor.parameters())
    if learns or wavs.requires_grad or wavs.device.type != "cpu":
        return net.project(wavs, lengths)
    rows = zip(wavs, lengths.tolist(), strict=True)
    with torch.no_grad():
        convolved = [net.convolve_alone(wav[:samples]) for wav, samples in rows]
    return net.projected(nn.utils.rnn.pad_sequence(convolved, batch_first=True), lengths)


def drop_out(net: HubertNet, recipe: RecognitionRecipe) -> None:
    """Dropout in every block of a network, whenever it is in training mode."""

    def some(share: float):
        return lambda module, given, made: F.dropout(made, share, module.training)

    def some_entering(share: float):
        return lambda module, given: (F.dropout(given[0], share, module.training), *given[1:])

    for block in net.encoder.layers:
        block.attention.dropout = recipe.attention_dropout
        if recipe.dropout:
            block.attention.register_forward_hook(some(recipe.dropout))
            block.feed_forward.register_forward_hook(some(recipe.dropout))
        if recipe.activation_dropout:
            entering = some_entering(recipe.activation_dropout)
            block.feed_forward.output_dense.register_forward_pre_hook(entering)
