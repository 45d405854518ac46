"""Lists of utterances: read as they were written, by other tools too; bad lines are named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.tasks.corpora import entry, manifest
from earlyexit_superb.tasks.corpora.entry import Entry
from helpers.trees import entries, sound, voxceleb
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.text("abcXYZ09_-", min_size=1, max_size=8)


@given(
    st.lists(
        st.tuples(
            NAMES,
            st.sampled_from(entry.SPLITS),
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
            entry.plain(text),
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
    assert entry.fingerprint(one) == entry.fingerprint(list(reversed(two)))
    for changed in ({"split": "dev"}, {"speaker": "x"}, {"text": "x"}, {"start": 1}):
        assert entry.fingerprint([replace(one[0], **changed), *one[1:]]) != entry.fingerprint(one)
    sound(two[0].path, level=0.2)
    assert entry.fingerprint(one) != entry.fingerprint(two)
