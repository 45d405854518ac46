"""What stands below a paper's table: what is compared with what, and what must not be."""

from collections.abc import Mapping, Sequence

import pandas as pd

from .comparison_text import HEADINGS, PUBLISHED_SEEDS
from .paper_table import AT_ONE, THRESHOLDS
from .papers.shape import PUBLISHED, Paper, Table
from .table1 import NONE, OURS, PAPER, SURE

TUNED = HEADINGS[False]  # where the lines stand: every system here has seen transcripts


def caption(paper: Paper, number: str, of: Table) -> str:
    return f"Table {number} of {paper.reference}: {of.title}."


def notes(
    table: pd.DataFrame,
    of: Table,
    lacking: Sequence[str],
    made: Mapping[str, str],
    size: str,
    aimed: bool,
) -> list[str]:
    """A sentence each.

    Args:
        table: `paper_table.numbers`.
        lacking: why lines have no rows of ours.
        made: upstream -> the trainings of its weights, in words.
        size: of the systems; aimed: thresholds are set for mean exits.
    """
    ours, paper = (table[table["source"] == source] for source in (OURS, PAPER))
    said = list(of.notes)
    if len(paper):
        said.append(f"{PAPER}: copied from {'; '.join(dict.fromkeys(paper['published_in']))}.")
    if len(ours):
        said += _of_ours(ours, made, size)
        if ours["tau"].notna().any():
            said.append(_of_thresholds(aimed))
    if len(ours) and ours["at_one_depth"].any():
        said.append(f"{AT_ONE}: all test utterances leave at one depth.")
    said += lacking
    return [*said, f"{NONE}: does not apply, is not printed, or could not be made."]


def _of_ours(ours: pd.DataFrame, made: Mapping[str, str], size: str) -> list[str]:
    first, seeds = ours.iloc[0], sorted(set(ours["seeds"]))
    said = [
        f"{OURS}: the test split of {first['corpus']}, {int(ours['n'].max())} utterances, greedy; "
        f"means over {'/'.join(map(str, seeds))} seeds of training, in brackets the 95 % interval "
        "over test utterances, by speaker.",
        "Trained: " + "; ".join(f"{name}: {how}" for name, how in made.items()) + ".",
        f"Tuned on: {'; '.join(dict.fromkeys(ours['tuned_on']))}. Such rows are no rows of SUPERB, "
        "whose upstreams are frozen.",
    ]
    if size != PUBLISHED:
        said.append(
            "Ours are small models: a number of ours and one of the paper are not comparable, each "
            "is to be read against the other lines of its source."
        )
    if max(seeds) < PUBLISHED_SEEDS:
        said.append(f"Fewer than {PUBLISHED_SEEDS} seeds: a first look.")
    devices = " and ".join(sorted(set(ours["device"].dropna())))
    timed = devices and "rtf" in ours and ours["rtf"].notna().any()
    said.append(
        "GMAC/s count the front-end and every branch that is tested, whether or not it fires"
        + (f"; RTF is that of the upstream alone, batch 1, on {devices}." if timed else ".")
    )
    return said


def _of_thresholds(aimed: bool) -> str:
    how = (
        "set for a mean exit on the training split, since those of the paper belong to its models"
        if aimed
        else "as printed"
    )
    here, there = THRESHOLDS["tau"], THRESHOLDS["threshold"]
    return (
        f"Thresholds are {how}; `{here}` is in the unit of the upstream's evidence (lower is surer; "
        f"an entropy in nats a frame), `{there}` the same in the paper's."
    )


def of_claims(table: pd.DataFrame) -> str:
    """What the differences are."""
    seeds = int(table["seeds"].max())
    return (
        "Paired differences of word error rates on the same test utterances, below zero where the "
        "first is better; fixed exits are those of the same weights, mixed to the same "
        "multiply-accumulates; random ones the same exits dealt out anew, in exact expectation. "
        f"Mean over {seeds} seeds, 95 % interval by speaker; {SURE}: it excludes zero, each line by "
        "itself."
    )
