"""One thread for what has so little to do in one step that several would wait for each other.

On two cores `hubert.tiny` is recorded as fast with one thread as with two, and where others use the
machine ten times as fast. One thread also makes its numbers the same however many cores there are.
"""

import contextlib
from collections.abc import Iterator

import torch

from ..contract import Upstream

SMALL = 20_000_000  # parameters of an upstream


def small(upstream: Upstream) -> bool:
    """Whether its blocks have so little to do."""
    return sum(p.numel() for p in upstream.parameters()) < SMALL


@contextlib.contextmanager
def one_thread(device: str, few: bool) -> Iterator[None]:
    """While the block runs, a single thread on a CPU where `few` suffice."""
    threads = torch.get_num_threads()
    if few and device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
