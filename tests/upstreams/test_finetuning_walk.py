"""A trunk as it is walked while it learns: its own states, but for what is asked to be changed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from earlyexit_superb.upstreams.backbones.pretrained import PretrainedEncoder
from earlyexit_superb.upstreams.backbones.shortened import Shortened
from earlyexit_superb.upstreams.backbones.waveform_filters import ShorteningFilter
from earlyexit_superb.upstreams.training import trunk_walk
from earlyexit_superb.upstreams.training.disturbed import chunked, span_rows, spans, sped
from helpers.hubert import SMALL, SMALL_LARGE, SMALL_WAVLM, close
from helpers.spelling import RECIPE
from torch import nn


class Encoder(PretrainedEncoder):
    family, published, source = "encoder", {}, "tests"
    shapes = {"base": SMALL, "large": SMALL_LARGE, "wavlm": SMALL_WAVLM}


def walked(trunk, clips, changes=None):
    """Three clips in one padded batch -> the states of the walk."""
    wavs = nn.utils.rnn.pad_sequence(clips, batch_first=True)
    lengths = torch.tensor([len(clip) for clip in clips])
    return list(trunk_walk.states(trunk, wavs, lengths, changes or trunk_walk.Changes(RECIPE)))


@pytest.mark.parametrize(
    ("tag", "tap"),
    [("base", "block"), ("large", "block"), ("large", "residual"), ("wavlm", "block")],
)
def test_unchanged_it_gives_the_upstreams_own_states(clips, tag, tap):
    trunk = Encoder(tag, tap=tap).eval()
    wavs = nn.utils.rnn.pad_sequence(clips, batch_first=True)
    own = list(trunk.states(wavs, torch.tensor([len(clip) for clip in clips])))
    for ours, theirs in zip(walked(trunk, clips), own, strict=True):
        assert torch.equal(ours, theirs)


def test_frozen_convolutions_give_the_same(clips):
    trunk = Encoder("base").eval()
    own = walked(trunk, clips)
    trunk.net.feature_extractor.requires_grad_(False)
    close(walked(trunk, clips), own)


def test_behind_a_shortened_waveform_too(clips):
    trunk = Shortened(Encoder("base"), ShorteningFilter("conv", 2)).eval()
    wavs = nn.utils.rnn.pad_sequence(clips, batch_first=True)
    own = list(trunk.states(wavs, torch.tensor([len(clip) for clip in clips])))
    for ours, theirs in zip(walked(trunk, clips), own, strict=True):
        assert torch.equal(ours, theirs)
    taps = trunk.shorten.parameters()
    walked(trunk, clips)[-1].sum().backward()
    assert all(p.grad is not None for p in taps)


@pytest.mark.parametrize("tag", ["base", "large"])
def test_a_block_left_out_leaves_the_state_and_the_numbers_as_they_were(clips, tag):
    trunk = Encoder(tag).eval()
    whole = walked(trunk, clips)
    without = walked(trunk, clips, trunk_walk.Changes(RECIPE, blocks=(1, 3)))
    assert torch.equal(without[1], whole[1]) and torch.equal(without[2], whole[1])
    assert len(without) == len(whole) and not torch.equal(without[3], whole[3])
    last = walked(trunk, clips, trunk_walk.Changes(RECIPE, blocks=(1, 2)))[3]
    # of a pre-norm model the last state is normalised, whatever block was the last to run
    expected = trunk.net.encoder.layer_norm(whole[2]) if tag == "large" else whole[2]
    assert torch.equal(last, expected)


def test_masks_fill_valid_frames_with_what_is_learned(clips):
    net, filling = Encoder("base").net, torch.full((SMALL.dim,), 7.0)
    recipe = replace(RECIPE, mask_prob=0.5, mask_width=5, channel_prob=0.3, channel_width=4)
    rngs = [np.random.default_rng(k) for k in range(3)]
    changes = trunk_walk.Changes(recipe, rngs, filling=filling)
    frames = torch.tensor([24, 38, 49])
    x = torch.ones(3, 49, SMALL.dim)
    changed = changes(x, frames)
    masked = (changed == 7).any(-1)
    zeros = (changed == 0).all(1)
    assert not any(masked[row, n:].any() for row, n in enumerate(frames))
    assert masked.any(1).all() and zeros.any(1).all() and not zeros.all(1).any()
    assert torch.equal(trunk_walk.Changes(recipe)(x, frames), x)  # of dev nothing is masked
    assert net.shape.dim == x.shape[-1]


def test_spans_are_as_many_as_asked_and_stay_inside():
    share = np.mean([spans(np.random.default_rng(k), 500, 0.2, 5).mean() for k in range(50)])
    # 20 spans of 5, which may overlap: 1 - (1 - 0.2/5)^5 and a little more, drawn without repeats
    assert 0.17 < share < 0.2
    assert not spans(np.random.default_rng(0), 4, 1.0, 5).any()
    least = [spans(np.random.default_rng(k), 100, 0.0, 10, 2).sum() for k in range(9)]
    assert all(10 < n <= 20 for n in least)  # two, at two places, which may overlap
    rows = span_rows([np.random.default_rng(0)] * 2, [30, 60], 0.5, 10)
    assert rows.shape == (2, 60) and not rows[0, 30:].any() and rows[1].any()


def test_speech_is_sped_up_and_chunks_are_silent():
    wav = torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)
    faster = sped(np.random.default_rng(0), wav, (1.25,))
    assert len(faster) == 12_800
    tone = np.abs(np.fft.rfft(faster.numpy())).argmax() * 16_000 / len(faster)
    assert tone == pytest.approx(440 * 1.25, abs=2)
    assert sped(np.random.default_rng(0), wav, (1.0,)) is wav
    silent = chunked(np.random.default_rng(3), wav, 5) == 0
    assert 1000 <= int((silent & (wav != 0)).sum()) <= 10_000
