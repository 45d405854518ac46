"""Scores utterance by utterance, as rows keep them beside their JSON."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from .result import Result


@dataclass(frozen=True, eq=False)
class Scores:
    """One metric of one row, or of several rows mixed. A mean is sum(part) / sum(whole).

    Attributes:
        ids: (n,) of the utterances that scored, sorted.
        part, whole: (n,); whole is 1 unless the metric is a rate (words of the reference).
        speakers: of each; "" where the corpus names none, "a+b" of a mixture.
    """

    ids: np.ndarray
    part: np.ndarray
    whole: np.ndarray
    speakers: tuple[str, ...]

    @property
    def mean(self) -> float:
        return float(self.part.sum() / self.whole.sum())

    def only(self, ids: np.ndarray) -> "Scores":
        """Those of some of its utterances, `ids` sorted."""
        at = np.searchsorted(self.ids, ids)
        return Scores(ids, self.part[at], self.whole[at], tuple(self.speakers[i] for i in at))


def scores(result: Result, metric: str) -> Scores:
    """One metric of a row, without the utterances that failed.

    Raises: UsageError where the row has no such table or metric.
    """
    table = result.utterances
    if table is None or metric not in table:
        what = "no utterances' table" if table is None else f"no {metric} in its utterances' table"
        raise UsageError(
            f"{result.path or result.cell.exit} has {what} (*.utterances.csv beside its JSON); run "
            "its command again with --force"
        )
    table = table[table[metric].notna()].sort_values("id", kind="stable")
    whole = table[f"{metric}_of"] if f"{metric}_of" in table else np.ones(len(table))
    whole = np.asarray(whole, np.float64)
    speakers = tuple(table["speaker"]) if "speaker" in table else ("",) * len(table)
    part = table[metric].to_numpy(np.float64) * whole
    return Scores(table["id"].to_numpy(str), part, whole, speakers)


def common(several: Sequence[Scores]) -> list[Scores]:
    """All on the utterances that scored in each of them. A speaker whom one row names (older tables
    name none) is known in all.

    Raises: UsageError where they share none, or where their references differ.
    """
    ids = several[0].ids
    for other in several[1:]:
        ids = np.intersect1d(ids, other.ids)
    if not len(ids):
        raise UsageError(
            "the rows share no utterance that scored in all of them; compare rows of one corpus"
        )
    cut = [one.only(ids) for one in several]
    if any((one.whole != cut[0].whole).any() for one in cut):
        raise UsageError(
            "the rows have different references for the same utterances (another corpus, or "
            "another version of the task); make both with this version: --force"
        )
    named = next((one.speakers for one in cut if all(one.speakers)), cut[0].speakers)
    return [Scores(one.ids, one.part, one.whole, named) for one in cut]


def mixed(several: Sequence[Scores], shares: Sequence[float]) -> Scores:
    """The expected scores of a system that is the i-th with probability shares[i], on the
    utterances that scored in all."""
    cut = common(several)
    part = np.asarray(sum(share * one.part for share, one in zip(shares, cut, strict=True)))
    return Scores(cut[0].ids, part, cut[0].whole, cut[0].speakers)


def averaged(several: Sequence[Scores]) -> Scores:
    """The mean of each utterance over rows."""
    return several[0] if len(several) == 1 else mixed(several, [1 / len(several)] * len(several))
