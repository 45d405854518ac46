"""Corpora as they lie on disk: recognised, read, listed in manifests; and everything that is wrong
with one said at once.
"""

import ast
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import UsageError, listed
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.benchmark.validation import problems
from earlyexit_superb.tasks import corpora
from earlyexit_superb.tasks.corpora import Need, fsdd, layouts, manifest
from earlyexit_superb.tasks.corpora.librispeech import FINETUNING
from earlyexit_superb.tasks.corpora.manifest import Entry
from helpers import DATA
from hypothesis import given
from hypothesis import strategies as st


def sound(path, samples=8000, rate=16_000, level=0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    wav = level * np.sin(np.arange(samples * rate // 16_000) * (0.1 + len(path.stem) / 50))
    soundfile.write(path, wav, rate, subtype="PCM_16")
    return path


def librispeech(root, sets, speakers=(1, 2), utterances=3):
    """LibriSpeech's tree with sets of so many utterances a speaker."""
    for part in sets:
        for speaker in speakers:
            folder, lines = root / part / str(speaker) / "7", []
            for i in range(utterances):
                id = f"{speaker}-7-{i:04d}"
                sound(folder / f"{id}.flac", 8000 + 800 * i)
                lines.append(f"{id} IT'S NUMBER {'ABC'[i % 3]}\n")
            (folder / f"{speaker}-7.trans.txt").write_text("".join(lines))
    return root


def mixtures(root, folders=("train-100", "dev", "test")):
    for folder in folders:
        for i in range(2):
            for part in ("mix_clean", "s1", "s2"):
                sound(root / "wav16k" / "min" / folder / part / f"1-7-000{i}_2-7-000{i}.wav")
    return root


def voxceleb(root):
    lines = []
    for speaker in ("id10001", "id10002"):
        for part, split in (
            (f"{'dev' if speaker == 'id10001' else 'test'}/wav/{speaker}/v{i}", i)
            for i in (1, 2, 3)
        ):
            sound(root / part / "00001.wav")
            lines.append(f"{split} {speaker}/v{split}/00001.wav\n")
    (root / "veri_test_class.txt").write_text("".join(lines))
    return root


def digits(root, speakers=("ann", "bob")):
    for speaker in speakers:
        for digit in range(10):
            for number in range(8):
                sound(
                    root / "recordings" / f"{digit}_{speaker}_{number}.wav",
                    3200 + 160 * digit,
                    rate=8_000,
                )
    return root


def voicebank(root):
    for part, speaker in (
        ("trainset_28spk", "p226"),
        ("trainset_28spk", "p230"),
        ("testset", "p232"),
    ):
        for side in ("clean", "noisy"):
            for i in range(2):
                sound(root / f"{side}_{part}_wav" / f"{speaker}_00{i}.wav", rate=48_000)
    return root


def counts(found):
    return dict(Counter(e.split for e in found))


def scan(root, task, train=""):
    return corpora.scan(root, Need(tasks.get(task).needs, task, train))


def entries(root, task, train=""):
    """What is listed, and notices; UsageError with everything that headers and labels tell against
    it.
    """
    found = scan(root, task, train)
    if wrong := layouts.wrong(found, Need(tasks.get(task).needs, task, train)):
        raise UsageError(listed(wrong))
    return found.entries, found.notices


def wrong(root, task):
    """Everything that is wrong before anything is decoded, in one sentence each."""
    t = tasks.get(task)
    return problems(t, t.corpus(root, t.protocols[t.default]), t.protocols[t.default])


# ---- layouts ----


def test_librispeechs_published_sets(tmp_path):
    root = librispeech(
        tmp_path / "LibriSpeech", ("train-clean-100", "dev-clean", "test-clean", "train-other-500")
    )
    found, notices = entries(root, "asr")
    assert counts(found) == {"train": 6, "dev": 6, "test": 6} and not notices
    first = found[0]
    assert (first.id, first.speaker, first.text, first.samples) == (
        "1-7-0000",
        "1",
        "IT'S NUMBER A",
        8000,
    )
    # one level above
    assert "train-clean-100" in str(first.path) and entries(tmp_path, "asr")[0] == found


def test_libri_light_is_taken_where_it_is_asked_for(tmp_path):
    root = librispeech(tmp_path / "LibriSpeech", ("train-clean-100", "dev-clean", "test-clean"))
    with pytest.raises(
        UsageError, match="no utterance for train: unpack Libri-Light's librispeech_finetuning.tgz"
    ):
        entries(root, "asr", FINETUNING)
    librispeech(tmp_path / FINETUNING, ("1h/0/clean", "9h/other"), speakers=(9,))
    found, _ = entries(root, "asr", FINETUNING)
    assert counts(found) == {"train": 6, "dev": 6, "test": 6} and {
        e.speaker for e in found if e.split == "train"
    } == {"9"}
    assert {e.speaker for e in entries(root, "asr")[0]} == {"1", "2"}


def test_a_table_of_splits_decides_for_each_task(tmp_path):
    root = librispeech(tmp_path / "LibriSpeech", ("test-clean",), speakers=(1, 2, 3), utterances=4)
    lines = [
        f"LibriSpeech/test-clean/{s}/7/{s}-7-{i:04d}.flac,{s},{split},"
        f"{['train', 'train', 'dev', 'test'][i]}\n"
        for s, split in ((1, "train"), (2, "dev"), (3, "test"))
        for i in range(4)
    ]
    (root / "splits.csv").write_text(
        "path,speaker,asr_split_speaker_disjoint,sid_split_closed_set\n" + "".join(lines[:-1])
    )
    asr, notices = entries(root, "asr", FINETUNING)
    assert counts(asr) == {"train": 4, "dev": 4, "test": 3} and {
        e.speaker for e in asr if e.split == "dev"
    } == {"2"}
    assert notices == [
        "1 utterances are not in splits.csv and are not used",
        f"trained on this corpus' own training split, not on {FINETUNING}",
    ]
    assert counts(entries(root, "sid")[0]) == {"train": 6, "dev": 3, "test": 2}
    (root / "test-clean/1/7/1-7-0000.flac").unlink()
    (root / "splits.csv").write_text(
        (root / "splits.csv").read_text().replace(",dev,test", ",valid,test")
    )
    said = scan(root, "asr").problems
    assert (
        len(said) == 3
        and "splits.csv line 2 points to" in " ".join(said)
        and "'valid'" in " ".join(said)
    )


@pytest.mark.parametrize(
    "make, task, expected, speakers",
    [
        (voxceleb, "sid", {"train": 2, "dev": 2, "test": 2}, {"id10001", "id10002"}),
        (mixtures, "ss", {"train": 2, "dev": 2, "test": 2}, {"1+2"}),
        (digits, "asr", {"train": 20, "dev": 40, "test": 100}, {"ann", "bob"}),
        (voicebank, "se", {"train": 2, "dev": 2, "test": 2}, {"p226", "p230", "p232"}),
    ],
)
def test_each_layout_gives_its_splits(tmp_path, make, task, expected, speakers):
    found, notices = entries(make(tmp_path / "corpus"), task)
    assert counts(found) == expected and {e.speaker for e in found} == speakers
    assert all(len(e.references) == {"se": 1, "ss": 2}.get(task, 0) for e in found)
    for rate, resampled in (("8000 Hz", make is digits), ("48000 Hz", make is voicebank)):
        assert (
            any(
                f"audio at {rate}, resampled to 16000 Hz by {audio.RESAMPLER}" in n for n in notices
            )
            == resampled
        )
    assert all(audio.length(e.path) == e.samples for e in found)


def test_only_part_of_a_corpus_says_what_is_missing(tmp_path):
    root = mixtures(tmp_path / "Libri2Mix", ("test",))
    with pytest.raises(UsageError) as error:
        entries(root, "ss")
    assert "train-100/mix_clean is missing or empty" in str(
        error.value
    ) and "dev/mix_clean is missing or empty" in str(error.value)


def test_folders_that_fit_nothing_or_another_task(tmp_path):
    sound(tmp_path / "noise" / "rain.wav")
    with pytest.raises(
        UsageError,
        match=r"in none of the layouts with text \(manifest, LibriSpeech, FSDD, speakers\)",
    ):
        entries(tmp_path / "noise", "asr")
    with pytest.raises(UsageError, match="laid out as Libri2Mix, which has sources, not text"):
        entries(mixtures(tmp_path / "a" / "Libri2Mix"), "asr")
    digits(tmp_path / "a" / "fsdd", ("ann",))
    with pytest.raises(UsageError, match="holds more than one corpus"):
        entries(tmp_path / "a", "asr")


# ---- manifests ----

NAMES = st.text("abcXYZ09_-", min_size=1, max_size=8)


@given(
    st.lists(
        st.tuples(
            NAMES,
            st.sampled_from(manifest.SPLITS),
            st.integers(0, 10**9),
            st.integers(1, 10**9),
            st.text("ABC' ", max_size=12),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda t: t[0],
    )
)
def test_a_manifest_reads_as_it_was_written(tmp_path_factory, rows):
    root = tmp_path_factory.mktemp("m")
    made = [
        Entry(
            id,
            split,
            root / f"{id}.wav",
            start,
            samples,
            "s,1",
            manifest.plain(text),
            (root / "a.wav", Path("/else/b.wav")),
            "ab",
            8_000,
            2,
        )
        for id, split, start, samples, text in rows
    ]
    manifest.write(root / "manifest.csv", made)
    assert manifest.read(root / "manifest.csv") == made


def test_other_tools_lists_are_understood(tmp_path):
    sound(tmp_path / "wav" / "a.wav", 16_000)
    (tmp_path / "nemo.jsonl").write_text(
        json.dumps(
            {
                "audio_filepath": "wav/a.wav",
                "duration": 0.5,
                "offset": 0.25,
                "text": "it's  me",
                "split": "validation",
            }
        )
        + "\n"
    )
    (tmp_path / "voice.tsv").write_text("client_id\tpath\tsentence\nme\twav/a.wav\tyes\n")
    [one], [two] = manifest.read(tmp_path / "nemo.jsonl"), manifest.read(tmp_path / "voice.tsv")
    assert (one.start, one.samples, one.text, one.split, one.id) == (
        4000,
        8000,
        "IT'S ME",
        "dev",
        "a",
    )
    assert (two.start, two.samples, two.text, two.split, two.speaker) == (
        0,
        16_000,
        "YES",
        "",
        "me",
    )


def test_all_bad_lines_of_a_list_are_named(tmp_path):
    sound(tmp_path / "a.wav")
    (tmp_path / "manifest.csv").write_text(
        "path,split,seconds\na.wav,train,\n,train,\na.wav,train,\na.wav,eval,\nb.wav,dev,soon\n"
    )
    with pytest.raises(UsageError) as error:
        manifest.read(tmp_path / "manifest.csv")
    for line in (
        "line 3 has no path",
        "line 4 repeats the id a",
        "line 5 has the split 'eval'",
        "line 6 has a start",
    ):
        assert line in str(error.value)
    (tmp_path / "manifest.csv").write_text("file_name\na.wav\n")
    with pytest.raises(UsageError, match="no column named path"):
        manifest.read(tmp_path / "manifest.csv")


def test_the_fingerprint_is_of_what_is_listed_not_of_where_it_lies(tmp_path):
    one, two = (entries(voxceleb(tmp_path / name / "VoxCeleb1"), "sid")[0] for name in "ab")
    assert manifest.fingerprint(one) == manifest.fingerprint(list(reversed(two)))
    for changed in ({"split": "dev"}, {"speaker": "x"}, {"text": "x"}, {"start": 1}):
        assert manifest.fingerprint([replace(one[0], **changed), *one[1:]]) != manifest.fingerprint(
            one
        )
    sound(two[0].path, level=0.2)
    assert manifest.fingerprint(one) != manifest.fingerprint(two)


# ---- prepare ----


@pytest.mark.parametrize("make, task", [(voxceleb, "sid"), (mixtures, "ss"), (voicebank, "se")])
def test_a_prepared_list_is_the_corpus(tmp_path, make, task, capsys):
    root, out = make(tmp_path / "corpus"), tmp_path / "out"
    command = ["data", "prepare", "--from", str(root), "--out", str(out)]
    assert main(command) == 0 and "manifest.csv" in capsys.readouterr().out
    listed, notices = entries(out, task)
    from_folder, said = entries(root, task)
    assert [replace(e, sha="") for e in listed] == from_folder and sorted(notices) == sorted(said)
    assert all(e.sha == manifest.sha(e) for e in listed) and manifest.fingerprint(
        listed
    ) == manifest.fingerprint(from_folder)
    assert entries(out / "manifest.csv", task)[0] == listed
    stamp = (out / "manifest.csv").stat().st_mtime_ns
    assert (
        main(command) == 0
        and "nothing was done" in capsys.readouterr().out
        and (out / "manifest.csv").stat().st_mtime_ns == stamp
    )
    assert (
        main([*command, "--seed", "1"]) == 2
        and "exists and is not what this command makes" in capsys.readouterr().err
    )


def test_digits_are_joined_to_strings(tmp_path):
    root, out = digits(tmp_path / "fsdd"), tmp_path / "out"
    assert (
        main(["data", "prepare", "--layout", "fsdd", "--from", str(root), "--out", str(out)]) == 0
    )
    found, notices = entries(out, "asr")
    single = entries(root, "asr")[0]
    for split, passes in (("train", 4), ("dev", 1), ("test", 1)):
        assert all(3 <= len(e.text.split()) <= 7 for e in found if e.split == split)
        spoken = Counter(
            (e.speaker, word) for e in found if e.split == split for word in e.text.split()
        )
        assert spoken == Counter(
            (e.speaker, e.text) for e in single if e.split == split for _ in range(passes)
        )
    e = found[0]
    clips = [
        audio.length(root / "recordings" / f"{fsdd.DIGITS.index(w)}_{e.speaker}_0.wav")
        for w in e.text.split()
    ]
    pauses = (e.samples - sum(clips)) / 16_000 / (len(clips) - 1)
    assert 0.05 <= pauses <= 0.2 and soundfile.info(e.path).samplerate == 16_000
    assert any("8000 Hz" in n for n in notices) and any("joined" in n for n in notices)
    main(
        [
            "data",
            "prepare",
            "--layout",
            "fsdd",
            "--from",
            str(root),
            "--out",
            str(tmp_path / "again"),
        ]
    )
    assert manifest.fingerprint(entries(tmp_path / "again", "asr")[0]) == manifest.fingerprint(
        found
    )


def test_a_closed_set_is_drawn_where_no_list_gives_it(tmp_path, capsys):
    for speaker in "abc":
        for i in range(10):
            sound(tmp_path / "tree" / speaker / "x" / f"{i}.wav")
    command = [
        "data",
        "prepare",
        "--layout",
        "speakers",
        "--from",
        str(tmp_path / "tree"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(command) == 0
    found, notices = entries(tmp_path / "out", "sid")
    assert Counter((e.speaker, e.split) for e in found) == {
        (s, split): n for s in "abc" for split, n in (("train", 8), ("dev", 1), ("test", 1))
    }
    assert "splits drawn here, utterance by utterance of each speaker (seed 0)" in notices
    sound(tmp_path / "tree" / "d" / "0.wav")
    assert (
        main([*command[:-1], str(tmp_path / "other")]) == 2
        and "speaker d has 1 utterances" in capsys.readouterr().err
    )


# ---- verify ----


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


def test_enhancement_takes_a_list(tmp_path):
    se, root = tasks.get("se"), voicebank(tmp_path / "corpus")
    main(["data", "prepare", "--from", str(root), "--out", str(tmp_path / "out")])
    listed, laid_out = (se.corpus(p, se.protocols["mini"]) for p in (tmp_path / "out", root))
    for split in ("train", "dev", "test"):
        for a, b in zip(listed.splits[split], laid_out.splits[split], strict=True):
            assert (a.id, a.path, a.samples, a.speaker, a.more["clean"]) == (
                b.id,
                b.path,
                b.samples,
                b.speaker,
                b.more["clean"],
            )
            assert se.load(a).target.equal(se.load(b).target)
    assert set(laid_out.notices) <= set(listed.notices)


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


def test_neither_readers_nor_verbs_know_a_task():
    """A new task touches no other file."""
    root = Path(corpora.__file__).parents[2]
    for path in (
        *root.glob("tasks/*/*.py"),
        root / "benchmark" / "commands" / "data.py",
        root / "benchmark" / "cli.py",
    ):
        named = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant)
        } & set(tasks.names())
        assert not named, f"{path.name} names {named}"


def test_what_a_corpus_can_serve_follows_from_fields_alone(tmp_path, monkeypatch):
    """A task that nobody has heard of, with a need that a reader can meet."""
    from earlyexit_superb.benchmark.commands import data

    monkeypatch.setitem(tasks._found, "words", replace(tasks.get("asr"), name="words"))
    monkeypatch.setattr(tasks, "names", lambda: ["asr", "se", "sid", "ss", "words"])
    assert data.served(
        librispeech(tmp_path / "LibriSpeech", ("train-clean-100", "dev-clean", "test-clean"))
    ) == ["asr", "words"]
    assert data.served(digits(tmp_path / "fsdd")) == ["asr", "words", "sid"]
    assert data.served(voicebank(tmp_path / "vb")) == ["se"] and data.served(
        mixtures(tmp_path / "mix")
    ) == ["ss"]
    assert main(["data", "verify", str(tmp_path / "fsdd"), "--task", "words"]) == 0
