"""Tables and lists as people have them, read line by line: comma, semicolon or tab between the
fields, or JSON lines; UTF-8 with or without a byte order mark, or UTF-16 with one.

A line of the file is a row. What would make a row swallow the next ones, shift its fields or change
its letters (a quotation mark without its partner, another number of fields, another encoding, a
file that was cut) is an error that names the line; nothing is guessed.

In tab-separated tables a quotation mark is a letter, as Common Voice has it, unless it wraps a
field whose own marks are doubled, as pandas writes it.
"""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

from ...benchmark.errors import UsageError
from ...benchmark.soundness import once

LONGEST = 1 << 17  # characters of a line; longer than any transcript
DELIMITERS = (",", "\t", ";")
_MARKS = (  # at the start of a file, longest first
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)

Row = dict[str, str]


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text without its end) of every line. UsageError where it is no text."""
    for number, line in _ended(path):
        yield number, line.rstrip("\n")


def rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(line number, its fields by column) of CSV, tab-separated values or JSON lines; without
    empty lines. An empty or missing field is "". UsageError at the first line that is no row.
    """
    yield from _json_rows(path) if path.suffix in (".jsonl", ".json") else _table_rows(path)


def columns(path: Path) -> list[str]:
    """The names in the first line of a table; none of an empty one."""
    return _header(path)[0]


# ---- lines ---------------------------------------------------------------------------------------


def _ended(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their ends, which the last line of a cut file does not have."""
    try:
        with open(path, "rb") as file:
            start = file.read(64)
        encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
        errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
        # no bound but the line's end would let a file without any fill the memory
        with open(path, encoding=encoding, errors=errors) as text:
            for number, line in enumerate(iter(lambda: text.readline(LONGEST), ""), 1):
                _check(path, number, line)
                yield number, line
    except UnicodeError as error:
        raise UsageError(
            f"{path} cannot be read as a list (its byte order mark says {encoding}, and then "
            f"{error.reason if hasattr(error, 'reason') else error}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read as a list ({error.strerror}); check it: ls -l {path}"
        ) from error


def _check(path: Path, number: int, line: str) -> None:
    where = f"{path} line {number}"
    if "\0" in line:
        raise UsageError(
            f"{where} has NUL bytes, so it is no list (damaged, binary, or UTF-16 without its "
            "mark); make it again, or save it as UTF-8"
        )
    if len(line) == LONGEST and line[-1] != "\n":
        raise UsageError(
            f"{where} has more than {LONGEST} characters, so it is no list; write a line an "
            "utterance"
        )
    if number == 1 and line.startswith("version https://git-lfs"):
        raise UsageError(
            f"{path} is a pointer of git-lfs, not the list; fetch the list: git lfs pull"
        )
    if line.isascii():
        return
    try:
        line.encode()
    except UnicodeEncodeError as error:
        byte = ord(line[error.start]) & 0xFF
        raise UsageError(
            f"{where} is not UTF-8 (byte 0x{byte:02X}); convert it, if it is Latin-1: iconv -f "
            f"LATIN1 -t UTF-8 {path} > new{path.suffix}"
        ) from None


# ---- tables --------------------------------------------------------------------------------------


def _header(path: Path) -> tuple[list[str], str, int]:
    """The columns, what is between them, and the number of their line."""
    for number, line in lines(path):
        if line.strip() and not re.fullmatch("sep=.", line.strip()):  # a line that Excel writes
            counts = {d: line.count(d) for d in DELIMITERS}
            best = max(DELIMITERS, key=lambda d: counts[d])
            by_tabs = path.suffix == ".tsv" and (counts["\t"] or not counts[best])
            delimiter = "\t" if by_tabs else best
            names = [name.strip() for name in _fields(path, number, line, delimiter)]
            if twice := sorted({n for n in names if n and names.count(n) > 1}):
                raise UsageError(
                    f"{path} has the column {' and '.join(twice)} twice; take one of them out"
                )
            return names, delimiter, number
    return [], ",", 0


def _table_rows(path: Path) -> Iterator[tuple[int, Row]]:
    names, delimiter, first = _header(path)
    for number, ended in _ended(path):
        line = ended.rstrip("\n")
        if number <= first or not line.strip():
            continue
        fields = _fields(path, number, line, delimiter)
        while len(fields) > len(names) and not fields[-1].strip():  # commas at the end of a line
            fields.pop()
        cut = len(fields) < len(names) and ended == line
        if len(fields) > len(names) or cut:
            why = (
                "so the file is cut short; copy it again"
                if cut
                else f"so a field has {delimiter!r} in it; put that field into quotation marks"
            )
            raise UsageError(
                f"{path} line {number} has {len(fields)} fields where the first line names "
                f"{len(names)}, {why}"
            )
        fields += [""] * (len(names) - len(fields))
        yield number, dict(zip(names, fields, strict=True))


def _fields(path: Path, number: int, line: str, delimiter: str) -> list[str]:
    if delimiter == "\t":
        return [_unwrapped(field) for field in line.split("\t")]
    if '"' not in line:  # the usual case, five times faster
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UsageError(
            f"{path} line {number} has a quotation mark without its partner ({error}); write a "
            'field that has some as "one with ""marks"" in it", and an utterance in one line'
        ) from error


def _unwrapped(field: str) -> str:
    inner = field[1:-1]
    if len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return field


# ---- JSON lines ----------------------------------------------------------------------------------


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    for number, line in lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=once)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UsageError(
                f"{path} line {number} is not a JSON object with each name once; write one object "
                "a line"
            )
        yield number, {name: _text(value) for name, value in row.items()}


def _text(value: object) -> str:
    """A field as a table has it; "" for what no field can be."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "|".join(value)
    return "" if value is None or isinstance(value, (list, dict)) else str(value)
