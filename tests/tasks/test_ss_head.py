"""Separation's head and loss: s3prl's again."""

from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks import ss
from helpers import hubert_frames
from helpers.talkers import example
from oracles import s3prl, stft_by_definition, twins
from torch.nn.utils.rnn import pack_sequence, pad_sequence
from toys.toy import at

V1, V2, MINI = ss.SUPERB_V1, ss.S3PRL_V2, ss.MINI
TASK = tasks.get("ss")


@pytest.mark.parametrize(
    "module, protocol, millions", [("separation_stft", V1, 51.43), ("separation_stft2", V2, 5.78)]
)
def test_masks_equal_s3prl(module, protocol, millions):
    torch.manual_seed(0)
    theirs, ours = twins(f"{module}.model", protocol, 768, protocol.n_fft // 2 + 1, sources=2)
    assert round(sum(p.numel() for p in ours.parameters()) / 1e6, 2) == millions
    rows = [torch.randn(n, 768) for n in (9, 5)]
    with torch.no_grad():
        expected = theirs(pack_sequence(rows))
        masks = ours(pad_sequence(rows, batch_first=True), torch.tensor([9, 5]))
    for row, n in enumerate((9, 5)):
        for source in (0, 1):
            torch.testing.assert_close(
                masks[row, source, :n], expected[source][row, :n], atol=1e-5, rtol=1e-5
            )
    built = ss.head(at(protocol, 768, 320)).masks  # and that is the head the recipe builds
    assert {n: p.shape for n, p in built.named_parameters()} == {
        n: p.shape for n, p in ours.named_parameters()
    }


def collated(examples, protocol):
    """The dictionaries that s3prl's collate_fn makes, longest utterance first."""

    def attributes(wavs):
        spectra = [
            torch.from_numpy(
                stft_by_definition(w.numpy(), protocol.n_fft, protocol.win, 320, protocol.pad)
            )
            for w in wavs
        ]
        return (
            pad_sequence([s.abs().float() for s in spectra], batch_first=True),
            pad_sequence([s.angle().float() for s in spectra], batch_first=True),
            torch.tensor([len(s) for s in spectra]),
        )

    magnitude, phase, lengths = attributes([e.wav for e in examples])
    talkers = [attributes([e.target[k] for e in examples]) for k in (0, 1)]
    return (
        {"magnitude": magnitude, "phase": phase},
        {"magnitude": [t[0] for t in talkers], "phase": [t[1] for t in talkers]},
        lengths,
    )


@pytest.mark.parametrize(
    "name, changes",
    [
        ("superb-v1", {}),
        ("s3prl-v2", {}),
        ("minisuperb", {}),
        ("superb-v1", {"aim": "am"}),
        ("s3prl-v2", {"distance": "l1"}),
    ],
)
def test_losses_and_gradients_equal_s3prl(name, changes):
    protocol = replace(TASK.protocols[name], **changes)
    examples = [example(9_000, 3), example(7_777, 4), example(5_120, 5)]
    mixture, talkers, lengths = collated(examples, protocol)
    first = name == "superb-v1"
    module = s3prl("separation_stft.loss" if first else "separation_stft2.loss")
    module.device = torch.device("cpu")
    objective = (
        module.MSELoss(2, protocol.aim.upper())
        if first
        else module.SepLoss(2, protocol.distance.upper(), protocol.aim.upper(), protocol.domain)
    )
    masks = torch.rand(
        3, 2, *mixture["magnitude"].shape[1:], generator=torch.Generator().manual_seed(0)
    )
    for row, n in enumerate(lengths):  # behind an utterance's end the LSTM's masks are no matter
        masks[row, :, n:] = 0
    masks.requires_grad_(True)
    expected = objective.compute_loss([masks[:, 0], masks[:, 1]], lengths, mixture, talkers)
    frames = torch.tensor([hubert_frames(len(e.wav)) for e in examples])
    ours = ss.loss(masks, examples, frames, at(protocol))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(ours, masks), torch.autograd.grad(expected, masks), atol=1e-6, rtol=1e-4
    )


@pytest.mark.parametrize("name", TASK.protocols)
def test_the_loss_does_not_see_order_or_padding(name):
    protocol = TASK.protocols[name]
    examples = [example(9_000, 3), example(5_120, 5)]
    frames = torch.tensor([hubert_frames(9_000), hubert_frames(5_120)])
    masks = torch.rand(2, 2, 29, protocol.n_fft // 2 + 1)
    alone = [
        ss.loss(masks[i : i + 1], examples[i : i + 1], frames[i : i + 1], at(protocol))
        for i in (0, 1)
    ]
    masks[1, :, 1 + 5_120 // 320 :] = 1e6
    together = ss.loss(masks, examples, frames, at(protocol))
    torch.testing.assert_close(together, sum(alone) / 2)
    swapped = torch.stack([masks[0].flip(0), masks[1]])  # each utterance has an order of its own
    torch.testing.assert_close(ss.loss(swapped, examples, frames, at(protocol)), together)


def test_every_parameter_learns_and_neighbours_do_not_change_a_row():
    torch.manual_seed(0)
    head, features = ss.head(at(MINI, 24, 320)), torch.randn(2, 18, 24)
    batch, samples = [example(6_000, 1), example(5_000, 2)], torch.tensor([6_000, 5_000])
    frames = torch.tensor([hubert_frames(int(n)) for n in samples])
    ss.loss(head(features, frames, samples), batch, frames, at(MINI)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    head.eval()
    alone = head(features[1:, : frames[1]], frames[1:], samples[1:])[0]
    torch.testing.assert_close(
        head(features, frames, samples)[1, :, : alone.shape[1]], alone, atol=1e-5, rtol=1e-5
    )
