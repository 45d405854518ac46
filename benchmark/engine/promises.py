"""What an upstream promises, held against what it gives while its states are recorded.

Plug-ins are strangers' code, and a wrong shape, a NaN or a state written over would end as a number
in a table. Counts and shapes, values and in-place writes are looked at in every batch; in the first
batch of a shard, copies find the writes that torch does not count (through numpy, `.data`), and one
more state is asked for than the card promises.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from ..asking import evidence_at
from ..contract import SAMPLE_RATE, Upstream, UpstreamCard
from ..errors import UsageError
from ..heartbeat import Heartbeat
from ..masking import valid_mask


def refuse(upstream: Upstream, fault: str) -> NoReturn:
    raise UsageError(
        f"{upstream.card.name}: {fault}; mend the plug-in (run_benchmark.py check says more)"
    )


# ---- before anything is recorded -----------------------------------------------------------------


def check_built(upstream: Upstream) -> None:
    """UsageError where the card, the weights, frames() or the costs of an upstream cannot be
    right.
    """
    card = getattr(upstream, "card", None)
    if not isinstance(card, UpstreamCard) or not isinstance(card.name, str) or not card.name:
        raise UsageError(
            f"{type(upstream).__name__} has no card with a name; its constructor sets self.card = "
            "UpstreamCard(name, depth, dim, stride, revision, source)"
        )
    fewest = 1 if card.stepped else 0  # a spectrum of another library has no block
    given = (("depth", card.depth, fewest), ("dim", card.dim, 1), ("stride", card.stride, 1))
    for name, value, least in given:
        if not isinstance(value, Integral) or value < least:
            refuse(upstream, f"its card says {name} {value!r}, not a whole number from {least}")
    for name, tensor in upstream.state_dict().items():
        if tensor.is_floating_point() and bool(tensor.isnan().any()):
            refuse(upstream, f"its weights hold nan, in {name} {tuple(tensor.shape)}")
    Promises(upstream, thorough=True).frames(torch.tensor([SAMPLE_RATE, 5 * SAMPLE_RATE]))
    _check_costs(upstream)


def _check_costs(upstream: Upstream) -> None:
    samples, last = 5 * SAMPLE_RATE, upstream.card.depth
    counts = [upstream.macs(samples, depth) for depth in range(last + 1)]
    exits = upstream.exits if upstream.knob else ()
    counted: list[tuple[str, Sequence[Any]]] = [
        ("macs", counts),
        ("evidence_macs", [upstream.evidence_macs(samples, depth) for depth in exits]),
    ]
    for name, values in counted:
        for value in values:
            if not isinstance(value, Real) or not 0 <= value < float("inf"):
                refuse(upstream, f"{name}() gives {value!r}, not a number of operations")
    if not upstream.card.stepped and len(set(counts)) > 1:
        refuse(upstream, "macs() differs between depths, where its card says all are computed")
    nothing = upstream.card.stepped and counts[last] == 0
    if nothing or any(deeper < before for before, deeper in pairwise(counts)):
        seen = ", ".join(f"{count:,}" for count in counts)
        refuse(upstream, f"macs() of 5 s should grow with depth from above 0; it gives {seen}")


# ---- when thresholds are set ---------------------------------------------------------------------


def threshold(upstream: Upstream, evidence: np.ndarray, value: float) -> float:
    """`Upstream.tau`, which must be a number."""
    with Heartbeat(f"{upstream.card.name}: the threshold of {upstream.knob} {value:g}") as heart:
        heart.step("tau()")
        tau = upstream.tau(evidence, value)
    if not isinstance(tau, Real) or tau != tau:
        refuse(upstream, f"tau() gives {tau!r} for {upstream.knob} {value:g}, not a number")
    return float(tau)


# ---- while it records ----------------------------------------------------------------------------


@dataclass
class Handed:
    """A tensor that is handed to a plug-in, which may read it and not write to it.

    Attributes:
        copy: of its content, where in-place writes that torch does not count are looked for.
    """

    name: str
    tensor: Tensor
    version: int | None
    copy: Tensor | None

    def spoiled(self) -> bool:
        if _version(self.tensor) != self.version:
            return True
        if self.copy is None:
            return False
        return not torch.equal(_bits(self.tensor), _bits(self.copy))  # nan equals itself


class Promises:
    """One batch through an upstream, watched.

    Args:
        thorough: as in the first batch of a shard, see above.
    Raises: UsageError: by every method, where the upstream does not give what it promises.
    """

    def __init__(self, upstream: Upstream, thorough: bool):
        self.upstream, self.thorough = upstream, thorough
        self._finite: list[Tensor] = []  # for each depth, read once: each reading waits for a GPU

    def frames(self, lengths: Tensor) -> Tensor:
        """(B,) valid frames, as `Upstream.frames`."""
        handed = self._handed("the lengths", lengths)
        frames = self.upstream.frames(lengths)
        self._unspoiled("frames()", [handed])
        self._shaped("frames()", frames, lengths.shape, "one whole number an utterance")
        if frames.is_floating_point():
            self._refuse(f"frames() gives {frames.dtype}, not whole numbers")
        if bool((frames < 1).any()):
            worst = int(frames.argmin())
            self._refuse(f"frames() gives {frames[worst]} frames for {lengths[worst]} samples")
        return frames

    def states(
        self, audio: Tensor, lengths: Tensor, frames: Tensor, deepest: int
    ) -> Iterator[tuple[int, Tensor]]:
        """(depth, state) from 0 to `deepest`; what is done with a state between two of them must
        leave it as it is.
        """
        last, longest = self.upstream.card.depth, int(frames.max())
        given = [self._handed("the audio", audio), self._handed("the lengths", lengths)]
        walk, held = self.upstream.states(audio, lengths), given
        if not hasattr(walk, "send"):  # the driver tells it which rows go on
            self._refuse(f"states() gives a {type(walk).__name__}, not a generator that yields")
        for depth in range(deepest + 1):
            state = next(walk, None)
            self._unspoiled(f"states(), on its way to depth {depth},", held)
            if state is None:
                self._refuse(f"states() ends before depth {depth}; its card promises 0 to {last}")
            self._check_state(depth, state, frames, longest)
            held = [*given, self._handed(f"the state of depth {depth}", state)]
            yield depth, state
            self._unspoiled(f"what is called at depth {depth}", held)
        if self.thorough and deepest == last and next(walk, None) is not None:
            self._refuse(f"states() goes on behind depth {last}, where its card says it ends")

    def evidence(
        self, depth: int, state: Tensor, previous: Tensor | None, frames: Tensor, answer: Any
    ) -> Tensor:
        """(B,) evidence, as `Upstream.evidence`."""
        found = self._watched(
            "evidence()",
            depth,
            {"state": state, "previous": previous, "frames": frames},
            lambda: evidence_at(self.upstream, depth, state, previous, frames, answer),
        )
        self._shaped(f"evidence() at depth {depth}", found, frames.shape, "one number an utterance")
        if not bool(found.isfinite().all()):
            self._refuse(f"evidence() at depth {depth} is not finite")
        return found

    def answer(self, depth: int, state: Tensor, frames: Tensor) -> Sequence[Tensor]:
        """One answer a row, as `Upstream.answer`."""
        found = self._watched(
            "answer()",
            depth,
            {"state": state, "frames": frames},
            lambda: self.upstream.answer(depth, state, frames),
        )
        if not isinstance(found, Sequence | Tensor):
            self._refuse(f"answer() at depth {depth} gives a {type(found).__name__}, no answers")
        if len(found) != len(state):
            self._refuse(
                f"answer() at depth {depth} gives {len(found)} answers to {len(state)} utterances"
            )
        return found

    def settle(self) -> None:
        """What was left open: whether all states were finite on valid frames."""
        finite = torch.stack(self._finite).tolist()
        if False in finite:
            self._refuse(f"its state of depth {finite.index(False)} is not finite (nan or inf)")

    def _check_state(self, depth: int, state: Any, frames: Tensor, longest: int) -> None:
        what, dim = f"the state of depth {depth}", self.upstream.card.dim
        if not isinstance(state, Tensor):
            self._refuse(f"{what} is a {type(state).__name__}, not a tensor")
        seen = tuple(state.shape)
        if state.ndim != 3 or (len(state), state.shape[2]) != (len(frames), dim):
            self._refuse(
                f"{what} should be ({len(frames)}, frames, {dim}) for {len(frames)} utterances and "
                f"the {dim} features of its card; it is {seen}"
            )
        if state.shape[1] < longest:
            self._refuse(f"frames() promises {longest} frames, and {what} has {state.shape[1]}")
        if state.dtype != torch.float32:
            self._refuse(f"{what} is {state.dtype}, not float32")
        valid = valid_mask(frames, state.shape[1])[..., None]
        self._finite.append(torch.where(valid, state, 0).isfinite().all())

    def _watched(
        self, who: str, depth: int, given: dict[str, Tensor], call: Callable[[], Any]
    ) -> Any:
        handed = [self._handed(f"the {name} it was given", one) for name, one in given.items()]
        found = call()
        self._unspoiled(f"{who} at depth {depth}", handed)
        return found

    def _shaped(self, what: str, found: Any, shape: torch.Size, wanted: str) -> None:
        if not isinstance(found, Tensor) or found.shape != shape:
            seen = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            self._refuse(f"{what} should be {wanted}, {tuple(shape)}; it is {seen}")

    def _handed(self, name: str, tensor: Tensor) -> Handed:
        copy = tensor.clone() if self.thorough else None
        return Handed(name, tensor, _version(tensor), copy)

    def _unspoiled(self, who: str, handed: Sequence[Handed]) -> None:
        for one in handed:
            if one.spoiled():
                self._refuse(f"{who} writes over {one.name} (in place); it must work on a copy")

    def _refuse(self, fault: str) -> NoReturn:
        refuse(self.upstream, fault)


def _bits(tensor: Tensor) -> Tensor:
    """Its numbers as whole ones of the same size."""
    sizes = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    whole = sizes.get(tensor.element_size())
    return tensor.view(whole) if whole and tensor.is_floating_point() else tensor


def _version(tensor: Tensor) -> int | None:
    """How often torch saw it written to; None where torch does not count."""
    return None if tensor.is_inference() else tensor._version
