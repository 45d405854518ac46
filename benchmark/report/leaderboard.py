"""Results to tables: a pure function of JSONs and utterances' tables, so the same files give the
same bytes. board_lines.py: what a line is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..storage import locked, write_text
from . import area, differences, escaping
from .board_lines import LEADING, TRAILING, against, aggregated, compared, row
from .folder import load_all
from .notices import notice
from .result import FIX, Result, measured, slug
from .screen import HEADINGS, markdown, notes, screen

RUN = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula


def board(results: Sequence[Result], reference: str = "") -> pd.DataFrame:
    """The leaderboard of one task: corpora, protocols and what has seen labelled data apart, then
    by the ranking metric, best first; cells with several seeds have a line for all of them, too."""
    if not results:
        return pd.DataFrame(columns=[*LEADING, *differences.COLUMNS, *TRAILING])
    metrics = measured(results[0])
    lines = [row(r) for r in results]
    lines = against(lines, reference) if reference else lines
    lines = compared(lines + aggregated(lines), results)
    frame = pd.DataFrame(lines, columns=list(lines[0]))
    ranked = [metrics[0].name, "depth", "upstream", "exit", "knob", "value", "test_value"]
    ranked += ["span", "seed"]
    ascending = [not metrics[0].higher_is_better] + [True] * (len(ranked) - 1)
    return frame.sort_values(
        ["corpus", "protocol", "tuned_on", *ranked],
        ascending=[True, True, True, *ascending],
        key=lambda column: column.ne("") if column.name == "tuned_on" else column,
        kind="stable",
        ignore_index=True,
    ).astype({"timed": "Int64"})


def write(root: Path, task: str, reference: str = "") -> list[Path]:
    """Rebuild leaderboard_<task>.csv and .md and area_<task>.csv in `root` from the JSONs and the
    utterances' tables below it. Headings alone, with a notice, where no row can be believed."""
    rebuilt(root, task, reference)
    return _paths(root, task)


def rebuilt(root: Path, task: str, reference: str = "") -> list[Result]:
    """The same; the rows that the board now shows, so that nobody need load them again."""
    paths = _paths(root, task)
    # of two who write at once the later has read both's rows
    with locked(paths[0].with_suffix(".lock")):
        results = load_all(root, task)
        if not results:
            shown = escaping.plain(f"{root} has no row of {task}")
            notice(f"{shown} that can be shown; its board is empty")
        frame, areas = board(results, reference), area.table(results)
        for path, one in ((paths[0], frame), (paths[2], areas)):
            write_text(path, _safe(one).to_csv(index=False, lineterminator="\n"), FIX)
        text = f"# {escaping.markdown(task)}\n\n{_parts(frame)}{notes(frame)}"
        if len(areas):
            text += f"\n{area.HEADING}\n\n{markdown(area.screen(areas))}\n"
        write_text(paths[1], text, FIX)
    return results


def _parts(frame: pd.DataFrame) -> str:
    """The board in Markdown, under a heading each where some upstreams have seen labelled data."""
    frozen = frame["tuned_on"] == ""
    if frozen.all():
        return f"{markdown(screen(frame))}\n"
    parts = [(HEADINGS[kind], frame[frozen == kind]) for kind in (True, False)]
    told = [f"## {heading}\n\n{markdown(screen(of))}\n" for heading, of in parts if len(of)]
    return "\n".join(told)


def _paths(root: Path, task: str) -> list[Path]:
    names = (f"leaderboard_{slug(task)}.csv", f"leaderboard_{slug(task)}.md")
    return [root / name for name in (*names, f"area_{slug(task)}.csv")]


def _safe(frame: pd.DataFrame) -> pd.DataFrame:
    """Text that a spreadsheet would run gets a leading apostrophe, what cannot be seen is spelled:
    names come from strangers.
    """

    def safe(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return ("'" if value.startswith(RUN) else "") + escaping.plain(value)

    return frame.map(safe)
