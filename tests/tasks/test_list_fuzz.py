"""Damaged lists and recordings: either the same utterances as before the damage, or one sentence;
never a traceback, never another utterance without a word.
"""

import json

import pytest
import soundfile
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import BenchmarkError
from earlyexit_superb.tasks.corpora import manifest
from helpers.sounds import speechlike
from helpers.trees import sound, voxceleb
from hypothesis import given, settings
from hypothesis import strategies as st

WORDS = ("path", "split", "text", "wav/a1.wav", "train", "dev", "YES", "0.5", "seconds", "\n")
HOSTILE = (
    *('"', ",", "\t", ";", "\n", "\r", "\0", "|", "{", "[", "\\", "\ufeff", "\u2028", "\ud800"),
    *("1e18", "-1", "nan", "9" * 400, "../" * 300, "x" * 5000, "/dev/null", "/", "~", "caf\xe9"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("lists")
    for i in range(6):
        sound(root / "wav" / f"a{i}.wav", 8_000)
    return root


def as_table(between):
    head = between.join(("path", "split", "speaker", "text", "seconds"))
    splits = ("train", "train", "dev", "dev", "test", "test")
    lines = [between.join((f"wav/a{i}.wav", s, "me", f"T{i}", "0.5")) for i, s in enumerate(splits)]
    return "\n".join((head, *lines, ""))


def as_json():
    head, *lines = as_table(",").splitlines()
    rows = (dict(zip(head.split(","), line.split(","), strict=True)) for line in lines)
    return "".join(json.dumps(row) + "\n" for row in rows)


SOUND = {"csv": as_table(","), "tsv": as_table("\t"), "jsonl": as_json()}
DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(("insert", "replace", "cut", "byte")),
        st.integers(0, 400),
        st.sampled_from(HOSTILE) | st.sampled_from(WORDS) | st.text(max_size=4),
    ),
    min_size=1,
    max_size=4,
)


def damaged(text, damage):
    data = text.encode()
    for how, place, what in damage:
        piece, place = what.encode("utf-8", "surrogatepass"), place % (len(data) + 1)
        if how == "insert":
            data = data[:place] + piece + data[place:]
        elif how == "replace":
            data = data[:place] + piece + data[place + len(piece) :]
        elif how == "cut":
            data = data[:place]
        else:
            data = data[:place] + bytes([len(piece) * 37 % 256]) + data[place + 1 :]
    return data


@given(st.sampled_from(sorted(SOUND)), DAMAGE)
@settings(max_examples=60)
def test_a_damaged_list_is_read_or_refused(folder, suffix, damage):
    path = folder / f"list.{suffix}"
    path.write_bytes(damaged(SOUND[suffix], damage))
    status = main(["data", "verify", str(path), "--task", "asr"])
    assert status in (0, 2, 3)
    if status == 0:  # then every line that is left is an utterance, whole and in a split
        found = manifest.read(path)
        assert len(found) <= path.read_bytes().count(b"\n") + path.read_bytes().count(b"\r") + 1
        assert all(e.split and e.text and 0 < e.samples <= 8_000 for e in found)


@given(st.sampled_from(sorted(SOUND)), st.integers(0, 400))
@settings(max_examples=60)
def test_a_list_that_was_cut_is_not_a_shorter_word(folder, suffix, place):
    """What is read of it are whole lines of the list, the last one perhaps without its end."""
    (folder / f"whole.{suffix}").write_text(SOUND[suffix])
    path = folder / f"cut.{suffix}"
    path.write_text(SOUND[suffix][: place % len(SOUND[suffix])])
    whole = manifest.read(folder / f"whole.{suffix}")
    try:
        found = manifest.read(path)
    except BenchmarkError as error:
        assert "\n" not in str(error)
        return
    same = [(e.id, e.split, e.text, e.samples) for e in found]
    expected = [(e.id, e.split, e.text, e.samples) for e in whole][: len(found)]
    assert same[:-1] == expected[:-1] and same[-1][:3] == expected[-1][:3]


@given(st.text(max_size=40) | st.sampled_from(HOSTILE), st.integers(0, 5))
@settings(max_examples=20)
def test_a_damaged_list_of_identification(tmp_path_factory, text, line):
    root = voxceleb(tmp_path_factory.getbasetemp() / "identification")
    labels = root / "veri_test_class.txt"
    lines = labels.read_text().splitlines()
    lines[line] = lines[line][: len(text)] + text
    labels.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    assert main(["data", "verify", str(root), "--task", "sid"]) in (0, 2, 3)


CODED = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3"}


@given(
    st.sampled_from(sorted(CODED)),
    st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=6)), min_size=1, max_size=4),
    st.booleans(),
)
@settings(max_examples=80)
def test_a_damaged_recording_is_read_as_long_as_it_says_or_refused(folder, suffix, damage, cut):
    path = folder / f"damaged.{suffix}"
    soundfile.write(path, speechlike(0.3), 16_000, format=CODED[suffix])
    data = bytearray(path.read_bytes())
    for number, (place, piece) in enumerate(damage):
        place %= 60 if number % 2 else len(data)  # headers are worth every second blow
        data[place : place + len(piece)] = piece
    path.write_bytes(data[: damage[0][0] % len(data)] if cut else data)
    try:
        head, peak = audio.inspect(path)
        wav = audio.read(path)
    except BenchmarkError as error:
        assert "\n" not in str(error)
        return
    assert len(wav) == head.samples and 0 <= peak < float("inf")
