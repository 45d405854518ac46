"""Sound files: exact round trips, bad files stopped by name."""

import logging

import numpy as np
import pytest
import soundfile
from earlyexit_superb.benchmark import audio as _audio
from earlyexit_superb.benchmark.errors import UsageError
from helpers.sounds import BAD, rng, speechlike, spoil


def test_48_khz_stereo_is_averaged_resampled_and_said_once(tmp_path, monkeypatch, caplog):
    from scipy.signal import resample_poly

    monkeypatch.setattr(_audio, "_noticed", set())
    stereo = 0.3 * rng().standard_normal((48_001, 2))
    soundfile.write(tmp_path / "a.wav", stereo, 48_000, subtype="FLOAT")
    with caplog.at_level(logging.WARNING, "earlyexit_superb"):
        wav = _audio.read(tmp_path / "a.wav")
        part = _audio.read(tmp_path / "a.wav", 1_000, 500)
    expected = resample_poly(stereo.astype(np.float32).astype(np.float64).mean(axis=1), 1, 3)
    np.testing.assert_allclose(wav, expected, atol=1e-6)
    np.testing.assert_array_equal(part, wav[1_000:1_500])
    assert wav.dtype == np.float32 and len(wav) == _audio.length(tmp_path / "a.wav") == 16_001
    said = [r.getMessage() for r in caplog.records]
    assert (
        len(said) == 2
        and "2 channels" in said[0]
        and "48000 Hz" in said[1]
        and _audio.RESAMPLER in said[1]
    )


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_round_trip_through_16_bits_is_exact(tmp_path, suffix):
    wav = (rng().integers(-32768, 32768, 16_000) / 32768).astype(np.float32)
    _audio.write(tmp_path / f"a.{suffix}", wav)
    np.testing.assert_array_equal(_audio.read(tmp_path / f"a.{suffix}"), wav)
    np.testing.assert_array_equal(_audio.read(tmp_path / f"a.{suffix}", 100, 50), wav[100:150])
    assert [p.name for p in tmp_path.iterdir()] == [f"a.{suffix}"]  # nothing half-written is left


def test_opus_is_read(tmp_path):
    soundfile.write(tmp_path / "a.opus", speechlike(), 16_000, format="OGG", subtype="OPUS")
    assert len(_audio.read(tmp_path / "a.opus")) == _audio.length(tmp_path / "a.opus") == 24_000


@pytest.mark.parametrize("how", BAD)
def test_a_bad_file_stops_with_its_name(tmp_path, how):
    _audio.write(tmp_path / "a.wav", speechlike())
    said = spoil(tmp_path / "a.wav", how)
    with pytest.raises(UsageError, match=said) as complaint:
        _audio.read(tmp_path / "a.wav")
    assert "a.wav" in str(complaint.value)


def test_a_cut_flac_is_noticed(tmp_path):
    _audio.write(tmp_path / "a.flac", speechlike())
    said = spoil(tmp_path / "a.flac", "cut")
    with pytest.raises(UsageError, match=said):
        _audio.read(tmp_path / "a.flac")


def test_a_part_outside_the_file_is_refused(tmp_path):
    _audio.write(tmp_path / "a.wav", speechlike())
    with pytest.raises(UsageError, match="has 24000 samples"):
        _audio.read(tmp_path / "a.wav", 23_000, 2_000)
