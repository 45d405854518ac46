"""Folder layouts: splits are the published ones, and folders that fit nothing say so."""

import pytest
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.tasks.corpora.librispeech import FINETUNING
from helpers.trees import (
    counts,
    digits,
    entries,
    librispeech,
    mixtures,
    scan,
    sound,
    voicebank,
    voxceleb,
)


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
    librispeech(tmp_path / FINETUNING, ("1h/0/clean",), speakers=(9,))
    librispeech(tmp_path / FINETUNING, ("9h/other",), speakers=(10,))
    found, _ = entries(root, "asr", FINETUNING)
    assert counts(found) == {"train": 6, "dev": 6, "test": 6} and {
        e.speaker for e in found if e.split == "train"
    } == {"9", "10"}
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
