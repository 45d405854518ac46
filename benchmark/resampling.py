"""How far a total over utterances could move: a bootstrap of speakers, then of the utterances of
each.

Utterances of one speaker are alike, so resampling utterances alone gives intervals that are too
narrow. Speakers are drawn with replacement, then as many utterances of every speaker drawn as there
are, with replacement, too (Field and Welsh, 2007, "Bootstrapping clustered data", the two-stage
bootstrap; for word error rates Bisani and Ney, 2004). A mixture "a+b" belongs to two speakers at
once: it comes as often as the one drawn times the other (Owen, 2007, "The pigeonhole bootstrap").
Where no speakers are known, or only one, utterances alone are drawn (Efron and Tibshirani, 1993).

`scipy.stats.bootstrap` draws independent observations only, hence these few lines.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

DRAWS = 2000
# Sums in another order differ in their last digits, and a tie must be a tie on every machine.
DECIMALS = 9


def speaker_count(speakers: Sequence[str]) -> int:
    """How many different ones there are, "a+b" being two; 0 where some utterance names none."""
    return len(_talkers(speakers)) if all(speakers) else 0


@lru_cache(maxsize=4)  # all rows of a board are compared on the same few sets of utterances
def weights(speakers: tuple[str, ...], draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(draws, n) how often each of n utterances is in each resample.

    Args:
        speakers: of each utterance.
    """
    rng = np.random.default_rng(seed)
    names = speakers if speaker_count(speakers) > 1 else ("",) * len(speakers)
    talkers = {talker: i for i, talker in enumerate(_talkers(names))}
    drawn = rng.multinomial(len(talkers), np.full(len(talkers), 1 / len(talkers)), size=draws)
    out = np.empty((draws, len(names)), np.float32)
    for name in sorted(set(names)):
        rows = np.flatnonzero([name == other for other in names])
        times = drawn[:, [talkers[t] for t in name.split("+")]].prod(axis=1)
        # A speaker drawn twice is resampled twice: of her n utterances 2 n come, each equally often
        out[:, rows] = rng.multinomial(times * len(rows), np.full(len(rows), 1 / len(rows)))
    return out


def totals(
    part: np.ndarray, whole: np.ndarray, speakers: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """(draws,) sum of `part` over sum of `whole` in each resample; both (n,). A resample without
    any utterance, possible for mixtures of few speakers, is left out.
    """
    drawn = weights(tuple(speakers), draws, seed).astype(np.float64)
    above, below = (drawn @ np.stack([part, whole], axis=1).astype(np.float64)).T
    some = below != 0
    return np.round(above[some] / below[some], DECIMALS)


def interval(drawn: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap draws."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high


def p_value(drawn: np.ndarray) -> float:
    """Two-sided, of zero: 2 (1 + draws beyond zero) / (draws + 1), at most 1 and never 0. What the
    percentile interval of level 1 - p just touches (Efron and Tibshirani, 1993, sec. 15.4).
    """
    beyond = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return float(min(1.0, 2 * (1 + beyond) / (len(drawn) + 1)))


def _talkers(speakers: Sequence[str]) -> list[str]:
    return sorted({talker for name in speakers for talker in name.split("+")})
