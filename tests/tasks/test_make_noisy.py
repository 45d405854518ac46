"""Noisy corpora of anybody's recordings: no speaker or noise in two splits, the same bytes."""

import csv

import numpy as np
import pytest
import soundfile
from earlyexit_superb.benchmark import audio as _audio
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.tasks.corpora import make_noisy
from earlyexit_superb.tasks.corpora import noise as noises
from earlyexit_superb.tasks.corpora.noisy_pairs import SNRS
from earlyexit_superb.tasks.corpora.recordings import SERIES, noise_recordings
from helpers.sounds import mostly_silent, rng, speechlike, tree, voicebank


@pytest.fixture
def recordings(tmp_path):
    """Six speakers in LibriSpeech's tree, six noises of which two are cuts of one recording."""
    for speaker in range(6):
        folder = tmp_path / "speech" / str(speaker) / "7"
        folder.mkdir(parents=True)
        for i in range(3):
            _audio.write(
                folder / f"{speaker}-7-{i:04d}.flac",
                speechlike(1.0 + i / 10, seed=10 * speaker + i),
            )
    _audio.write(tmp_path / "speech" / "0" / "7" / "0-7-0009.flac", speechlike(0.5))
    (tmp_path / "noise").mkdir()
    for name in ("rain-00", "rain-03", "dog-A", "dog-B", "wind", "hall", "sea"):
        _audio.write(tmp_path / "noise" / f"{name}.wav", mostly_silent(rng(len(name)), 20_000))
    return tmp_path


def rows(folder):
    with open(folder / "splits.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_made_corpora_share_neither_speaker_nor_noise_between_splits(recordings):
    made = make_noisy.make_noisy(recordings / "speech", recordings / "noise", recordings / "out")
    table = rows(recordings / "out")
    assert (made["train"], made["dev"], made["test"], made["skipped"], made["noises"]) == (
        12,
        3,
        3,
        1,
        5,
    )
    for key in (
        lambda row: row["speaker"],
        lambda row: row["noise"].split(".")[0].rstrip("0123456789AB").rstrip("-"),
    ):
        of = {
            split: {key(row) for row in table if row["split"] == split}
            for split in ("train", "dev", "test")
        }
        assert all(of.values()) and not (
            of["train"] & of["dev"] or of["train"] & of["test"] or of["dev"] & of["test"]
        )
    corpus = voicebank(recordings / "out")
    for split, items in corpus.splits.items():
        assert len(items) == made[split]
        for item in items:
            clean, noisy = (
                soundfile.read(p, dtype="int16")[0] for p in (item.more["clean"], item.path)
            )
            assert item.more["snr"] in SNRS[split]
            assert noises.snr(clean, noisy - clean) == pytest.approx(item.more["snr"], abs=0.1)
            assert item.samples == len(clean) >= 16_000


def test_the_same_request_gives_the_same_bytes_and_is_not_done_twice(recordings):
    speech, noise, out = recordings / "speech", recordings / "noise", recordings / "out"
    first = make_noisy.make_noisy(speech, noise, out, seed=1, limit=9)
    assert 7 <= first["train"] + first["dev"] + first["test"] <= 11
    make_noisy.make_noisy(speech, noise, recordings / "again", seed=1, limit=9)
    assert tree(out) == tree(recordings / "again")
    second = make_noisy.make_noisy(speech, noise, out, seed=1, limit=9)
    assert not second["made"] and "nothing was done" in second["message"]
    with pytest.raises(UsageError, match="exists and is not what this command makes.*rm -r"):
        make_noisy.make_noisy(speech, noise, out, seed=2, limit=9)
    assert not list(recordings.glob(".*"))  # no half-made folder


def test_noisy_complaints(recordings):
    speech, noise, out = recordings / "speech", recordings / "noise", recordings / "out"
    with pytest.raises(UsageError, match="has 1 speakers"):
        make_noisy.make_noisy(speech / "0", noise, out)
    with pytest.raises(UsageError, match="lie among its own sources"):
        make_noisy.make_noisy(speech, noise, noise / "out")
    with pytest.raises(UsageError, match="no folder"):
        make_noisy.make_noisy(speech, recordings / "nowhere", out)
    for path in noise.iterdir():
        _audio.write(path, np.zeros(16_000))
    with pytest.raises(UsageError, match=r"cannot be mixed with .*digital silence"):
        make_noisy.make_noisy(speech, noise, out)
    assert not out.exists() and not list(recordings.glob(".*"))  # a failure leaves nothing behind


def test_a_manifest_says_who_speaks(recordings):
    lines = [f"speech/{s}/7/{s}-7-{i:04d}.flac,s{s // 2}\n" for s in range(6) for i in range(3)]
    (recordings / "MANIFEST.csv").write_text("path,speaker\n" + "".join(lines))
    make_noisy.make_noisy(recordings / "speech", recordings / "noise", recordings / "out")
    assert {row["speaker"] for row in rows(recordings / "out")} == {"s0", "s1", "s2"}


def test_hundreds_of_numbered_files_are_not_taken_for_one_recording(tmp_path):
    (tmp_path / "musan").mkdir()
    for i in range(SERIES + 1):
        _audio.write(tmp_path / "musan" / f"noise-free-sound-{i:04d}.wav", np.ones(10) / 2)
    assert len(noise_recordings(tmp_path / "musan")) == SERIES + 1
