"""Features beside spectra: any stride, matched as s3prl matches them."""

from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.tasks import se
from earlyexit_superb.tasks.shared import features as feature_frames
from earlyexit_superb.tasks.shared.stft import hop_of, notices, stft_of
from helpers import wav
from oracles import s3prl_function
from toys.toy import at

V1, V2, MINI = se.SUPERB_V1, se.S3PRL_V2, se.MINI


# ---- features beside spectra ----


@pytest.mark.parametrize("stride, hop", [(320, 320), (160, 160), (320, 160)])
def test_features_are_matched_as_s3prl_matches_them(stride, hop):
    match_length = s3prl_function("enhancement_stft2.expert", "match_length", torch=torch)
    samples = torch.tensor([8_000, 6_399, 6_400, 6_481])
    frames = torch.tensor([(int(n) - 400) // stride + 1 for n in samples])
    features = torch.randn(4, int(frames.max()), 3)
    ours, spectra = feature_frames.match(features, frames, samples, stride, hop)
    assert spectra.tolist() == [1 + int(n) // hop for n in samples]
    rows = [features[i, :n].repeat_interleave(stride // hop, dim=0) for i, n in enumerate(frames)]
    for row, expected in zip(ours, match_length(rows, spectra.tolist()), strict=True):
        torch.testing.assert_close(row[: len(expected)], expected)
        assert not row[len(expected) :].any()


def test_more_features_than_spectra_are_cut():
    ours, spectra = feature_frames.match(
        torch.ones(1, 14, 2), torch.tensor([14]), torch.tensor([3_300]), 320, 320
    )
    assert ours.shape == (1, 11, 2) and int(spectra) == 11 and ours.all()


def test_what_does_not_fit_is_said_so():
    ones = torch.ones(1, 12, 2)
    with pytest.raises(
        UsageError, match="12 frames for 8000 samples does not have a stride of 320"
    ):
        feature_frames.match(ones, torch.tensor([12]), torch.tensor([8_000]), 320, 320)
    with pytest.raises(UsageError, match="leave audio between them"):
        notices(at(replace(V1, n_fft=256, win=256), stride=640))
    with pytest.raises(UsageError, match="shorter than one window"):
        se.enhance(torch.ones(2, 257), wav(300), at(V1))
    with pytest.raises(UsageError, match="cannot cover"):
        se.enhance(torch.ones(20, 257), wav(16_000), at(V1))


@pytest.mark.parametrize(
    "stride, hop",
    [
        (80, 80),
        (160, 160),
        (320, 320),
        (640, 320),
        (960, 320),
        (1280, 320),
        (500, 250),
        (400, 200),
        (1000, 250),
        (641, 320),
    ],
)
def test_the_hop_follows_the_stride_or_a_part_of_it(stride, hop):
    assert hop_of(at(V1, stride=stride)) == stft_of(at(V1, stride=stride), 16_000).hop == hop
    assert hop_of(at(V2, stride=stride)) == V2.hop == 160
    said = notices(at(V1, stride=stride))
    assert said == (
        []
        if stride == hop
        else [
            f"feature frames every {stride} samples, "
            f"{'interpolated' if stride % hop else f'each read {stride // hop} times'} for an STFT "
            f"with a hop of {hop}"
        ]
    )


@pytest.mark.parametrize(
    "stride, hop",
    [(640, 320), (960, 320), (1280, 320), (480, 320), (641, 320), (400, 160), (80, 160)],
)
def test_features_of_any_stride_keep_their_time(stride, hop):
    """Features that say when they are: what a spectrum is given is of its own time, to within a
    frame, alone and in a batch.
    """
    samples = torch.tensor([32_000, 20_345])
    frames = torch.tensor([(int(n) - 400) // stride + 1 for n in samples])
    features = (torch.arange(int(frames.max())) + 0.5)[None, :, None].repeat(2, 1, 3) * stride
    features[1, frames[1] :] = torch.nan
    matched, spectra = feature_frames.match(features, frames, samples, stride, hop)
    assert spectra.tolist() == [1 + int(n) // hop for n in samples]
    for row, n in enumerate(frames.tolist()):
        reach = min(int(spectra[row]), round(n * stride / hop - 0.01))
        when = (torch.arange(reach) + 0.5) * hop
        assert (matched[row, :reach, 0] - when).abs().max() <= max(stride, hop) / 2
        if stride % hop:  # a line is itself, but for the held ends
            inner = (when >= stride / 2) & (when <= (n - 0.5) * stride)
            torch.testing.assert_close(
                matched[row, :reach, 0][inner], when[inner], atol=0.01, rtol=0
            )
        assert not matched[row, reach + 1 :].any()
        alone, _ = feature_frames.match(
            features[row : row + 1, :n], frames[row : row + 1], samples[row : row + 1], stride, hop
        )
        torch.testing.assert_close(matched[row, : alone.shape[1]], alone[0])


# ---- the task ----


def test_standardised_features_have_no_constant_part_and_ignore_padding():
    from earlyexit_superb.tasks.shared.features import standardised

    torch.manual_seed(0)
    features, frames = 5 + 3 * torch.randn(2, 40, 6), torch.tensor([40, 25])
    out = standardised(features, frames)
    for row, n in enumerate(frames.tolist()):
        torch.testing.assert_close(out[row, :n].mean(0), torch.zeros(6), atol=1e-5, rtol=0)
        torch.testing.assert_close(out[row, :n].square().mean(0), torch.ones(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(out[1:, :25], standardised(features[1:, :25], frames[1:]))
    assert bool((out[1, 25:] == 0).all())
