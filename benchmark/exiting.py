"""When an utterance stops, and what the head gets to see of it."""
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .contract import Upstream
from .errors import UsageError


@dataclass(frozen=True)
class Exit:
    """Test only these depths, leave at the first whose evidence is below tau, and at the last of them regardless.

    No exit: Exit((L,)). Static exit at 6: Exit((6,)). DAISY: Exit(range(1, L + 1), tau); its spans: fewer depths, same
    tau. `tau` is one number or one per depth. Depths outside are not tested and their branch is not computed.
    """
    depths: tuple[int, ...]
    tau: float | tuple[float, ...] = -math.inf

    def __post_init__(self):
        object.__setattr__(self, "depths", tuple(int(k) for k in self.depths))
        if not self.depths or list(self.depths) != sorted(set(self.depths)) or self.depths[0] < 0:
            raise UsageError(f"an exit needs at least one depth, rising, none below 0; got {list(self.depths)}")
        if isinstance(self.tau, Sequence):
            object.__setattr__(self, "tau", tuple(map(float, self.tau)))
            if len(self.tau) != len(self.depths):
                raise UsageError(f"an exit with {len(self.depths)} depths needs as many thresholds, got {len(self.tau)}")
        if any(math.isnan(t) for t in self.taus):
            raise UsageError("an exit's threshold must be a number, got nan")

    @property
    def taus(self) -> tuple[float, ...]:
        return self.tau if isinstance(self.tau, tuple) else (self.tau,) * len(self.depths)

    @property
    def tested(self) -> dict[int, float]:
        """Depth -> threshold, in rising order. The last listed depth is forced, the front-end has no evidence."""
        return {k: t for k, t in zip(self.depths[:-1], self.taus, strict=False) if k > 0}


@dataclass
class Exited:
    depth: Tensor                                  # (B,) where each utterance left, on the host
    frames: Tensor                                 # (B,) valid frames
    walked: Sequence[tuple[Tensor, list[int]]]     # per depth the state (B', T, D) and which rows of the batch went through it

    @cached_property
    def states(self) -> Tensor:
        """(L', B, T, D); L' - 1 is the deepest depth any utterance needed. Zeros where not computed: weight 0 x NaN would be NaN."""
        batch = len(self.depth)
        return torch.stack([state if len(rows) == batch else state.new_zeros(batch, *state.shape[1:]).index_copy_(
            0, torch.tensor(rows, device=state.device), state) for state, rows in self.walked])


@torch.no_grad()
def run_until_exit(upstream: Upstream, wavs: Tensor, lengths: Tensor, exit: Exit, granularity: str = "utterance") -> Exited:
    """Drive `upstream` over (B, N) audio, dropping every utterance from the batch as soon as it has left.

    The host waits for the device once at each tested depth and nowhere else; for that, `lengths` should be on the host.
    `granularity="batch"` lets the whole batch leave together on its frame-weighted mean evidence, as DAISY's published code
    does; there an exit depends on the neighbours, so it exists only to mimic that code.
    """
    lengths = lengths.cpu()
    frames = own = upstream.frames(lengths).to(wavs.device, non_blocking=True)
    tested, last = exit.tested, exit.depths[-1]
    alive, depth_of = list(range(len(wavs))), [last] * len(wavs)
    walk, walked, previous = upstream.states(wavs, lengths), [], None
    state, depth = next(walk), 0
    while True:
        walked.append((state, alive))
        if depth == last:
            break
        keep = None
        if depth in tested:
            evidence = upstream.evidence(depth, state, previous, own)
            if granularity == "batch":
                evidence = ((evidence * own).sum() / own.sum()).expand_as(evidence)
            sure = (evidence < tested[depth]).tolist()                              # here the host waits
            for row, leaves in zip(alive, sure, strict=True):
                depth_of[row] = depth if leaves else last
            if all(sure):
                break
            if any(sure):
                stay = [i for i, leaves in enumerate(sure) if not leaves]
                alive = [alive[i] for i in stay]
                keep = torch.tensor(stay).to(wavs.device, non_blocking=True)
                state, own = state[keep], own[keep]
        previous = state
        state, depth = walk.send(keep), depth + 1
    walk.close()
    return Exited(torch.tensor(depth_of), frames, walked)


def replay(evidence: np.ndarray, exit: Exit) -> np.ndarray:
    """(n, L) evidence recorded once at every depth (column k-1 = depth k) -> (n,) where `exit` would have left."""
    depth = np.full(len(evidence), exit.depths[-1])
    for k, tau in reversed(exit.tested.items()):
        # in the record's own precision, as the live comparison of a tensor with a Python number is
        depth = np.where(evidence[:, k - 1] < np.asarray(tau, evidence.dtype), k, depth)
    return depth


class TruncatedWeightedSum(nn.Module):
    """Softmax over the depths an utterance reached; SUPERB's weighted sum when all reach the end.

    One score a depth, shared by all exits and zero at the start (s3prl's Featurizer; DAISY's released code). With
    `normalise`, every state goes through a layer-norm without parameters first (DAISY, eq. 4; MiniSUPERB; off in SUPERB).
    """

    def __init__(self, depths: int, normalise: bool = False):
        super().__init__()
        self.normalise = normalise
        self.scores = nn.Parameter(torch.zeros(depths))

    def forward(self, states: Tensor, depth: Tensor) -> Tensor:
        """(L', B, T, D) states and (B,) exit depths -> (B, T, D)."""
        return self.weighted(layer_normed(states) if self.normalise else states, depth)

    def weighted(self, states: Tensor, depth: Tensor) -> Tensor:
        """The sum alone, of states already normalised where they should be."""
        own = torch.arange(len(states), device=states.device)[:, None] <= depth.to(states.device)[None]     # (L', B)
        weight = self.scores[: len(states), None].masked_fill(~own, -torch.inf).softmax(0)
        return torch.einsum("lb,lbtd->btd", weight, states)


def layer_normed(states: Tensor) -> Tensor:
    """Layer-norm over the features, no parameters, eps 1e-5."""
    return F.layer_norm(states, states.shape[-1:])
