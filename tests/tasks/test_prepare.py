"""`data prepare`: a prepared list is the corpus."""

from collections import Counter
from dataclasses import replace

import pytest
import soundfile
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks.corpora import entry, fsdd
from helpers.trees import digits, entries, mixtures, sound, voicebank, voxceleb

# ---- prepare ----


@pytest.mark.parametrize("make, task", [(voxceleb, "sid"), (mixtures, "ss"), (voicebank, "se")])
def test_a_prepared_list_is_the_corpus(tmp_path, make, task, capsys):
    root, out = make(tmp_path / "corpus"), tmp_path / "out"
    command = ["data", "prepare", "--from", str(root), "--out", str(out)]
    assert main(command) == 0 and "manifest.csv" in capsys.readouterr().out
    listed, notices = entries(out, task)
    from_folder, said = entries(root, task)
    assert [replace(e, sha="") for e in listed] == from_folder and sorted(notices) == sorted(said)
    assert all(e.sha == entry.sha(e) for e in listed) and entry.fingerprint(
        listed
    ) == entry.fingerprint(from_folder)
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
    assert entry.fingerprint(entries(tmp_path / "again", "asr")[0]) == entry.fingerprint(found)


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
