"""Stepping through the network: rows sent on keep their states, and what that costs."""

import pytest
import torch
from earlyexit_superb.upstreams.backbones.hubert import HubertNet
from earlyexit_superb.upstreams.backbones.hubert_shape import frame_counts, macs_to
from earlyexit_superb.upstreams.backbones.hubert_weights import load
from helpers.hubert import BASE, LARGE, SAMPLES, SMALL, SMALL_LARGE, close, states
from helpers.libraries import of_transformers
from torch import nn
from torch.nn import functional as F

# ---- stepping ----


@pytest.mark.parametrize("shape", [SMALL, SMALL_LARGE], ids=["like base", "like large"])
def test_rows_that_are_sent_on_keep_their_states(clips, shape):
    net, _ = load("random", shape)
    whole = states(net, clips)
    lengths = torch.tensor(SAMPLES)
    with torch.no_grad():
        steps = net.states(nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths)
        close([next(steps), next(steps)], whole[:2])
        keep = torch.tensor([2, 0])
        close([steps.send(keep)], [whole[2][keep]])
        close([next(steps)], [whole[3][keep]])


def test_audio_shorter_than_one_frame_is_one_frame():
    net, _ = load("random", SMALL)
    short = torch.randn(123, generator=torch.Generator().manual_seed(0))
    assert all(x.shape[1] == 1 and x.isfinite().all() for x in states(net, [short]))
    close(states(net, [short]), states(net, [F.pad(short, (0, 277))]))


def test_frame_counts_are_those_of_transformers():
    samples = torch.arange(400, 2001)
    theirs = of_transformers(SMALL)._get_feat_extract_output_lengths(samples)
    assert torch.equal(frame_counts(samples), theirs)
    assert [frame_counts(int(n)) for n in samples] == theirs.tolist()
    assert frame_counts(1) == frame_counts(400) == 1 and frame_counts(160_000) == 499


# ---- what it costs ----


@pytest.mark.parametrize(
    "shape", [BASE, LARGE, SMALL_LARGE], ids=["base", "large", "small, odd kernel"]
)
@pytest.mark.parametrize("samples", [300, 400, 8000, 12_345, 160_000])
def test_macs_are_what_the_flop_counter_counts(shape, samples):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):  # shapes without numbers: the counter needs no more
        net, wav = HubertNet(shape), torch.zeros(1, samples)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        x = net.project(wav, torch.tensor([samples]))
        counted = [counter.get_total_flops()]
        x = net.position(x)
        block_input = counter.get_total_flops()
        for _ in net.blocks(x, None):
            counted.append(counter.get_total_flops())
    assert [2 * macs_to(shape, samples, depth) for depth in range(shape.depth + 1)] == counted
    assert 2 * macs_to(shape, samples, 0, projection=False) == block_input


def test_what_an_exit_can_save():
    second, ten = 16_000, 160_000
    convolutions = (
        macs_to(BASE, 60 * second, 0) - frame_counts(60 * second) * BASE.conv_dim * BASE.dim
    )
    assert convolutions / 60 == pytest.approx(2.454e9, rel=1e-3)
    full = macs_to(BASE, ten, 12)
    assert full / 10 == pytest.approx(7.42e9, rel=5e-3)
    saved = [1 - macs_to(BASE, ten, k) / full for k in range(13)]
    assert saved[6] == pytest.approx(0.317, abs=5e-4)
    assert saved[1] < 0.6 and saved[12] == 0 and saved == sorted(saved, reverse=True)
    assert 1 - macs_to(LARGE, ten, 12) / macs_to(LARGE, ten, 24) == pytest.approx(0.425, abs=2e-3)
