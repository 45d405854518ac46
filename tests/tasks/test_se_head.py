"""Enhancement's head: s3prl's network again, and what must hold whoever wrote it."""

from dataclasses import replace

import pytest
import torch
from earlyexit_superb.downstreams.mask_blstm import MaskBLSTM
from earlyexit_superb.downstreams.rnn import blstm
from earlyexit_superb.tasks import se
from helpers import hubert_frames
from helpers.noisy import example
from oracles import twins
from torch.nn.utils.rnn import pack_sequence, pad_sequence
from toys.toy import at

V1, V2, MINI = se.SUPERB_V1, se.S3PRL_V2, se.MINI


@pytest.mark.parametrize(
    "module, protocol, millions",
    [("enhancement_stft.model", V1, 50.97), ("enhancement_stft2.model", V2, 5.39)],
)
def test_masks_equal_s3prl(module, protocol, millions):
    torch.manual_seed(0)
    theirs, ours = twins(module, protocol, 768, 257)
    assert round(sum(p.numel() for p in ours.parameters()) / 1e6, 2) == millions
    rows = [torch.randn(n, 768) for n in (9, 5, 4)]
    with torch.no_grad():
        expected = theirs(pack_sequence(rows))[0]
        masks = ours(pad_sequence(rows, batch_first=True), torch.tensor([9, 5, 4]))
    for row, n in enumerate((9, 5, 4)):
        torch.testing.assert_close(masks[row, :n], expected[row, :n], atol=1e-5, rtol=1e-5)


def test_two_sources_equal_s3prl():
    theirs, ours = twins("separation_stft.model", replace(V2, hidden=16), 8, 33, sources=2)
    rows = [torch.randn(7, 8), torch.randn(3, 8)]
    expected = theirs(pack_sequence(rows))
    masks = ours(pad_sequence(rows, batch_first=True), torch.tensor([7, 3]))
    assert masks.shape == (2, 2, 7, 33)
    for source in (0, 1):
        torch.testing.assert_close(
            masks[1, source, :3], expected[source][1, :3], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize(
    "hidden, layers, bins, sources, millions", [(896, 3, 257, 2, 51.43), (256, 3, 513, 2, 5.78)]
)
def test_parameters_of_separation(hidden, layers, bins, sources, millions):
    with torch.device("meta"):
        head = MaskBLSTM(768, bins, hidden, layers, sources=sources)
    assert round(sum(p.numel() for p in head.parameters()) / 1e6, 2) == millions


def test_reading_rows_is_reading_packed_sequences():
    """The oneDNN way against torch's own, gradients too; rows in any order of length."""
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True)
    x, frames = torch.randn(3, 9, 6), torch.tensor([4, 7, 1])
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, frames, batch_first=True, enforce_sorted=False
    )
    expected = torch.nn.utils.rnn.pad_packed_sequence(
        lstm(packed)[0], batch_first=True, total_length=9
    )[0]
    ours = blstm(lstm, x, frames)
    torch.testing.assert_close(ours, expected)
    weights = list(lstm.parameters())
    gradients = [torch.autograd.grad(out.square().sum(), weights) for out in (ours, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("protocol", [MINI, replace(V2, hidden=16)], ids=["hop 320", "hop 160"])
def test_neighbours_and_padding_do_not_change_a_row(protocol):
    torch.manual_seed(0)
    head = se.head(at(protocol, 24, 320)).eval()
    samples = torch.tensor([16_000, 9_000, 12_345])
    frames = torch.tensor([hubert_frames(int(n)) for n in samples])
    # what stands behind a row's end is never read
    features = torch.randn(3, int(frames.max()) + 4, 24)
    together = head(features, frames, samples)
    for row, (n, t) in enumerate(zip(samples, frames, strict=True)):
        alone = head(features[row : row + 1, :t], frames[row : row + 1], samples[row : row + 1])[0]
        spectra = 1 + int(n) // (protocol.hop or 320)
        assert alone.shape == (spectra, protocol.n_fft // 2 + 1)
        torch.testing.assert_close(together[row, :spectra], alone, atol=1e-5, rtol=1e-5)


def test_every_parameter_learns():
    head = se.head(at(MINI, 24, 320))
    batch = [example(6_000, 1), example(5_000, 2)]
    frames = torch.tensor([hubert_frames(len(e.wav)) for e in batch])
    prediction = head(torch.randn(2, 18, 24), frames, torch.tensor([6_000, 5_000]))
    se.loss(prediction, batch, frames, at(MINI)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
