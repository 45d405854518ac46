"""A paper's table as it is printed: what is read, what stands below it, and its claims, in Markdown
and in LaTeX.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from . import paper_claims
from .comparison_text import PUBLISHED_SEEDS
from .latex import latex
from .paper_table import AT_ONE, THRESHOLDS, wide
from .papers.shape import PUBLISHED, Paper, Table
from .screen import HEADINGS, markdown
from .table1 import NONE, OURS, PAPER, SURE

TUNED = HEADINGS[False]  # where the lines stand: every system here has seen transcripts


@dataclass(frozen=True)
class About:
    """
    Attributes:
        number: of the table in the paper.
        lacking: why lines have no rows of ours, a sentence each.
        trained: training -> what it was, in words.
        size: of the systems; aimed: thresholds are set for mean exits.
        lm: the language model of lines that are decoded with one, in words; "" = none is given.
    """

    paper: Paper
    number: str
    lacking: Sequence[str]
    trained: Mapping[str, str]
    size: str
    aimed: bool
    lm: str = ""

    @property
    def table(self) -> Table:
        return self.paper.tables[self.number]

    @property
    def caption(self) -> str:
        return f"Table {self.number} of {self.paper.reference}: {self.table.title}."


def texts(about: About, numbers: pd.DataFrame, claims: pd.DataFrame) -> tuple[str, str]:
    """The table with its notes and its differences, as Markdown and as LaTeX.

    Args:
        numbers: `paper_table.numbers`; claims: `paper_claims.claims`.
    """
    shown, said = wide(numbers, about.table), notes(about, numbers)
    parts = [f"# {about.caption}", f"## {TUNED}", markdown(_flat(shown))]
    parts.append("\n".join(f"* {sentence}" for sentence in said))
    label = f"tab:{about.paper.name}-{about.number}"
    tex = [latex(shown, " ".join([about.caption, *said]), label)]
    if len(claims):
        explained, differences = of_claims(claims), paper_claims.read(claims)
        parts += ["## Differences", markdown(differences), explained]
        tex.append(latex(differences, explained, f"{label}-differences"))
    return "\n\n".join(parts) + "\n", "\n".join(tex)


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of two levels as one."""
    return table.set_axis([" ".join(filter(None, name)) for name in table.columns], axis=1)


def notes(about: About, table: pd.DataFrame) -> list[str]:
    """A sentence each: what is compared with what, and what must not be."""
    ours, paper = (table[table["source"] == source] for source in (OURS, PAPER))
    said = list(about.table.notes)
    if len(paper):
        said.append(f"{PAPER}: copied from {'; '.join(dict.fromkeys(paper['published_in']))}.")
    if len(ours):
        said += _of_ours(ours, about)
        if ours["tau"].notna().any():
            said.append(_of_thresholds(about.aimed))
        if ours["at_one_depth"].any():
            said.append(f"{AT_ONE}: all test utterances leave at one depth.")
    said += [f"{sentence}." for sentence in about.lacking]
    return [*said, f"{NONE}: does not apply, is not printed, or could not be made."]


def _of_ours(ours: pd.DataFrame, about: About) -> list[str]:
    first, seeds = ours.iloc[0], sorted(set(ours["seeds"].astype(int)))
    decoding = "greedy" + (f", or with {about.lm} where a line or note says so" if about.lm else "")
    said = [
        f"{OURS}: the test split of {first['corpus']}, {int(ours['n'].max())} utterances, "
        f"{decoding}; means over seeds of training ({'/'.join(map(str, seeds))}), in brackets the "
        "95 % interval over test utterances, by speaker.",
        "Trained: " + "; ".join(f"{name}: {how}" for name, how in about.trained.items()) + ".",
        f"Tuned on: {'; '.join(dict.fromkeys(ours['tuned_on']))}. Such rows are no rows of SUPERB, "
        "whose upstreams are frozen.",
    ]
    if about.size != PUBLISHED:
        said.append(
            "Ours are small models: a number of ours and one of the paper are not comparable, each "
            "is to be read against the other lines of its source. Blocks are numbered as there; "
            f"ours lie at the same share of the model's depth.{_own_blocks(about)}"
        )
    if max(seeds) < PUBLISHED_SEEDS:
        said.append(f"Fewer than {PUBLISHED_SEEDS} seeds: a first look.")
    devices = " and ".join(sorted(set(ours["device"].dropna())))
    timed = devices and "rtf" in ours and ours["rtf"].notna().any()
    said.append(
        "GMAC/s count the front-end and every branch that is tested, whether or not it fires"
        + (f"; RTF is that of the upstream alone, batch 1, on {devices}." if timed else ".")
        + (" Times of two devices are not comparable." if timed and " and " in devices else "")
    )
    return said


def _own_blocks(about: About) -> str:
    """What a mean exit of ours counts."""
    models = [line.training.model for line in about.table.lines if line.training]
    counts = sorted({model.last(about.size) for model in models})
    if "depth" not in about.table.measures or not models:
        return ""
    return f" A mean exit of ours counts its own blocks, {' or '.join(map(str, counts))} in all."


def _of_thresholds(aimed: bool) -> str:
    how = (
        "set for a mean exit on the training split, since those of the paper belong to its models"
        if aimed
        else "as printed"
    )
    there, here = THRESHOLDS.values()
    return (
        f"Thresholds of ours are {how}; `{there}` is one in the paper's unit, `{here}` in that of "
        "the upstream's evidence (lower is surer; an entropy in nats a frame)."
    )


def of_claims(table: pd.DataFrame) -> str:
    """What the differences are."""
    seeds, made_of = int(table["seeds"].max()), set(table["claim"])
    adaptive = made_of & set(paper_claims.VERSUS.values())
    fixed = (
        "; fixed exits are those of the same weights, mixed to the same multiply-accumulates"
        if adaptive
        else ""
    )
    random = ""
    if paper_claims.VERSUS["vs_random"] in made_of:
        random = "; random ones the same exits dealt out anew, in exact expectation"
    elif adaptive:
        random = ". Random exits are made of thresholds that are set for mean exits alone"
    beyond = (
        f" {NONE}: one of its seeds costs more than its last fixed exit, or less than its first."
        if (table["note"] == paper_claims.BEYOND).any()
        else ""
    )
    return (
        "Paired differences of word error rates on the same test utterances, below zero where the "
        f"first is better{fixed}{random}. Mean over seeds ({seeds}), 95 % interval by speaker; "
        f"{SURE}: it excludes zero, each line by itself.{beyond}"
    )
