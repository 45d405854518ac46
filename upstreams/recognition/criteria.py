"""How unsure a recogniser is at an exit: six criteria, each in one unit, lower = surer.

    entropy     what HuBERT-EE (eq. 4), Wright et al. (eq. 5) and Zaiem et al. test, nats a frame
    confidence  HuBERT-EE (eq. 5): 1 - mean largest probability
    margin      1 - mean difference of the two largest probabilities
    posterior   Wright et al. (eq. 6): 1 - posterior of the best of K hypotheses of a beam search
    similarity  Zaiem et al.: 1 - mean cosine of successive depths' frames
    patience    Berrebbi et al., 2022 (arXiv:2211.08989): how far the transcript is from that of the
                exit before; "patience:N" (PABEE, Zhou et al., 2020) asks N exits in a row

Publications state other units: a threshold of theirs becomes one of ours by `published`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...benchmark.errors import UsageError, did_you_mean
from ..backbones.branched import mean_of
from . import beam
from .alphabet import CHARACTERS, Alphabet

HYPOTHESES = 300  # K of Wright et al., sec. 4

Reads = Literal["scores", "states", "exits"]


@dataclass(frozen=True)
class Criterion:
    """
    Attributes:
        name: as `criterion` takes it.
        unit: for a card.
        reads: what it needs: an exit's scores; the states of the depth and of the one before; or
            the transcripts of the exit and of the exit before.
        of: (T, V) log-probabilities of an utterance -> (); for exits two lists of ids -> a number;
            for states two (..., T, D) -> (..., T).
        search: hypotheses that a beam search keeps, 0 where none is made.
        in_a_row: exits that must be sure one after the other.
    """

    name: str
    unit: str
    reads: Reads
    of: Callable[..., Any]
    search: int = 0
    in_a_row: int = 1

    def of_scores(self, log_probs: Sequence[Tensor]) -> Tensor:
        """Each row's (T, V) log-probabilities -> (B,)."""
        return torch.stack([self.of(row) for row in log_probs])

    def of_states(self, now: Tensor, before: Tensor, frames: Tensor) -> Tensor:
        """(B, T, D) states of two depths, (B,) valid frames -> (B,)."""
        return mean_of(self.of, frames, now, before)


def criterion(name: str, alphabet: Alphabet = CHARACTERS) -> Criterion:
    """A criterion by name; "posterior:K" keeps K hypotheses instead of Wright et al.'s 300,
    "patience:N" asks N exits in a row.

    Args:
        alphabet: of the scores.
    Raises: UsageError: there is none of that name.
    """
    known, _, count = name.partition(":")
    if known not in CRITERIA or (count and known not in COUNTED):
        raise UsageError(f"criterion {name!r}: {did_you_mean(known, CRITERIA)}")
    if not count:
        return CRITERIA[known](alphabet)
    if not count.isdigit() or int(count) < 2:
        raise UsageError(f"criterion {name!r}: {COUNTED[known]}, a whole number from 2")
    return CRITERIA[known](alphabet, int(count))


def published(name: str, value: float, classes: int = 1) -> float:
    """The evidence that a publication's threshold stands for.

    Args:
        value: as it is printed: an entropy, or a confidence, margin, posterior or similarity, of
            which more is surer.
        classes: by how many its entropy is divided: the symbols (HuBERT-EE, Wright et al.), or 1
            (Zaiem et al.: nats a frame, as here).
    """
    known = name.partition(":")[0]
    if known not in CRITERIA:
        raise UsageError(f"criterion {name!r}: {did_you_mean(known, CRITERIA)}")
    if known == "entropy":
        return value * classes
    return value if known == "patience" else 1 - value


# ---- of one utterance ----------------------------------------------------------------------------


def mean_entropy(log_probs: Tensor) -> Tensor:
    """(T, V) -> (): nats a frame; 0 where a probability is 0, never nan."""
    return torch.special.entr(log_probs.exp()).sum(-1).mean()


def mean_doubt(log_probs: Tensor) -> Tensor:
    """(T, V) -> (): 1 - mean largest probability."""
    return 1 - log_probs.amax(-1).exp().mean()


def mean_margin(log_probs: Tensor) -> Tensor:
    """(T, V) -> (): 1 - mean (largest - second largest probability)."""
    best, second = log_probs.topk(2, -1).values.exp().unbind(-1)
    return 1 - (best - second).mean()


def posterior_doubt(log_probs: Tensor, alphabet: Alphabet, count: int) -> Tensor:
    """(T, V) -> (): 1 - softmax of the best of `count` hypotheses' scores."""
    found = beam.hypotheses(log_probs, alphabet, count)
    return log_probs.new_tensor(doubt_of_best([score for _, score in found]))


def doubt_of_best(scores: Sequence[float]) -> float:
    """1 - softmax of the first of some log-probabilities, which is the largest."""
    # as a small number itself, not as the difference of two near one
    return max(0.0, -math.expm1(scores[0] - float(np.logaddexp.reduce(scores))))


def turn(now: Tensor, before: Tensor) -> Tensor:
    """(..., T, D), (..., T, D) -> (..., T): 1 - cosine of a frame's two states."""
    return 1 - F.cosine_similarity(now, before, dim=-1)


def transcript_change(now: Sequence[int], before: Sequence[int]) -> float:
    """Edit distance of two transcripts per symbol of the longer; 0 where both are empty."""
    longer = max(len(now), len(before))
    return edit_distance(now, before) / longer if longer else 0.0


def edit_distance(a: Sequence[int], b: Sequence[int]) -> int:
    """Insertions, deletions and substitutions between two sequences (Levenshtein)."""
    steps = np.arange(len(b) + 1)
    row = steps
    for symbol in a:
        replaced = row[:-1] + (np.asarray(b) != symbol)
        best = np.concatenate([row[:1] + 1, np.minimum(row[1:] + 1, replaced)])
        # whatever an insertion of any length reaches from the left
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


# ---- by name -------------------------------------------------------------------------------------


def posterior(alphabet: Alphabet, count: int = HYPOTHESES) -> Criterion:
    name = "posterior" if count == HYPOTHESES else f"posterior:{count}"
    unit = f"1 - posterior of the best of {count} hypotheses"
    of = partial(posterior_doubt, alphabet=alphabet, count=count)
    return Criterion(name, unit, "scores", of, search=count)


def patience(alphabet: Alphabet, in_a_row: int = 1) -> Criterion:
    name = "patience" if in_a_row == 1 else f"patience:{in_a_row}"
    unit = "edit distance to the transcript of the exit before, per symbol"
    return Criterion(name, unit, "exits", transcript_change, in_a_row=in_a_row)


PLAIN = (
    Criterion(
        "entropy", "mean frame entropy of the symbols, nats per frame", "scores", mean_entropy
    ),
    Criterion("confidence", "1 - mean largest probability of a frame", "scores", mean_doubt),
    Criterion(
        "margin",
        "1 - mean difference of a frame's two largest probabilities",
        "scores",
        mean_margin,
    ),
    Criterion("similarity", "1 - mean cosine of successive depths' frames", "states", turn),
)


# what a number behind a name counts
COUNTED = {
    "posterior": "posterior:K takes the hypotheses to keep",
    "patience": "patience:N takes the exits in a row that must agree",
}


def _for_any(made: Criterion) -> Callable[[Alphabet], Criterion]:
    """A maker of what does not depend on the alphabet."""
    return lambda alphabet: made


CRITERIA: Mapping[str, Callable[..., Criterion]] = MappingProxyType(
    {made.name: _for_any(made) for made in PLAIN} | {"posterior": posterior, "patience": patience}
)
