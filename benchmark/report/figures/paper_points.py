"""The points that figures of papers' systems are drawn from: a line each, of one curve."""

from collections.abc import Sequence

import pandas as pd

from ..board_lines import row
from ..paper_table import Made, of_rows

COLUMNS = (
    *("curve", "label", "kind", "upstream", "exit", "threshold", "tau", "seeds"),
    *("wer", "wer_low", "wer_high", "wer_sd", "cer"),
    *("depth", "gmacs_per_s", "macs_saved", "rtf", "params_m", "n", "corpus", "protocol", "device"),
)
THRESHOLD, FIXED, WHOLE = "threshold", "fixed exit", "whole model"  # kinds of a point


def frame(made: Sequence[Made]) -> pd.DataFrame:
    """COLUMNS of every line with rows, means over seeds; `curve` is the line's group."""
    lines = [
        {"curve": one.line.group, "label": one.line.label, "kind": kind_of(one), **of_rows(one)}
        for one in made
        if one.rows
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def kind_of(one: Made) -> str:
    if one.line.adaptive:
        return THRESHOLD
    return WHOLE if one.line.block is None else FIXED


def shares(one: Made) -> dict[int, float]:
    """Depth -> percent of the utterances of all seeds that leave there."""
    left: dict[int, int] = {}
    for result in one.rows:
        for depth, count in enumerate(result.exit_histogram):
            left[depth] = left.get(depth, 0) + count
    total = sum(row(result)["n"] + row(result)["failed"] for result in one.rows)
    return {depth: 100 * count / total for depth, count in left.items() if count}
