"""Which utterances are in which training batch: alike in length, and a function of the seed and the
batch's number alone, so that a resumed training sees what an undisturbed one sees.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

POOL = 16  # batches' worth of utterances that are sorted by length together


class Balanced:
    """Every utterance once an epoch.

    In random order: each epoch utterances are drawn into pools, a pool is sorted by length and cut
    into batches, and those are shuffled. In ascending order: all are sorted, and no epoch differs.

    Args:
        lengths: of every utterance, in samples.
        most: utterances of a batch, 0 = any number; samples: of its padded audio, 0 = any number.
            An utterance that is longer by itself is a batch of its own.
    """

    def __init__(
        self, lengths: Sequence[int], most: int, samples: int, seed: int, ascending: bool = False
    ):
        self.lengths, self.most, self.samples = np.asarray(lengths), most, samples
        self.seed, self.ascending = seed, ascending
        self._ends = [0]  # the number of the first batch of every epoch that was looked at
        self._epoch: tuple[int, list[np.ndarray]] = (-1, [])
        each = most or max(1, samples // max(1, int(self.lengths.mean())))
        self._pool = POOL * each

    def rows(self, i: int) -> list[int]:
        """Batch i: numbers of utterances."""
        while self._ends[-1] <= i:
            self._ends.append(self._ends[-1] + len(self._batches(len(self._ends) - 1)))
        epoch = bisect_right(self._ends, i) - 1
        return self._batches(epoch)[i - self._ends[epoch]].tolist()

    def _batches(self, epoch: int) -> list[np.ndarray]:
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._drawn(epoch))
        return self._epoch[1]

    def _drawn(self, epoch: int) -> list[np.ndarray]:
        if self.ascending:
            return self._cut(np.argsort(self.lengths, kind="stable"))
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.lengths))
        found = []
        for start in range(0, len(order), self._pool):
            pool = order[start : start + self._pool]
            found += self._cut(pool[np.argsort(self.lengths[pool], kind="stable")])
        return [found[k] for k in rng.permutation(len(found))]

    def _cut(self, rows: np.ndarray) -> list[np.ndarray]:
        """Rows of rising length in batches."""
        found, start = [], 0
        for stop in range(1, len(rows) + 1):
            if stop == len(rows) or self._full(stop - start, self.lengths[rows[stop]]):
                found.append(rows[start:stop])
                start = stop
        return found

    def _full(self, count: int, longer: int) -> bool:
        """Whether a batch of `count` utterances has no place for a longer one."""
        too_many = bool(self.most) and count >= self.most
        return too_many or (bool(self.samples) and (count + 1) * int(longer) > self.samples)
