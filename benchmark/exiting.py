"""When an utterance stops, and what the head gets to see of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .asking import Before, answers_of, asked
from .contract import Upstream
from .errors import UsageError


@dataclass(frozen=True)
class Exit:
    """Test only these depths; leave at the first whose evidence is below tau, at the last
    regardless.

    No exit: Exit((L,)). Static exit at 6: Exit((6,)). DAISY: Exit(range(1, L + 1), tau); its spans:
    fewer depths, same tau. `tau` is one number or one per depth. Depths outside are not tested and
    their branch is not computed. With `patience` n (Zhou et al., 2020, PABEE) it takes the last n
    depths tested to be below their thresholds, not one.
    """

    depths: tuple[int, ...]
    tau: float | tuple[float, ...] = -math.inf
    patience: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "depths", tuple(int(k) for k in self.depths))
        if not self.depths or list(self.depths) != sorted(set(self.depths)) or self.depths[0] < 0:
            raise UsageError(
                "the depths of an exit must be strictly increasing and >= 0, and at least one; got "
                f"{list(self.depths)}"
            )
        if isinstance(self.tau, Sequence):
            object.__setattr__(self, "tau", tuple(map(float, self.tau)))
            if len(self.tau) != len(self.depths):
                raise UsageError(
                    f"an exit with {len(self.depths)} depths needs as many thresholds, got "
                    f"{len(self.tau)}"
                )
        if any(math.isnan(t) for t in self.taus):
            raise UsageError("an exit's threshold must be a number, got nan")
        if not isinstance(self.patience, int) or self.patience < 1:
            raise UsageError(
                f"the patience of an exit is a whole number from 1, not {self.patience!r}"
            )

    @property
    def taus(self) -> tuple[float, ...]:
        return self.tau if isinstance(self.tau, tuple) else (self.tau,) * len(self.depths)

    @property
    def tested(self) -> dict[int, float]:
        """Depth -> threshold, shallow to deep. The last depth is forced; depth 0 has no
        evidence.
        """
        return {k: t for k, t in zip(self.depths[:-1], self.taus, strict=False) if k > 0}

    @property
    def places(self) -> tuple[int, ...]:
        """The depths where somebody may leave: the first `patience` - 1 tested are too early."""
        return (*tuple(self.tested)[self.patience - 1 :], self.depths[-1])


@dataclass
class Exited:
    """What a batch left behind.

    Attributes:
        depth: (B,) where each utterance left, on the host.
        frames: (B,) valid frames.
        walked: for each depth the state (B', T, D) and which rows of the batch went through it.
        answers: one a row, of an upstream that answers by itself; else empty.
    """

    depth: Tensor
    frames: Tensor
    walked: Sequence[tuple[Tensor, list[int]]]
    answers: Sequence[Tensor] = ()

    @cached_property
    def states(self) -> Tensor:
        """(L', B, T, D); L' - 1 is the deepest depth any utterance needed. Zeros where a depth was
        not computed: weight 0 times NaN would be NaN."""
        batch, full = len(self.depth), []
        for state, rows in self.walked:
            if len(rows) < batch:
                where = torch.tensor(rows, device=state.device)
                state = state.new_zeros(batch, *state.shape[1:]).index_copy_(0, where, state)
            full.append(state)
        return torch.stack(full)


@torch.no_grad()
def run_until_exit(
    upstream: Upstream,
    wavs: Tensor,
    lengths: Tensor,
    exit: Exit,
    granularity: str = "utterance",
    answer: bool = True,
) -> Exited:
    """Drive `upstream` over a batch, dropping every utterance as soon as it has left.

    The host waits for the device once at each tested depth and nowhere else; for that, `lengths`
    should be on the host.

    Args:
        wavs: (B, N) 16 kHz audio, zero-padded; lengths: (B,) valid samples.
        granularity: "batch" lets the whole batch leave together on its frame-weighted mean
            evidence, as DAISY's published code does. There an exit depends on the neighbours.
        answer: take the upstream's own answers, where it has any; False for a task with a head.
    Raises: UsageError where `exit` asks for a depth that the upstream has no branch at.
    """
    answer = answer and bool(upstream.answers)
    refuse_depths(upstream, exit, answer)
    lengths = lengths.cpu()
    frames = valid = upstream.frames(lengths).to(wavs.device, non_blocking=True)
    tested, last = exit.tested, exit.depths[-1]
    alive, depth_of = list(range(len(wavs))), [last] * len(wavs)
    answers: list[Any] = [None] * len(wavs)
    below = [0] * len(wavs)  # successive depths tested, the last one included, below the threshold
    walk, walked, depth = upstream.states(wavs, lengths), [], 0
    state, before = next(walk), Before(upstream)
    while True:
        walked.append((state, alive))
        sure, known, keep = [depth == last] * len(alive), None, None
        if depth in tested:
            evidence, known = asked(upstream, depth, state, before.state, valid)
            if granularity == "batch":
                evidence = batch_mean(evidence, valid)
            now = (evidence < tested[depth]).tolist()  # here the host waits
            for i, is_below in zip(alive, now, strict=True):
                below[i] = below[i] + 1 if is_below else 0
            sure = [below[i] >= exit.patience for i in alive]
        left = [i for i, leaves in enumerate(sure) if leaves]
        for i in left:
            depth_of[alive[i]] = depth
        if left and answer:
            said = answers_of(left, upstream, depth, state, valid, known)
            for i, one in zip(left, said, strict=True):
                answers[alive[i]] = one
        if len(left) == len(alive):
            break
        if left:
            stay = [i for i, leaves in enumerate(sure) if not leaves]
            alive = [alive[i] for i in stay]
            keep = torch.tensor(stay).to(wavs.device, non_blocking=True)
            state, valid = state[keep], valid[keep]
        before.passed(depth, state, keep)
        state, depth = walk.send(keep), depth + 1
    walk.close()
    return Exited(torch.tensor(depth_of), frames, walked, answers if answer else ())


def refuse_depths(upstream: Upstream, exit: Exit, answer: bool) -> None:
    """UsageError where `exit` tests, or an answer is wanted at, a depth without a branch."""
    wanted = set(exit.tested)
    if answer:
        wanted |= {exit.depths[-1]} - {upstream.card.depth}
    if strange := sorted(wanted - set(upstream.exits)):
        raise UsageError(
            f"{upstream.card.name} has no branch at depth {', '.join(map(str, strange))}; it can "
            f"leave at {', '.join(map(str, leaving(upstream)))}"
        )


def leaving(upstream: Upstream) -> tuple[int, ...]:
    """The depths an upstream can leave at by its own decision: its exits, and the last depth."""
    return tuple(sorted({*upstream.exits, upstream.card.depth}))


def halfway(upstream: Upstream) -> float:
    """The middle one of the depths it can leave at, to aim at where no mean depth is asked for."""
    places = leaving(upstream)
    return float(places[max(0, len(places) // 2 - 1)])


def within(upstream: Upstream, span: Sequence[int], tau: float, patience: int = 1) -> Exit:
    """The exit whose places are `span`: with patience, the exits just before it are tested too."""
    before = [k for k in upstream.exits if k < span[0]] if len(span) > 1 else []
    return Exit((*before[max(0, len(before) + 1 - patience) :], *span), tau, patience)


def batch_mean(evidence: Tensor, frames: Tensor) -> Tensor:
    """(B,), (B,) valid frames -> (B,): everybody's evidence is the frame-weighted mean of all."""
    return ((evidence * frames).sum() / frames.sum()).expand_as(evidence)


def replay(evidence: np.ndarray, exit: Exit, exits: Sequence[int] | None = None) -> np.ndarray:
    """Where `exit` would have left, from evidence recorded once at every exit.

    Args:
        evidence: (n, E), a column for each of `exits`.
        exits: the depths of the columns; by default 1, 2, ..., E.
    Returns: (n,) depths.
    """
    column = {k: i for i, k in enumerate(exits or range(1, evidence.shape[1] + 1))}
    depth = np.full(len(evidence), last := exit.depths[-1])
    below = np.zeros(len(evidence), int)  # as in `run_until_exit`
    for k, tau in exit.tested.items():
        # in the record's own precision, as the live comparison of a tensor with a Python number is
        below = np.where(evidence[:, column[k]] < np.asarray(tau, evidence.dtype), below + 1, 0)
        depth[(depth == last) & (below >= exit.patience)] = k
    return depth


def replay_batches(
    evidence: np.ndarray,
    frames: np.ndarray,
    exit: Exit,
    exits: Sequence[int],
    size: int,
    order: np.ndarray | None = None,
) -> np.ndarray:
    """As `replay`, for batches of `size` neighbours that leave together (granularity "batch").

    Args:
        order: (n,) row numbers as they stand beside each other; default: as they are.
    """
    together = torch.from_numpy(evidence.copy())
    counts = torch.from_numpy(np.asarray(frames))
    places = torch.arange(len(evidence)) if order is None else torch.from_numpy(order)
    for rows in places.split(size):
        for column in range(evidence.shape[1]):
            together[rows, column] = batch_mean(together[rows, column], counts[rows])
    return replay(together.numpy(), exit, exits)


class TruncatedWeightedSum(nn.Module):
    """Softmax over the depths an utterance reached; SUPERB's weighted sum when all reach the end.

    One score a depth, shared by all exits and zero at the start (s3prl's Featurizer; `dynamic` in
    DAISY's released code). With `rows` every exit depth has scores of its own (`dynamic-s` there).
    With `normalise`, every state goes through a layer-norm without parameters first (DAISY, eq. 4;
    MiniSUPERB; off in SUPERB). `alone` takes the state at the exit instead of the sum, as a probe
    of single depths does.
    """

    def __init__(
        self, depths: int, normalise: bool = False, alone: bool = False, rows: bool = False
    ):
        super().__init__()
        self.normalise, self.alone = normalise, alone
        self.scores = nn.Parameter(torch.zeros((depths, depths) if rows else depths))

    def forward(self, states: Tensor, depth: Tensor) -> Tensor:
        """(L', B, T, D) states and (B,) exit depths -> (B, T, D)."""
        return self.weighted(layer_normed(states) if self.normalise else states, depth)

    def weighted(self, states: Tensor, depth: Tensor) -> Tensor:
        """The sum alone, of states already normalised where they should be."""
        weight = self.weights(len(states), depth.to(states.device))
        return torch.einsum("lb,lbtd->btd", weight, states)

    def weights(self, depths: int, exits: Tensor) -> Tensor:
        """(B,) exit depths, all below `depths` -> (depths, B), columns that add up to one."""
        depth = torch.arange(depths, device=exits.device)[:, None]
        seen = depth == exits if self.alone else depth <= exits
        scores = self.scores[:, None] if self.scores.ndim == 1 else self.scores[exits].T
        return scores[:depths].masked_fill(~seen, -torch.inf).softmax(0)


def layer_normed(states: Tensor) -> Tensor:
    """Layer-norm over the features, no parameters, eps 1e-5."""
    return F.layer_norm(states, states.shape[-1:])
