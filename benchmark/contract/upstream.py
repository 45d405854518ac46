"""The words every room shares, and no logic.

Shapes: B utterances, N samples, T frames, D features, L blocks. Depth 0 is the front-end, depth k
>= 1 the output of block k, so an upstream of L blocks has the depths 0..L.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor, nn

from ..errors import UsageError

if TYPE_CHECKING:
    from .training import Training


@dataclass(frozen=True)
class UpstreamCard:
    """What an upstream says of itself; `check` holds it against reality.

    Attributes:
        name: as a row shows it: plug-in.tag, and in brackets every option not at its default.
        depth: L, the number of blocks.
        dim: D, features a frame.
        stride: samples between two frames.
        revision: which weights: a content hash, or "random-<seed>".
        source: paper or repository.
        evidence: what `Upstream.evidence` measures, with its unit; "" when there is none.
        tuned_on: the labelled data its weights have seen; "" for self-supervised weights.
        recipe: how its weights were trained and on what, whatever the seed: a short hash that the
            trainings of several seeds share, whose rows are averaged; "" where it is not known.
        tasks: the only tasks it may be used for, as its tuning demands; () = any.
        kind: what makes it cheaper than the model that it comes from: "distilled", "pruned",
            "downsampled", ...; "" for a model as it was pre-trained. Tables are grouped by it.
        stepped: whether its depths are computed one at a time; where all are computed whatever the
            exit is, it has static rows alone and every depth costs the same.
    """

    name: str
    depth: int
    dim: int
    stride: int
    revision: str
    source: str
    evidence: str = ""
    tuned_on: str = ""
    recipe: str = ""
    tasks: tuple[str, ...] = ()
    kind: str = ""
    stepped: bool = True


class Upstream(nn.Module):
    """Maps waveforms to hidden states, one depth at a time; the driver may stop it at any depth.

    A plug-in writes `states` and `macs` (required), to be adaptive also `evidence` and `tau`, and
    to answer a task without a trained head also `answer` and `decode`. It never writes an exit
    loop: `benchmark.exiting.run_until_exit` is the only one.

    Attributes:
        card: what it says of itself.
        knob: the name of what a user turns to trade metric for compute (DAISY: "rho"); None when
            it does not exit by itself.
        knob_values: the knob's values when the user names none.
        spans: the spans of depths an exit may be tested in, one row each.
        answers: the tasks that it answers by itself; no head is trained for such rows.
        evidence_reads_answer: `evidence` is a function of the answer: both are then computed at
            every tested depth, the answer once, and handed to `evidence` as `answer=`.
        compares_exits: what `evidence` is given as `previous`: False the state one depth before,
            True the state at the exit before (of `exits`, whatever the span), at the first exit
            that of depth 0.
        unit_count: how many units `units` tells apart; 0 when it names none.
        stand_in: constructor options that build it with random weights of the real shape, for what
            depends on no weight (`plan`, `speed`); empty when there are none.
        trained_by: how its weights are made, a value of `benchmark.contract.training`; None when
            they come from elsewhere or there are none.
        compared: the systems by which it stands in `compare --task` when nobody names any: for each
            what `--set` would say (and `tag`, `span`), `{}` for its defaults; () = it does not.
    """

    card: UpstreamCard
    knob: ClassVar[str | None] = None
    knob_values: ClassVar[tuple[float, ...]] = ()
    spans: ClassVar[tuple[str, ...]] = ("all",)
    answers: ClassVar[tuple[str, ...]] = ()
    evidence_reads_answer: ClassVar[bool] = False
    compares_exits: ClassVar[bool] = False
    unit_count: int = 0
    stand_in: ClassVar[Mapping[str, str]] = {}
    trained_by: "ClassVar[Training | None]" = None
    compared: ClassVar[tuple[Mapping[str, str], ...]] = ()

    @property
    def exits(self) -> tuple[int, ...]:
        """The depths >= 1 that have a branch, rising; at no other depth is evidence or an answer
        computed, recorded or charged. The last depth can always be left at, with or without one."""
        return tuple(range(1, self.card.depth + 1))

    @property
    def backbone(self) -> "Upstream":
        """The same states without exits, which full-depth and fixed-depth rows belong to."""
        return self

    def frames(self, lengths: Tensor) -> Tensor:
        """(B,) samples -> (B,) valid frames. By default one every `card.stride` samples."""
        return (lengths // self.card.stride).clamp(min=1)

    def states(self, wavs: Tensor, lengths: Tensor) -> Generator[Tensor, Tensor | None, None]:
        """Yields the hidden states depth by depth, each computed when it is asked for.

        A row's valid frames must not depend on the other rows or on padding. The driver may `send`
        a (B',) tensor of row numbers: only those rows go on, in that order (compaction).

        Args:
            wavs: (B, N) 16 kHz audio, zero-padded.
            lengths: (B,) valid samples, on the host.
        Yields: (B, T, D) float32, depth 0 (the front-end) to depth L.
        """
        raise NotImplementedError

    def evidence(
        self, depth: int, state: Tensor, previous: Tensor, frames: Tensor, **answer: Any
    ) -> Tensor:
        """How unsure a depth is, over each row's own valid frames; lower = surer.

        Args:
            depth: one of `exits`.
            state, previous: (B, T, D), the states at `depth` and before it, see `compares_exits`.
            frames: (B,) valid frames, where the states are.
            answer: with `evidence_reads_answer` the key `answer`: what `answer` returned here.
        Returns: (B,), in the unit that the card names.
        """
        raise NotImplementedError(f"{type(self).__name__} has no exit evidence")

    def units(self, state: Tensor) -> Tensor | None:
        """The upstream's own discrete units of its last state; None when it has none.

        What an upstream learned to predict without labels (HuBERT: the argmax of its
        self-supervised head). Branches on top of it are trained to guess these units.

        Args:
            state: (B, T, D), at depth L.
        Returns: (B, T) int64 in 0..unit_count - 1.
        """
        return None

    @property
    def naming(self) -> "Upstream":
        """The same weights with the last state that `units` reads; itself, unless its states are
        taken from elsewhere in the blocks."""
        return self

    def answer(self, depth: int, state: Tensor, frames: Tensor) -> Sequence[Tensor]:
        """What a depth answers: one tensor a row, of any shape and dtype, without padding.

        Args:
            depth: one of `exits`, or L.
            state: (B, T, D); frames: (B,) valid frames.
        """
        raise NotImplementedError(f"{type(self).__name__} does not answer by itself")

    def decode(self, answer: Tensor, task: str) -> Any:
        """One row's `answer` in the terms that the task's `judge` takes (ASR: a text)."""
        raise NotImplementedError(f"{type(self).__name__} does not answer by itself")

    def tau(self, evidence: np.ndarray, value: float) -> float:
        """The threshold for one value of the knob.

        Args:
            evidence: (n, len(exits)) of a task's training split, a column for each of `exits`.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be calibrated")

    def patience(self, value: float) -> int:
        """How many successive depths must be below the threshold, for one value of the knob."""
        return 1

    def check_knob(self, value: float) -> str:
        """A warning about a knob's value, or ""; UsageError where it means nothing."""
        return ""

    def with_blocks(self, blocks: Sequence[int]) -> "Upstream":
        """The same weights with these blocks alone, in this order: depth k is the output of the
        k-th of them; its card's name says which. Only a backbone that can step block by block
        offers it."""
        raise UsageError(
            f"{self.card.name} cannot skip, drop or reorder blocks; choose a backbone that steps "
            "block by block, such as hubert"
        )

    def reference_models(
        self, device: str
    ) -> tuple[Mapping[str, Callable[[Sequence[Tensor]], Any]], Sequence[str]]:
        """The same network as other libraries run it, which `speed` times beside this one.

        Returns: by the library's name a function of one batch, (N,) waveforms on `device`, whose
            result nobody reads; and for each library that cannot be had here a sentence.
        """
        return {}, ()

    def macs(self, samples: int, depth: int) -> int:
        """Multiply-accumulates of the front-end and the blocks 1..depth for `samples` of audio."""
        raise NotImplementedError

    def evidence_macs(self, samples: int, depth: int) -> int:
        """Multiply-accumulates of testing `depth` once, whether or not it fires, without the
        answer (which `answer_macs` counts, at every depth where it is computed)."""
        return 0

    def answer_macs(self, samples: int, depth: int) -> int:
        """Multiply-accumulates of one answer at `depth`."""
        return 0

    def decode_macs(self, samples: int, depth: int) -> int:
        """Operations of `decode`, once an utterance at the depth where it leaves, where that is a
        search; 0 where the answer is read off. What is charged is also timed."""
        return 0
