"""Names that do things where they are shown, as text in every table."""

import re
import xml.sax.saxutils as sax

import pandas as pd
import pytest
from earlyexit_superb.benchmark.report import board_lines, escaping, leaderboard
from earlyexit_superb.benchmark.report.latex import latex
from earlyexit_superb.benchmark.report.screen import markdown, table
from helpers.rows import result

NAMES = {
    "html": "<script>alert(1)</script>",
    "pipes": "a | b |",
    "lines": "a\nb\r\nc\u2028d\x85e",
    "link": "[a](javascript:alert(1)) ![b](http://x)",
    "terminal": "\x1b[31mred\x07\x00",
    "direction": "a\u202eb",
    "parents": "..",
    "slashes": "../../a/b",
    "long": "a" * 300,
    "formula": "=cmd()\n",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_is_text_and_its_row_stays_in_its_folder(name, tmp_path):
    path = result(name).save(tmp_path / "r")
    result("other", pesq=1.5).save(tmp_path / "r")
    assert path.resolve().is_relative_to(tmp_path / "r" / "se") and path.is_file()
    board, shown, _ = leaderboard.write(tmp_path / "r", "se")
    [_, heading, rule, first, second] = [x for x in shown.read_text().split("\n") if x]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in (heading, rule, first, second)]
    assert {len(line) for line in cells} == {len(cells[0])} and cells[3][0] == " other "
    assert "<" not in first and "](" not in first
    assert not escaping.UNPRINTABLE.search(first + board.read_text().replace("\n", ""))
    assert len(board.read_text().splitlines()) == 3
    assert len(table([board_lines.row(result(name))]).splitlines()) == 2


def test_what_can_be_seen_stays_as_it_is():
    frame = pd.DataFrame({"a": ["hubert.tiny(front=projection)", "1.0 ±0.1 [+0.1, +0.2] é ↑"]})
    assert all(value in markdown(frame) for value in frame["a"])
    assert sax.unescape(escaping.markdown("a < b & c")) == "a < b & c"


def test_latex_has_no_line_of_a_name():
    said = latex(pd.DataFrame({"a\nb": ["c\nd"]}), "a\x00", "tab:a")
    assert "c\\textbackslash{}nd" in said and "\x00" not in said
