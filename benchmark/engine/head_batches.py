"""Which utterances are in which training batch: a function of corpus, seed and batch number alone,
so a resumed training sees what an undisturbed one sees.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ..contract import Item, Protocol


def batches(items: Sequence[Item], protocol: Protocol, seed: int) -> Callable[[int], list[int]]:
    """Micro-batch number -> rows of `items`: in buckets of similar length where the protocol asks
    for them, else drawn at random.
    """
    if not protocol.bucket:
        return lambda i: batch_rows(len(items), protocol.batch, seed, i)
    buckets = in_buckets([item.samples for item in items], protocol.bucket)
    return lambda i: buckets[batch_rows(len(buckets), 1, seed, i)[0]]


def batch_rows(n: int, batch: int, seed: int, i: int) -> list[int]:
    """Micro-batch i of n rows: every epoch a fresh order, a function of seed and epoch alone."""
    epoch, j = divmod(i, -(-n // batch))
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return order[j * batch : (j + 1) * batch].tolist()


def in_buckets(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Row numbers, longest first, in batches of half a bucket.

    The last bucket, where it is not full, is not halved; a single row in it is left out, unless it
    is all there is.

    s3prl/downstream/asr/dataset.py halves every full bucket: it compares samples with a
    limit meant for frames.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    full, half = len(order) // size * size, size // 2
    found = []
    for start in range(0, full, size):
        found += [order[start : start + half], order[start + half : start + size]]
    found = [batch for batch in found if batch]
    rest = order[full:]
    if len(rest) > 1 or not full:
        found.append(rest)
    return found
