"""Folders as people have them: every reader is who he is, what is not read is named."""

import os

import pytest
from earlyexit_superb.benchmark.audio_tree import audio_files
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.tasks.corpora.speakers import listed_speaker, speakers
from helpers.trees import digits, entries, scan, sound, voicebank, voxceleb


def tree(root, paths):
    for path in paths:
        sound(root / path, 480)
    return root


def who(root):
    return {str(p.relative_to(root)): s for p, s in speakers(root, audio_files(root)).items()}


# ---- who is a speaker ----

# readers, and what lies below them
CORPORA = {
    "LibriSpeech": (("84", "174"), "dev-clean/{}/{}1/{}-{}1-0000.flac"),
    "LibriTTS": (("84", "174"), "train-clean-100/{}/{}1/{}_{}1_000000_000001.wav"),
    "LibriTTS, two books": (("84", "174"), "LibriTTS_R/dev-clean/{}/book/{}_9_000000_000001.wav"),
    "MLS": (("84", "174"), "mls_polish/train/audio/{}/{}1/{}_{}1_000000.flac"),
    "VoxCeleb1": (("id10001", "id10002"), "dev/wav/{}/v{}/00001.wav"),
    "VoxCeleb2 as wav": (("id00012", "id00015"), "vox2/dev/aac/{}/v{}/00001.wav"),
    "VCTK": (("p225", "p226", "s5"), "wav48_silence_trimmed/{}/{}_001_mic1.flac"),
    "VoiceBank": (("p226", "p287"), "clean_trainset_28spk_wav/{}_001.wav"),
    "TIMIT": (("FCJF0", "MDAB0"), "TIMIT/TRAIN/DR1/{}/SA1.WAV"),
    "AISHELL": (("S0002", "S0003"), "data_aishell/wav/train/{}/BAC009{}W0122.wav"),
    "AISHELL-3": (("SSB0005", "SSB0009"), "train/wav/{}/{}0001.wav"),
    "speechocean762": (("SPEAKER0001", "SPEAKER0003"), "WAVE/{}/000010011.WAV"),
    "FSDD": (("anna", "anna2", "yweweler"), "recordings/3_{}_0.wav"),
    "Speech Commands": (("0a7c2a8d", "1b4c9b89"), "yes/{}_nohash_0.wav"),
    "CREMA-D": (("1001", "1002"), "AudioWAV/{}_DFA_ANG_XX.wav"),
    "ESD": (("0001", "0002"), "ESD/{}/Angry{}/{}_000351.wav"),
    "RAVDESS": (("Actor_01", "Actor_02"), "{}/03-01-01-01-01-01-01.wav"),
    "THCHS-30": (("A11", "D4"), "data_thchs30/train/{}_100.wav"),
    "CMU ARCTIC": (("cmu_us_bdl_arctic", "cmu_us_slt_arctic"), "{}/wav/arctic_a0001.wav"),
    "TIDIGITS": (("ae", "aj"), "adults/train/man/{}/1a.wav"),
    "a folder a speaker": (("ann", "bob"), "{}/x.wav"),
}


@pytest.mark.parametrize("corpus", CORPORA)
def test_trees_of_the_usual_corpora_give_their_readers(tmp_path, corpus):
    names, pattern = CORPORA[corpus]
    expected = {pattern.replace("{}", name): name for name in names}
    assert who(tree(tmp_path / "c", expected)) == expected


def test_readers_of_two_sets_are_the_same_people(tmp_path):
    paths = [
        f"{part}/wav/{s}/v{part}/1.wav" for part in ("dev", "test") for s in ("id10001", "id10002")
    ]
    assert set(who(tree(tmp_path, paths)).values()) == {"id10001", "id10002"}
    several = [f"LibriTTS/dev/{s}/{b}/{s}_{b}_000000_000001.wav" for s in (8, 9) for b in (1, 2)]
    several += [f"VCTK/wav48/p{n}/p{n}_001.wav" for n in (225, 226)]
    found = who(tree(tmp_path / "several", several))
    assert set(found.values()) == {"8", "9", "p225", "p226"} and len(found) == 6


@pytest.mark.parametrize(
    "paths",
    [
        ["ann/monday/1.wav", "ann/tuesday/1.wav", "bob/monday/1.wav"],
        ["clean/ann/1.wav", "far/ann/1.wav", "clean/bob/1.wav"],
        ["ann/sea/sea_1.wav", "ann/sky/sky_1.wav", "bob/war/war_1.wav"],
        ["ann/1.wav", "bob/1.wav", "2.wav"],
        ["data/1.wav", "ann/1.wav"],
    ],
)  # fmt: skip
def test_a_tree_that_could_mean_two_things_asks_for_a_list(tmp_path, paths, capsys):
    root = tree(tmp_path / "c", paths)
    out = ["--out", str(tmp_path / "out")]
    assert main(["data", "prepare", "--layout", "speakers", "--from", str(root), *out]) == 2
    said = capsys.readouterr().err
    assert "does not tell who speaks" in said and "MANIFEST.csv" in said
    rows = [f"{path},{path[0]}\n" for path in paths]
    (root / "MANIFEST.csv").write_bytes(("path,speaker\n" + "".join(rows)).encode("utf-8-sig"))
    assert who(root) == {path: path[0] for path in paths}
    (root / "MANIFEST.csv").write_text("path,speaker\n" + "".join(rows[1:]))
    with pytest.raises(UsageError, match="and not of 1 others"):
        who(root)


def test_common_voice_says_who_speaks_in_its_tables(tmp_path):
    paths = [f"clips/common_voice_en_{i}.wav" for i in range(4)]
    rows = [f'id{i % 2}\tcommon_voice_en_{i}.wav\t"Yes\n' for i in range(4)]
    tree(tmp_path, paths)
    (tmp_path / "validated.tsv").write_text("client_id\tpath\tsentence\n" + "".join(rows))
    assert who(tmp_path) == {path: f"id{i % 2}" for i, path in enumerate(paths)}


def test_a_list_of_identification_may_name_the_sets(tmp_path):
    for name in ("id10001/v/1.wav", "dev/wav/id10001/v/1.wav", "wav/id10001/v/1.wav"):
        assert listed_speaker(name) == "id10001"
    assert listed_speaker("dev/ann/1.wav") == listed_speaker("ann/1.wav") == "ann"


def test_mixtures_are_of_two_people(tmp_path):
    paths = [
        f"c/{s}/{b}/{s}_{b}_{i:06d}_000000.wav" for s in range(6) for b in "12" for i in (0, 1)
    ]
    for path in paths:
        sound(tmp_path / path, 48_000)
    command = ["data", "mixtures", "--speech", str(tmp_path / "c"), "--out", str(tmp_path / "m")]
    assert main(command) == 0
    talkers = [p.stem.split("_") for p in (tmp_path / "m").rglob("mix_clean/*.wav")]
    people = [[name.split("-")[0] for name in pair] for pair in talkers]
    assert people and all(len(pair) == 2 and pair[0] != pair[1] for pair in people)


# ---- files that vanish ----


def test_folders_behind_links_are_read_once(tmp_path):
    tree(tmp_path / "c", ["ann/1.wav"])
    tree(tmp_path / "elsewhere", ["bob/1.wav", "bob/2.wav"])
    (tmp_path / "c" / "bob").symlink_to(tmp_path / "elsewhere" / "bob")
    (tmp_path / "c" / "aaa").symlink_to(tmp_path / "c" / "ann")
    (tmp_path / "c" / "ann" / "loop").symlink_to(tmp_path / "c")
    (tmp_path / "c" / "bill").mkdir()
    (tmp_path / "c" / "bill" / "1.wav").symlink_to(tmp_path / "c" / "ann" / "1.wav")
    (tmp_path / "c" / "cy").mkdir()
    (tmp_path / "c" / "cy" / "1.wav").symlink_to(sound(tmp_path / "blobs" / "1.wav"))
    assert who(tmp_path / "c") == {
        "ann/1.wav": "ann",
        "bob/1.wav": "bob",
        "bob/2.wav": "bob",
        "cy/1.wav": "cy",
    }


def test_digits_by_any_name_are_read_and_others_are_counted(tmp_path, capsys):
    root = digits(tmp_path / "fsdd", ("anna2", "jo-ann"))
    for odd in ("3_x.wav", "readme_wav.wav"):
        sound(root / "recordings" / odd)
    (root / "recordings" / "3_bob_1.m4a").write_bytes(b"x")
    assert {e.speaker for e in entries(root, "asr")[0]} == {"anna2", "jo-ann"}
    main(["data", "verify", str(root), "--task", "asr"])
    said = capsys.readouterr().out
    assert "notice: 2 audio files below" in said and "recordings/3_x.wav" in said
    assert "notice: 1 .m4a below" in said


def test_what_is_not_prepared_is_said_in_the_rows(tmp_path):
    root = voxceleb(tmp_path / "VoxCeleb1")
    sound(root / "dev" / "wav" / "id10009" / "v" / "1.wav")
    assert main(["data", "prepare", "--from", str(root), "--out", str(tmp_path / "out")]) == 0
    assert any("1 audio files below" in n for n in entries(tmp_path / "out", "sid")[1])


def test_one_recording_in_two_splits_is_said(tmp_path):
    root = voxceleb(tmp_path / "VoxCeleb1")
    lines = root / "veri_test_class.txt"
    lines.write_text(lines.read_text().replace(" ", "\t") + "3\tid10001/v1/00001.wav\n")
    assert any("1 recordings are in more than one split" in n for n in scan(root, "sid").notices)
    lines.write_text(lines.read_text() + "3 id10001/v1/00001.wav\n")
    with pytest.raises(UsageError, match="id10001-v1-00001 is the id of 2 utterances of test"):
        entries(root, "sid")


def test_an_archive_in_a_folder_of_its_own_name(tmp_path):
    root = voicebank(tmp_path / "flat")
    nested = tmp_path / "outer" / "VoiceBank" / "VoiceBank"
    for folder in root.iterdir():
        (nested / folder.name).mkdir(parents=True)
        folder.rename(nested / folder.name / folder.name)
    assert {e.split for e in entries(tmp_path / "outer", "se")[0]} == {"train", "dev", "test"}


# ---- names and permissions ----


def test_a_name_that_is_no_utf_8(tmp_path, capsys):
    sound(tmp_path / "a.wav")
    os.rename(tmp_path / "a.wav", os.fsencode(tmp_path) + b"/caf\xe9.wav")
    assert main(["data", "verify", str(tmp_path)]) == 2
    assert "caf\\xe9.wav is not UTF-8, so no list can hold it" in capsys.readouterr().err


def test_a_folder_that_may_not_be_listed(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    sound(tmp_path / "a.wav")
    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(MachineError, match=r"cannot be listed \(Permission denied\)"):
        audio_files(tmp_path)


def test_a_corpus_is_called_after_its_folder(tmp_path, monkeypatch):
    from earlyexit_superb.benchmark.registry import tasks

    monkeypatch.chdir(voxceleb(tmp_path / "VoxCeleb1"))
    sid = tasks.get("sid")
    assert sid.corpus(type(tmp_path)(), sid.protocols["mini"]).name == "VoxCeleb1"


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    root = voxceleb(tmp_path / "VoxCeleb1")
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main(["data", "prepare", "--from", str(root), "--out", str(out)]) == 3
        assert capsys.readouterr().err.count("\n") == 1


def test_two_words_about_one_file_and_a_lone_speaker(tmp_path, capsys):
    tree(tmp_path / "c", ["1.wav", "2.wav", "3.wav"])
    command = ["data", "prepare", "--layout", "speakers", "--from", str(tmp_path / "c")]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "has one speaker, c; give a folder a speaker" in capsys.readouterr().err
    (tmp_path / "c" / "MANIFEST.csv").write_text("path,speaker\n1.wav,ann\n1.wav,bob\n")
    with pytest.raises(UsageError, match="line 3 says bob of 1.wav, and another line"):
        who(tmp_path / "c")


def test_a_readme_that_is_damaged_belongs_to_nobody(tmp_path, capsys):
    root, out = voxceleb(tmp_path / "VoxCeleb1"), tmp_path / "out"
    command = ["data", "prepare", "--from", str(root), "--out", str(out)]
    assert main(command) == 0
    (out / "README.txt").write_bytes(b"\xff\xfe\x00")
    assert main(command) == 2 and "not what this command makes" in capsys.readouterr().err
    assert main(["data", "verify", str(out)]) == 0
