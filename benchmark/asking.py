"""What an upstream is asked at a tested depth: its answer, its evidence, and the earlier state that
the evidence compares with.

Everything that walks through the depths asks by these functions: live runs, recordings, the checks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .contract import Upstream


def depth_before(upstream: Upstream, depth: int) -> int:
    """The depth whose state `evidence` is given as `previous` at one of `exits`: the one before,
    or, where the upstream compares exits, the exit before, whatever the span; 0 at the first."""
    if not upstream.compares_exits:
        return depth - 1
    return max((k for k in upstream.exits if k < depth), default=0)


class Before:
    """While a walk goes from depth to depth: the state that the next evidence compares with.

    Attributes:
        state: (B, T, D) of the rows that are still there.
    """

    def __init__(self, upstream: Upstream):
        self.state: Tensor | None = None
        self._wanted = {depth_before(upstream, depth) for depth in upstream.exits}

    def passed(self, depth: int, state: Tensor, keep: Tensor | None = None) -> None:
        """The walk leaves `depth`.

        Args:
            state: (B', T, D), of the rows that go on.
            keep: (B',) which ones of the rows before they are; None: all.
        """
        if depth in self._wanted:
            self.state = state
        elif self.state is not None and keep is not None:
            self.state = self.state[keep]


def evidence_at(
    upstream: Upstream,
    depth: int,
    state: Tensor,
    previous: Tensor | None,
    frames: Tensor,
    answer: Sequence[Tensor] | None,
) -> Tensor:
    """(B,) evidence, read from the answer where the upstream says so.

    Args:
        previous: the state of `depth_before`.
    """
    assert previous is not None  # depth 0 has no evidence
    given = {"answer": answer} if upstream.evidence_reads_answer else {}
    return upstream.evidence(depth, state, previous, frames, **given)


def asked(
    upstream: Upstream, depth: int, state: Tensor, previous: Tensor | None, frames: Tensor
) -> tuple[Tensor, Sequence[Tensor] | None]:
    """(B,) evidence, and the answer where the evidence was read from it."""
    reads = upstream.evidence_reads_answer
    known = upstream.answer(depth, state, frames) if reads else None
    return evidence_at(upstream, depth, state, previous, frames, known), known


def answers_of(
    rows: list[int],
    upstream: Upstream,
    depth: int,
    state: Tensor,
    frames: Tensor,
    known: Sequence[Tensor] | None,
) -> Sequence[Tensor]:
    """The answers of some rows: those that the evidence was read from, else asked for now."""
    if known is not None:
        return [known[i] for i in rows]
    own = torch.tensor(rows, device=state.device)
    return upstream.answer(depth, state[own], frames[own])
