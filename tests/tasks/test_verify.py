"""`data verify`: everything wrong with a corpus, at once and by name."""

import numpy as np
import pytest
import soundfile
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.tasks import corpora
from helpers import DATA
from helpers.trees import entries, librispeech, mixtures, scan, sound, voxceleb, wrong


def broken_asr(root):
    """A corpus with one of each: the complaints, in any order, that verify owes."""
    librispeech(root, ("train-clean-100", "dev-clean", "test-clean"))
    folder = root / "train-clean-100" / "1" / "7"
    sound(folder / "1-7-0009.flac")
    sound(folder.parents[1] / "2" / "7" / "2-7-0002.flac", 4800)
    labels = folder / "1-7.trans.txt"
    labels.write_text(labels.read_text().replace("NUMBER A", "NUMBER 5") + "1-7-0008 GONE\n")
    (folder / "1-7-0001.flac").write_bytes((folder / "1-7-0001.flac").read_bytes()[:-100])
    (folder / "1-7-0002.flac").write_bytes(b"")
    soundfile.write(root / "dev-clean/2/7/2-7-0000.flac", np.zeros(8000), 16_000)
    wav = np.full(8000, np.nan, np.float32)
    (root / "dev-clean/2/7/2-7-0001.flac").unlink()
    soundfile.write(root / "dev-clean/2/7/2-7-0001.wav", wav, 16_000, subtype="FLOAT")
    return [
        "1-7-0009 has no transcript",
        "2-7-0002: CTC needs 15 frames",
        "1-7-0000: its transcript has '5'",
        "points to 1-7-0008, whose audio is missing",
        "1-7-0001.flac",
        "1-7-0002.flac is an empty file",
        "2-7-0000.flac is digital silence",
        "2-7-0001.wav has samples that are not finite",
    ]


def test_verify_lists_everything_at_once(tmp_path, capsys):
    wanted = broken_asr(tmp_path / "LibriSpeech")
    assert main(["data", "verify", str(tmp_path / "LibriSpeech"), "--task", "asr"]) == 2
    said = capsys.readouterr()
    problems = [line for line in said.out.splitlines() if line.startswith("problem: ")]
    assert len(problems) == len(wanted) and all(any(w in p for p in problems) for w in wanted), (
        problems
    )
    assert f"has {len(wanted)} problems, listed above" in said.err


def test_strangers_and_short_sources_are_named(tmp_path):
    root = voxceleb(tmp_path / "VoxCeleb1")
    labels = root / "veri_test_class.txt"
    labels.write_text(
        labels.read_text().replace("1 id10002", "3 id10002") + "1 id10003/v1/1.wav\n4 x/y\n"
    )
    said = " | ".join(wrong(root, "sid"))
    for sentence in (
        "speaker id10002 has 1 utterances in dev and none in training",
        "speaker id10002 has 2 utterances in test and none in training",
        "points to id10003/v1/1.wav, whose audio is missing",
        "line 8 is '4 x/y'",
        "only speaker in training",
    ):
        assert sentence in said, said
    root = mixtures(tmp_path / "Libri2Mix")
    sound(next((root / "wav16k/min/dev/s2").iterdir()), 4000)
    next((root / "wav16k/min/test/s1").iterdir()).unlink()
    said = wrong(root, "ss")
    assert (
        len(said) == 2
        and "is shorter (4000 samples at 16 kHz)" in said[0]
        and "there is no audio file" in said[1]
    )


def test_verify_finds_what_changed_since_it_was_listed(tmp_path, capsys):
    root = voxceleb(tmp_path / "VoxCeleb1")
    main(["data", "prepare", "--from", str(root), "--out", str(tmp_path / "out")])
    assert (
        main(["data", "verify", str(tmp_path / "out")]) == 0
        and "ready for sid" in capsys.readouterr().out
    )
    changed = next(root.rglob("v1/00001.wav"))
    sound(changed, 4000)
    assert main(["data", "verify", str(tmp_path / "out")]) == 2
    out = capsys.readouterr().out
    assert "samples 0 to 8000 of" in out and "is not the file that was listed" in out
    changed.unlink()
    with pytest.raises(UsageError, match="there is no audio file"):
        entries(tmp_path / "out", "sid")


def test_plain_audio_is_counted(tmp_path, capsys):
    sound(tmp_path / "rain" / "a.wav", 16_000)
    sound(tmp_path / "wind" / "b.wav", 8_000)
    assert main(["data", "verify", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "plain audio" in out and [line.split()[:3] for line in out.splitlines()[2:]] == [
        ["rain", "1", "1"],
        ["wind", "1", "1"],
        ["all", "2", "2"],
    ]
    (tmp_path / "wind" / "c.wav").write_bytes(b"RIFF")
    assert (
        main(["data", "verify", str(tmp_path)]) == 2
        and "c.wav cannot be read as audio" in capsys.readouterr().out
    )


def test_the_check_of_a_sound_list_is_silent(tmp_path):
    root = voxceleb(tmp_path / "VoxCeleb1")
    assert not wrong(root, "sid") and not list(corpora.damage(scan(root, "sid").entries))


@pytest.mark.data
@pytest.mark.parametrize(
    "folder, status, said",
    [
        ("LibriSpeech", 0, "ready for sid"),
        ("fsdd", 0, "ready for asr"),
        ("layout_cases", 0, "ready for sid"),
        ("noise", 0, "plain audio"),
        ("VoiceBank-DEMAND", 0, "ready for se"),
        ("Libri2Mix", 2, "train-100/mix_clean is missing or empty"),
        pytest.param("speechocean762", 0, "ready for sid", marks=pytest.mark.slow),
        pytest.param("pretrain_pool", 0, "plain audio", marks=pytest.mark.slow),
    ],
)
def test_verify_of_the_real_recordings(folder, status, said, capsys):
    if not (DATA / folder).is_dir():
        pytest.skip(f"the real recordings are not beside the checkout: {DATA / folder}")
    assert (
        main(["data", "verify", str(DATA / folder)]) == status and said in capsys.readouterr().out
    )
