"""Spectra and masks by definition: what masks must do whoever wrote them."""

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.contract import Example
from earlyexit_superb.benchmark.metrics import Failure
from earlyexit_superb.tasks import se
from earlyexit_superb.tasks.shared.stft import stft_of
from helpers import hubert_frames, wav
from helpers.noisy import example, of_ones
from oracles import istft_by_definition, stft_by_definition
from toys.toy import at

V1, V2, MINI = se.SUPERB_V1, se.S3PRL_V2, se.MINI


# ---- spectra ----


LENGTHS = (16_000, 16_159, 16_317)  # the last has samples that no window of 512 every 320 reaches


@pytest.mark.parametrize("protocol", [V1, V2, MINI], ids=lambda p: p.name)
@pytest.mark.parametrize("samples", LENGTHS)
def test_stft_and_its_inverse_by_definition(protocol, samples):
    x = wav(samples)
    stft = stft_of(at(protocol), samples)
    spectrum = stft(x)
    settings = stft.n_fft, stft.win, stft.hop
    np.testing.assert_allclose(
        spectrum, stft_by_definition(x.numpy(), *settings, stft.pad), atol=1e-5
    )
    assert len(spectrum) == stft.frames(samples)
    mask = torch.rand(spectrum.shape, generator=torch.Generator().manual_seed(1))
    expected = istft_by_definition((mask * spectrum).numpy(), *settings, samples)
    ours = stft.inverse(mask * spectrum, samples).numpy()
    # float32 rounding is magnified where the squared windows sum to almost nothing
    np.testing.assert_allclose(ours[:-160], expected[:-160], atol=1e-5)
    np.testing.assert_allclose(ours[-160:], expected[-160:], atol=1e-5, rtol=0.05)


@pytest.mark.parametrize("protocol", [V1, V2], ids=lambda p: p.name)
def test_stft_equals_librosa(protocol):
    librosa = pytest.importorskip(
        "librosa", reason="no librosa; the test by definition stands in for it"
    )
    x = wav(16_159)
    stft = stft_of(at(protocol), len(x))
    settings = {"hop_length": stft.hop, "win_length": stft.win, "window": "hann", "center": True}
    theirs = librosa.stft(x.numpy(), n_fft=stft.n_fft, pad_mode=stft.pad, **settings).T
    np.testing.assert_allclose(stft(x), theirs, atol=1e-5)
    back = librosa.istft(theirs.T, length=len(x), **settings)
    np.testing.assert_allclose(stft.inverse(stft(x), len(x))[:-160], back[:-160], atol=1e-5)


# ---- masks ----


@pytest.mark.parametrize("protocol", [V1, V2, MINI], ids=lambda p: p.name)
def test_a_mask_of_ones_gives_the_noisy_back(protocol):
    e = example(16_159)
    enhanced = se.enhance(of_ones(protocol, e)[0], e.wav, at(protocol))
    assert enhanced.shape == e.wav.shape
    reach = len(e.wav) // 160 * 160 if protocol is V2 else len(e.wav) // 320 * 320
    torch.testing.assert_close(enhanced[:reach], e.wav[:reach], atol=1e-5, rtol=1e-4)
    if protocol.tail == "drop":
        assert not enhanced[reach:].any()


def test_a_mask_of_zeros_is_a_failure_and_no_crash():
    """s3prl's `postprocess` raises on it, and PESQ would."""
    e = example(16_159)
    mask, frames = of_ones(V1, e, 0.0)
    assert se.score(mask, e, frames, at(V1)) == dict.fromkeys(
        ("pesq", "stoi", "si_sdr_improvement"), Failure("silent estimate")
    )


@pytest.mark.parametrize("protocol", [V1, V2, MINI], ids=lambda p: p.name)
def test_the_ideal_mask_gives_the_clean_back(protocol):
    """With noise in the phase of the speech (here twice the speech on top of it) nothing is lost,
    and the loss is zero.
    """
    clean = wav(16_000)
    e = Example("u", 3 * clean, clean)
    frames = hubert_frames(16_000)
    stft = stft_of(at(protocol), 16_000)
    noisy, aim = stft(e.wav).abs(), stft(clean).abs()
    mask = {"magnitude": aim / noisy, "sqrt": (aim / noisy).sqrt()}.get(
        protocol.domain, aim.log1p() / noisy.log1p()
    )
    enhanced = se.enhance(mask, e.wav, at(protocol))
    torch.testing.assert_close(enhanced[:-320], clean[:-320], atol=1e-5, rtol=1e-3)
    assert se.loss(mask[None], [e], torch.tensor([frames]), at(protocol)) < 1e-4


def test_the_ideal_mask_helps_against_other_noise():
    e, frames = example(16_000), hubert_frames(16_000)
    for protocol, least in ((V1, 5.0), (V2, 4.0)):
        stft = stft_of(at(protocol), 16_000)
        noisy, clean = stft(e.wav), stft(e.target)
        mask = clean.abs() * torch.relu(torch.cos(noisy.angle() - clean.angle())) / noisy.abs()
        if protocol.domain == "log1p":
            mask = clean.abs().log1p() / noisy.abs().log1p()
        assert se.score(mask, e, frames, at(protocol))["si_sdr_improvement"] > least


def test_enhanced_waveforms_of_the_second_recipe_by_definition():
    """s3prl/downstream/enhancement_stft2/expert.py in numpy: expm1, the noisy phase, and an
    inverse that is not told N.
    """
    e = example(16_159)
    spectrum = stft_by_definition(e.wav.numpy(), 512, 400, 160, "constant")
    mask = np.random.default_rng(0).uniform(size=spectrum.shape)
    masked = np.expm1(mask * np.log1p(np.abs(spectrum))) * spectrum / (np.abs(spectrum) + 1e-10)
    expected = np.zeros(16_159)
    expected[:16_000] = istft_by_definition(masked, 512, 400, 160, 16_000)
    ours = se.enhance(torch.from_numpy(mask).float(), e.wav, at(V2))
    np.testing.assert_allclose(ours, expected, atol=1e-5)
