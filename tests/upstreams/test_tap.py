"""The state of a depth: the block's output, or that of its feed-forward layer."""

from pathlib import Path

import pytest
import torch
from earlyexit_superb.benchmark.contract import TrainingRun
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import Exit, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones.hubert_weights import load
from earlyexit_superb.upstreams.training.daisy_frames import frozen_backbone
from earlyexit_superb.upstreams.training.daisy_recipe import PAPER
from helpers import fit_branches
from helpers.hubert import SMALL, SMALL_LARGE, close
from torch import nn

RANDOM = {"weights": "random"}


def stepped(net, clips, **how):
    wavs = nn.utils.rnn.pad_sequence(clips, batch_first=True)
    return list(net.states(wavs, torch.tensor([len(clip) for clip in clips]), **how))


@pytest.mark.parametrize("shape", [SMALL, SMALL_LARGE], ids=["like base", "like large"])
def test_it_is_what_the_feed_forward_layer_gave_and_the_next_block_reads_the_block(clips, shape):
    net, seen = load("random", shape)[0], []
    for layer in net.encoder.layers:
        layer.feed_forward.register_forward_hook(
            lambda _module, _input, output: seen.append(output)
        )
    with torch.no_grad():
        tapped = stepped(net, clips[:1], inner=True)
        assert len(seen) == len(tapped) - 1 == shape.depth
        assert all(torch.equal(x, y) for x, y in zip(tapped[1:], seen, strict=True))
        usual = stepped(net, clips[:1])  # the hooks again saw the same: nothing else has moved
    assert torch.equal(tapped[0], usual[0]) and not torch.equal(tapped[1], usual[1])
    assert all(torch.equal(x, y) for x, y in zip(seen[shape.depth :], seen, strict=False))


def test_padding_does_not_change_it(clips):
    net, _ = load("random", SMALL)
    batch = stepped(net, clips, inner=True)  # with gradients, so padded and masked
    with torch.no_grad():
        for row, clip in enumerate(clips):
            alone = stepped(net, [clip], inner=True)
            close(
                [x[row : row + 1, : y.shape[1]] for x, y in zip(batch, alone, strict=True)], alone
            )


def test_branches_belong_to_the_state_they_were_trained_on():
    plain, tapped = (build_upstream("hubert", RANDOM | {"tap": tap}) for tap in ("block", "ffn"))
    assert tapped.card.name == "hubert.tiny(weights=random, tap=ffn)"
    assert tapped.card.revision == plain.card.revision + "-ffn"
    with pytest.raises(UsageError, match="were trained on the backbone .* train them again"):
        build_upstream("daisy", {"tap": "ffn"})
    with pytest.raises(UsageError, match="tap is block or ffn or residual, not 'norm'"):
        build_upstream("daisy", {"tap": "norm"})


def test_daisy_reads_it_at_every_depth():
    daisy = build_upstream("daisy", RANDOM | {"tap": "ffn"})
    wav, length = 0.1 * torch.randn(1, 8000), torch.tensor([8000])
    with torch.no_grad():
        states = list(daisy.backbone.states(wav, length))
    left = run_until_exit(daisy, wav, length, Exit((1, 2, 3), tau=0.0))
    assert torch.equal(left.states, torch.stack(states[:4]))
    assert daisy.macs(8000, 3) == build_upstream("daisy", RANDOM).macs(8000, 3)


def test_a_frame_is_named_as_ever_whatever_state_its_branches_read():
    plain, tapped = (build_upstream("hubert", RANDOM | {"tap": tap}) for tap in ("block", "ffn"))
    run = TrainingRun("daisy.tiny", "tiny", {}, Path(), Path())
    wavs, lengths = 0.1 * torch.randn(2, 6400), torch.tensor([6400, 4000])
    heard = [frozen_backbone(up, None, PAPER, run).hear(wavs, lengths) for up in (plain, tapped)]
    (states, units), (inner, names) = heard
    assert torch.equal(units, names) and len(units.unique()) > 1
    assert inner.shape == states.shape and not torch.allclose(inner, states)


def test_they_are_trained_on_it(speech, tmp_path):
    weights = fit_branches(speech, tmp_path, tap="ffn")
    options = RANDOM | {"branches": str(weights)}
    build_upstream("daisy", options | {"tap": "ffn"})
    with pytest.raises(UsageError, match="were trained on the backbone"):
        build_upstream("daisy", options)
