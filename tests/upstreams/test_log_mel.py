"""Mel spectra are torchaudio's, alone and in any batch."""

import pytest
import torch
from earlyexit_superb.upstreams.backbones.log_mel import MelSpectrum, triangles
from helpers.libraries import library
from torch import nn


def theirs(wav):
    transform = library("torchaudio").transforms.MelSpectrogram(
        16_000, n_fft=1024, win_length=320, hop_length=160, n_mels=80
    )
    return transform(wav).mT


def test_bands_are_those_of_torchaudio():
    mels = library("torchaudio").functional.melscale_fbanks(513, 0.0, 8000.0, 80, 16_000)
    torch.testing.assert_close(triangles(80), mels, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("samples", [960, 5000, 16_000])
def test_power_is_that_of_torchaudio(samples):
    wav = torch.randn(samples, generator=torch.Generator().manual_seed(0))
    ours = MelSpectrum(features="power_mel")(wav[None], torch.tensor([samples]))[0]
    torch.testing.assert_close(ours, theirs(wav), atol=1e-3, rtol=1e-4)


def test_logarithms_have_no_mean_and_unit_variance_and_no_gain(clips):
    spectrum = MelSpectrum()
    whole = spectrum(clips[0][None], torch.tensor([len(clips[0])]))[0]
    torch.testing.assert_close(whole.mean(0), torch.zeros(80), atol=1e-4, rtol=0)
    torch.testing.assert_close(whole.var(0, correction=0), torch.ones(80), atol=1e-3, rtol=0)
    # the floor below the logarithm is 1e-6, so quieter sound is another sound, but little
    loud = spectrum(4 * clips[0][None], torch.tensor([len(clips[0])]))[0]
    torch.testing.assert_close(loud, whole, atol=0.02, rtol=0)


@pytest.mark.parametrize("features", ["log_mel", "power_mel"])
def test_a_batch_changes_no_frame(clips, features):
    spectrum, lengths = MelSpectrum(features=features), torch.tensor([len(c) for c in clips])
    batch = spectrum(nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths)
    for row, clip in zip(batch, clips, strict=True):
        alone = spectrum(clip[None], torch.tensor([len(clip)]))[0]
        torch.testing.assert_close(row[: len(alone)], alone, atol=1e-4, rtol=1e-4)
    assert bool(batch.isfinite().all())
