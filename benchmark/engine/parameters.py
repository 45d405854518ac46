"""Which parameters an upstream needs to reach a depth, read off one pass over a second of noise.

What counts is the memory that operators read, whoever calls them: a module, a function on a slice
of a weight (HuBERT's convolutions on a CPU call no module), a wrapper in bfloat16.
"""

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..asking import Before, evidence_at
from ..contract import SAMPLE_RATE, Upstream
from ..exiting import leaving


class Memory(NamedTuple):
    """Where a parameter lies; one under two names lies in one place and counts once."""

    start: int  # byte address
    end: int
    count: int  # of numbers


class Parameters:
    """Parameters by depth.

    Where torch sees none of them read (an upstream on another runtime), all count at every depth.

    Args:
        answers: count what the upstream needs to answer by itself, too.

    Attributes:
        all: what a full pass with every branch needs. Parameters that only pre-training uses (a
            self-supervised head, mask embeddings) are not among them.
    """

    def __init__(self, upstream: Upstream, answers: bool = False):
        self._states, self._evidence, self._answers = _watched_pass(upstream, answers)
        self.all = self.needed(upstream.card.depth, self._evidence, self._answers)

    def needed(self, depth: int, tested: Iterable[int] = (), answered: Iterable[int] = ()) -> int:
        """How many the front-end and the blocks 1..depth have, with the evidence of the depths
        `tested` and the answers of those `answered` among them."""
        used = set().union(*self._states[: depth + 1])
        for read, where in ((self._evidence, tested), (self._answers, answered)):
            used.update(*(read.get(k, ()) for k in where if k <= depth))
        return sum(memory.count for memory in used)


@torch.no_grad()
def _watched_pass(
    upstream: Upstream, answering: bool
) -> tuple[list[set[Memory]], dict[int, set[Memory]], dict[int, set[Memory]]]:
    """What each depth's state reads, from 0 on, what its evidence reads (with the answer, where it
    is a function of that), and what its answer reads."""
    watch = _Watch(upstream.parameters())
    placed = chain(upstream.parameters(), upstream.buffers())
    device = next((tensor.device for tensor in placed), torch.device("cpu"))
    noise = torch.randn(1, SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([SAMPLE_RATE])
    frames, before = upstream.frames(lengths).to(device), Before(upstream)
    states: list[set[Memory]] = []
    evidence: dict[int, set[Memory]] = {}
    answers: dict[int, set[Memory]] = {}
    tested = upstream.exits if upstream.knob else ()
    answered = leaving(upstream) if answering else ()
    walk = upstream.states(0.1 * noise.to(device), lengths)
    for depth in range(upstream.card.depth + 1):
        with watch:
            state = next(walk)
        states.append(watch.taken())
        reads = depth in tested and upstream.evidence_reads_answer
        with watch:
            answer = None
            if depth in answered or reads:
                answer = upstream.answer(depth, state, frames)
        answers[depth] = watch.taken()
        with watch:
            if depth in tested:
                evidence_at(upstream, depth, state, before.state, frames, answer)
        evidence[depth] = watch.taken() | (answers[depth] if reads else set())
        before.passed(depth, state)
    walk.close()
    if not any(states):
        states[0] = set(watch.memories)
    return states, evidence, answers


class _Watch(TorchDispatchMode):
    """While entered, notes which parameters any operator reads."""

    def __init__(self, parameters: Iterable[Tensor]):
        super().__init__()
        self.memories = sorted({Memory(*_span(p), p.numel()) for p in parameters})
        self._starts = np.array([m.start for m in self.memories], np.int64)
        self._ends = np.array([m.end for m in self.memories], np.int64)
        self._seen: set[Memory] = set()

    def taken(self) -> set[Memory]:
        """What was read since the last call."""
        seen, self._seen = self._seen, set()
        return seen

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                start, end = _span(value)
                read = np.flatnonzero((self._starts < end) & (start < self._ends))
                self._seen.update(self.memories[i] for i in read)
        return func(*args, **(kwargs or {}))


def _span(tensor: Tensor) -> tuple[int, int]:
    """First byte of a tensor and the one behind its last; an empty one spans none."""
    if not tensor.numel():
        return 0, 0
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    start = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size()
