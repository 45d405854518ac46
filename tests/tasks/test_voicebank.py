"""VoiceBank-DEMAND's layout: splits by speaker, and every bad pair named at once."""

import re

import numpy as np
import pytest
import soundfile
from earlyexit_superb.benchmark import audio as _audio
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import UsageError
from helpers.sounds import BAD, speechlike, spoil, voicebank


def pairs(
    root,
    train=("p226_001", "p230_001", "p230_002", "p287_001"),
    test=("p232_001", "p257_001"),
    ending="",
):
    for part, names in (("trainset_28spk_wav", train), ("testset_wav", test)):
        for side in ("clean", "noisy"):
            (root / f"{side}_{part}{ending}").mkdir(parents=True)
            for i, name in enumerate(names):
                _audio.write(
                    root / f"{side}_{part}{ending}" / f"{name}.wav",
                    speechlike(seed=i) + (side == "noisy") * 0.01,
                )
    return root


@pytest.mark.parametrize("ending", ["", "_16k"])
def test_voicebank_splits_by_speaker_here_and_one_level_deeper(tmp_path, ending):
    corpus = voicebank(pairs(tmp_path / "vb", ending=ending))
    assert {split: [item.id for item in items] for split, items in corpus.splits.items()} == {
        "train": ["p230_001", "p230_002"],
        "dev": ["p226_001", "p287_001"],
        "test": ["p232_001", "p257_001"],
    }
    item = corpus.splits["test"][0]
    assert (item.speaker, item.samples, item.path.name) == ("p232", 24_000, item.more["clean"].name)
    assert "noisy" in item.path.parent.name and "clean" in item.more["clean"].parent.name
    assert corpus.notices == () and corpus.name == "vb" and corpus.hash == voicebank(tmp_path).hash


def test_without_its_development_speakers_a_fifth_is_held_out_and_said(tmp_path):
    corpus = voicebank(pairs(tmp_path, train=[f"p226_{i:03d}" for i in range(1, 11)]))
    assert [item.id for item in corpus.splits["dev"]] == ["p226_009", "p226_010"] and len(
        corpus.splits["train"]
    ) == 8
    assert "last 2 of 10 training utterances" in corpus.notices[0]


def test_the_hash_follows_the_content(tmp_path):
    before = voicebank(pairs(tmp_path)).hash
    _audio.write(tmp_path / "noisy_testset_wav" / "p232_001.wav", speechlike(seed=9))
    assert voicebank(tmp_path).hash != before


def test_other_rates_are_noted_in_the_corpus(tmp_path):
    pairs(tmp_path)
    for side in ("clean", "noisy"):
        soundfile.write(
            tmp_path / f"{side}_testset_wav" / "p232_001.wav", np.tile(speechlike(), 3), 48_000
        )
    corpus = voicebank(tmp_path)
    assert "48000 Hz, resampled to 16000 Hz by scipy.signal.resample_poly" in corpus.notices[0]
    assert corpus.splits["test"][0].samples == 24_000


@pytest.mark.parametrize("how", [*BAD[1:], "silent"])
def test_every_bad_pair_is_named_at_once(tmp_path, how, capsys, monkeypatch):
    """By a run as far as headers tell, by `data verify` all of it; only that decodes."""
    pairs(tmp_path)
    said = spoil(tmp_path / "clean_trainset_28spk_wav" / "p230_002.wav", how)
    for side, name in (("noisy", "p257_001"), ("clean", "p232_001")):
        _audio.write(tmp_path / f"{side}_testset_wav" / f"{name}.wav", speechlike(2.0))
    assert main(["data", "verify", str(tmp_path)]) == 2
    problems = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("problem: ")
    ]
    assert (
        len(problems) >= 3
        and re.search(said, " ".join(problems))
        and "clean_trainset_28spk_wav/p230_002.wav" in " ".join(problems)
    )
    monkeypatch.setattr(_audio, "_decode", None)
    with pytest.raises(UsageError) as complaint:
        voicebank(tmp_path)
    for part in ("p257_001.wav is shorter (24000", "p232_001.wav is longer (32000"):
        assert part in str(complaint.value)
    if how not in ("not finite", "silent"):
        assert re.search(said, str(complaint.value))


def test_files_without_partner_are_counted_beyond_the_tenth(tmp_path):
    pairs(tmp_path)
    for i in range(12):
        _audio.write(tmp_path / "clean_testset_wav" / f"p300_{i:03d}.wav", speechlike(0.1))
    (tmp_path / "clean_testset_wav" / "p232_001.wav").unlink()
    with pytest.raises(
        UsageError,
        match=r"cannot serve se: p232_001.wav of testset_wav has no clean partner"
        r".*p300_000.wav of testset_wav has no noisy partner.*and 3 more",
    ):
        voicebank(tmp_path)


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(UsageError, match="there is no"):
        voicebank(tmp_path / "nowhere")
    with pytest.raises(
        UsageError, match="none of the layouts with clean.*VoiceBank-DEMAND.*data noisy --speech"
    ):
        voicebank(tmp_path)
    pairs(tmp_path)
    (tmp_path / "clean_trainset_28spk_wav").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="lacks the folder clean_trainset_28spk_wav"):
        voicebank(tmp_path)
