"""Lists as people have them: the same utterances as from a plain list, or one sentence."""

import json
import tracemalloc
import unicodedata
from dataclasses import replace

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.tasks.corpora import manifest
from helpers.trees import sound

SPLITS = ("train", "train", "dev", "dev", "test", "test")
TEXTS = ("IT'S ME", "YES", "NO", "SO IT IS", "A", "B C")
TIMED = ("path", "split", "text", "seconds")
ROWS = [(f"wav/a{i}.wav", *pair) for i, pair in enumerate(zip(SPLITS, TEXTS, strict=True))]


@pytest.fixture
def folder(tmp_path):
    for path, _, _ in ROWS:
        sound(tmp_path / path, 16_000)
    return tmp_path


def table(between=",", rows=ROWS, head=("path", "split", "text"), end="\n"):
    return end.join(between.join(row) for row in (head, *rows)) + end


def with_texts(change):
    return [(path, split, change(text)) for path, split, text in ROWS]


def json_lines(**more):
    return "".join(
        json.dumps({"audio_filepath": path, "split": split, "text": text} | more, default=str)
        + "\n"
        for path, split, text in ROWS
    )


def quoted_by_pandas(text):
    return f'"{text}"'


SAME = {
    "semicolons": ("csv", table(";")),
    "tabs in a csv": ("csv", table("\t")),
    "tabs": ("tsv", table("\t")),
    "commas in a tsv": ("tsv", table(",")),
    "byte order mark": ("csv", table().encode("utf-8-sig")),
    "UTF-16 of a spreadsheet": ("csv", table("\t").encode("utf-16")),
    "UTF-16, big end first": ("csv", b"\xfe\xff" + table().encode("utf-16-be")),
    "UTF-32": ("csv", table().encode("utf-32")),
    "Windows line ends": ("csv", table(end="\r\n")),
    "old Macintosh line ends": ("csv", table(end="\r")),
    "sep= of a spreadsheet": ("csv", "sep=;\n" + table(";")),
    "commas at the end of every line": ("csv", table(end=",,\n").replace("text,,", "text", 1)),
    "blank lines": ("csv", table().replace("\n", "\n\n")),
    "spaces around names": ("csv", table(head=(" path", "split ", " text"))),
    "quotation marks around fields": ("csv", '"' + table('","', end='"\n"')[:-1]),
    "a tsv of pandas": ("tsv", table("\t", with_texts(quoted_by_pandas))),
    "no line end at the end": ("csv", table().rstrip("\n")),
    "JSON lines": ("jsonl", json_lines()),
    "JSON lines with nested fields of their own": ("jsonl", json_lines(words=[{"w": "x"}])),
    "U+2028 in JSON lines": ("jsonl", json_lines(note="a-b").replace("-", "\u2028")),
    "seconds to two places": (
        "csv",
        table(rows=[(*r, "0.99" if i % 2 else "1.01") for i, r in enumerate(ROWS)],
              head=TIMED),
    ),
}  # fmt: skip


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", SAME)
def test_the_same_utterances(folder, name):
    suffix, content = SAME[name]
    plain = manifest.read(write(folder / "plain.csv", table()))
    assert manifest.read(write(folder / f"list.{suffix}", content)) == plain and len(plain) == 6
    assert [e.text for e in plain] == list(TEXTS)


REFUSED = {
    "Latin-1": ("csv", table().replace("YES", "OUI \xe9").encode("latin1"), "line 3 is not UTF-8"),
    "UTF-16 without its mark": ("csv", table().encode("utf-16-le"), "NUL bytes"),
    "half of UTF-16": ("csv", table().encode("utf-16")[:-3], "save it as UTF-8"),
    "NULs": ("csv", bytes(1 << 20), "line 1 has NUL bytes"),
    "one endless line": ("csv", b"x" * (1 << 20), "line 1 has more than 131072 characters"),
    "an endless field": ("csv", table().replace("YES", "A" * 140_000), "line 3 has more"),
    "a lone mark": ("csv", table().replace("YES", '"YES'), "line 3 has a quotation mark"),
    "speech in marks": ("csv", table().replace("YES", '"YES" SHE SAID'), "line 3 has a quo"),
    "a comma in a text": ("csv", table().replace("YES", "YES, NO"), "line 3 has 4 fields"),
    "a tab in a text": ("tsv", table("\t").replace("YES", "YES\tNO"), "line 3 has 4 fields"),
    "cut short": ("csv", table()[:-11], "the file is cut short; copy it"),
    "a column twice": ("csv", table(head=("path", "text", "text")), "the column text twice"),
    "deep JSON": ("jsonl", "[" * 100_000 + "\n", "line 1 is not a JSON object"),
    "a JSON array": ("json", json.dumps([{"path": "a.wav"}]), "line 1 is not a JSON object"),
    "a JSON name twice": ("jsonl", '{"path": "a", "path": "b"}\n', "each name once"),
    "a path that is a list": ("jsonl", '{"path": {"a": 1}}\n', "line 1 has no path"),
    "a git-lfs pointer": ("csv", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "a page of the web": ("csv", "<!DOCTYPE html>\n<html></html>\n", "no column named path"),
    "nothing": ("csv", "", "no column named path"),
    "a header alone": ("csv", "path,split,text\n", "lists no audio"),
    "a path that is too long": ("csv", table(rows=[("x" * 5000, "train", "A")]), "no audio file"),
    "folders for files": ("csv", table(rows=[("wav", "train", "A")]), "there is no audio file"),
    "another suffix": ("csv", table().replace("a3.wav", "a3.mp3"), "but a3.wav beside it"),
    "a split of its own": ("csv", table().replace("dev", "eval"), "it is train, dev or test"),
    "one line twice": ("csv", table(rows=[*ROWS, ROWS[0]]), "line 8 repeats the id a0"),
}  # fmt: skip
NUMBERS = {
    "1e18": "beyond 1000000", "nan": "is no number", "inf": "is no number", "-1": "negative",
    "soon": "is no number", "1,5": "is no number", "1e-9": "has 1e-9 seconds", "0": "has 0 seconds",
    "1.02": "which has 16000 at 16000 Hz", "9" * 400: "is no number", "\u0664.\u0662": "",
}  # fmt: skip
REFUSED |= {
    f"{n[:9]} seconds": ("csv", table(";", [(*row, n) for row in ROWS], TIMED), said)
    for n, said in NUMBERS.items()
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_one_sentence(folder, name, capsys):
    suffix, content, said = REFUSED[name]
    path = write(folder / f"list.{suffix}", content)
    assert main(["data", "verify", str(path), "--task", "asr"]) == 2
    output = capsys.readouterr()
    assert said in output.out + output.err and output.err.count("\n") == 1


def test_a_sentence_that_begins_with_a_quotation_mark_loses_no_row(folder):
    rows = with_texts(lambda text: f'"{text}' if text != "NO" else text)
    path = write(folder / "validated.tsv", table("\t", rows))
    assert [e.text for e in manifest.read(path)] == [text for _, _, text in rows]


def test_ids_come_from_paths_where_names_repeat(tmp_path):
    rows = [(f"{who}/{take}.wav", "train", "A") for who in "ab" for take in (1, 2)]
    for path, *_ in rows:
        sound(tmp_path / path)
    found = manifest.read(write(tmp_path / "list.csv", table(rows=rows)))
    assert [e.id for e in found] == ["a-1", "a-2", "b-1", "b-2"]
    pieces = [(*row, start) for row in rows for start in ("0", "0.1")]
    head = ("path", "split", "text", "start")
    found = manifest.read(write(tmp_path / "list.csv", table(rows=pieces, head=head)))
    assert [e.id for e in found][:3] == ["a-1-0", "a-1-1600", "a-2-0"]
    assert [e.samples for e in found][:2] == [8000, 6400]


@pytest.mark.parametrize("listed, lies", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_another_unicode_form_are_found(tmp_path, listed, lies):
    sound(tmp_path / unicodedata.normalize(lies, "caf\xe9.wav"))
    name = unicodedata.normalize(listed, "caf\xe9.wav")
    [found] = manifest.read(write(tmp_path / "list.csv", table(rows=[(name, "train", "A")])))
    assert found.samples == 8000


def test_a_prepared_list_keeps_its_lengths(folder):
    """What `data prepare` wrote is believed to the sample."""
    whole = manifest.read(write(folder / "plain.csv", table()))
    pieces = [replace(e, start=1, samples=e.samples - 2, sha="ab") for e in whole]
    manifest.write(folder / "manifest.csv", pieces)
    assert manifest.read(folder / "manifest.csv") == pieces


def test_a_faulty_list_names_every_line(folder):
    rows = [(p, "eval" if i % 2 else s, t) for i, (p, s, t) in enumerate(ROWS)]
    with pytest.raises(UsageError, match=r"line 3 .* line 5 .* line 7"):
        manifest.read(write(folder / "list.csv", table(rows=rows)))


def test_a_list_is_read_line_by_line(folder):
    """Memory goes with the utterances, not with the bytes of the file."""
    lines = [f"u{i},wav/a{i % 6}.wav,train,{'LA ' * 300}" for i in range(5000)]
    path = write(folder / "list.csv", "\n".join(["id,path,split,note", *lines, ""]))
    tracemalloc.start()
    found = manifest.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 5000 and peak < path.stat().st_size / 2


def test_200_mb_of_nothing_are_refused_at_once(folder):
    with open(folder / "list.csv", "wb") as file:
        file.truncate(200 * 2**20)
    tracemalloc.start()
    with pytest.raises(UsageError, match="line 1 has NUL bytes"):
        manifest.read(folder / "list.csv")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21
