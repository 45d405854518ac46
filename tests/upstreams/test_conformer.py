"""The Conformer is torchaudio's, at every depth, alone and in any batch."""

from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark import distributed
from earlyexit_superb.upstreams.backbones.conformer_shape import frame_counts, macs_to
from earlyexit_superb.upstreams.backbones.measuring import products
from helpers.conformer import CTC, SMALL, net_of, of_torchaudio, states_of_torchaudio
from helpers.hubert import alone_and_together, close, padded, states
from torch import nn

SPLIT_SMALL = replace(SMALL, depth=4, parallel=((0, 2), (3, 4)))
EACH = pytest.mark.parametrize("shape", [SMALL, SPLIT_SMALL], ids=["plain", "split"])


@pytest.mark.parametrize("clip", range(3))
def test_states_are_those_of_torchaudio_at_every_depth(clips, clip):
    net = net_of(SMALL)
    first, *ours = states(net, [clips[clip]])
    close(ours, states_of_torchaudio(of_torchaudio(net), first, torch.tensor([first.shape[1]])))


@pytest.mark.slow
def test_the_published_size_is_torchaudio_s(clips):
    net = net_of(CTC)
    first, *ours = states(net, [clips[2]])
    close(ours, states_of_torchaudio(of_torchaudio(net), first, torch.tensor([first.shape[1]])))


@EACH
def test_a_batch_changes_no_state(clips, shape):
    net = net_of(shape)
    alone = [states(net, [wav]) for wav in clips]
    alone_and_together(states(net, clips), alone, 0)
    alone_and_together(padded(net, clips), alone)


def test_torchaudio_s_convolution_reads_padding(clips):
    """The test above can fail: without the mask the states of a short utterance do move."""
    net, wavs = net_of(SMALL), nn.utils.rnn.pad_sequence(clips, batch_first=True)
    lengths = torch.tensor([len(clip) for clip in clips])
    with torch.no_grad():
        first, frames = net.front(wavs, lengths), frame_counts(lengths, SMALL)
    alone = states(net, [clips[0]])[1]
    theirs = states_of_torchaudio(of_torchaudio(net), first, frames)[0][:1, : frames[0]]
    assert (theirs - alone).abs().max() > 1e-3


@EACH
def test_padding_moves_no_statistic_and_no_gradient_of_a_training(clips, shape):
    net = net_of(replace(shape, dropout=0.0)).train()
    wavs, lengths = nn.utils.rnn.pad_sequence(clips, batch_first=True), [len(c) for c in clips]
    found = []
    for more in (0, 8000):
        net.zero_grad()
        start = {k: v.clone() for k, v in net.state_dict().items()}
        *_, last = net.states(nn.functional.pad(wavs, (0, more)), torch.tensor(lengths))
        frames = frame_counts(torch.tensor(lengths), shape)
        loss = sum(row[:n].square().sum() for row, n in zip(last, frames.tolist(), strict=True))
        loss.backward()
        moved = {k: v.clone() for k, v in net.state_dict().items() if "running" in k}
        found.append((moved, [p.grad.clone() for p in net.parameters()]))
        net.load_state_dict(start)
    (means, gradients), (others, other_gradients) = found
    assert any(not torch.equal(means[k], start[k]) for k in means)
    torch.testing.assert_close(means, others)
    torch.testing.assert_close(gradients, other_gradients, atol=1e-3, rtol=1e-3)


def test_masked_statistics_are_those_of_the_valid_frames():
    norm = net_of(SMALL).conformer_layers[0].conv_module.sequential[3].train()
    x = torch.randn(3, SMALL.dim, 9, generator=torch.Generator().manual_seed(0))
    valid = torch.arange(9) < torch.tensor([4, 9, 2])[:, None]
    flat = x.mT[valid]
    torch.testing.assert_close(
        norm(x, valid).mT[valid],
        (flat - flat.mean(0)) * (flat.var(0, correction=0) + 1e-5).rsqrt() * norm.weight
        + norm.bias,
    )


def test_a_batch_of_one_frame_is_trained_by_the_running_statistics():
    net = net_of(SMALL).train()
    *_, last = net.states(torch.randn(1, 1200), torch.tensor([1200]))
    assert last.shape[1] == 1 and bool(last.isfinite().all())


@pytest.mark.parametrize("padded", [True, False])
def test_statistics_of_several_processes_are_of_the_frames_of_all(padded, monkeypatch):
    """Two processes that hear the same, beside one that hears it twice."""
    alone, shared = (net_of(SMALL).conformer_layers[0].conv_module.sequential[3] for _ in "ab")
    x = torch.randn(3, SMALL.dim, 9, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    valid = torch.arange(9) < torch.tensor([4, 9, 2])[:, None] if padded else None
    twice = torch.cat([x, x]), torch.cat([valid, valid]) if padded else None
    expected = alone.train()(*twice)[:3]
    monkeypatch.setattr(distributed, "rank_and_size", lambda: (0, 2))
    monkeypatch.setattr(distributed, "total", lambda value: 2 * value)
    found = shared.train()(x, valid)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(shared.state_dict(), alone.state_dict())
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_frames_and_shortest():
    assert CTC.stride == 640 and CTC.shortest == 960
    samples = torch.tensor([1, 960, 1599, 1600, 16_000])
    assert frame_counts(samples, CTC).tolist() == [1, 1, 1, 2, 24]
    for n in (1, 960, 1600, 5000):
        net = net_of(SMALL)
        assert states(net, [torch.zeros(n)])[0].shape[1] == frame_counts(n, SMALL)


@pytest.mark.parametrize("samples", [800, 12_345])
@EACH
def test_costs_are_those_that_torch_counts(shape, samples):
    net = net_of(shape)
    for depth in range(shape.depth + 1):

        def forward(depth=depth):
            walk = net.states(torch.zeros(1, samples), torch.tensor([samples]))
            for _ in range(depth + 1):
                next(walk)

        transforms = (max(samples, 960) // 160 + 1) * 10 * 1024
        assert macs_to(shape, samples, depth) == products(forward) + transforms


def test_a_split_branch_hears_every_other_frame(clips):
    """Splitformer: state 2 is block 2's output and the branch's, each of whose frames is said
    twice."""
    plain, split = net_of(SMALL), net_of(replace(SMALL, parallel=((0, 2),)))
    plain.load_state_dict(
        {k: v for k, v in split.state_dict().items() if not k.startswith("parallel")}
    )
    before, after = states(plain, [clips[0]]), states(split, [clips[0]])
    close(after[:2], before[:2])
    more = (after[2] - before[2])[0]
    with torch.no_grad():
        branch = split.parallel_layers[0](before[0][:, ::2], None)[0]
    torch.testing.assert_close(more[::2], branch, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(more[1::2], branch[: len(more) // 2], atol=1e-5, rtol=1e-5)
