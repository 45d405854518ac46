"""An upstream that spells: a trunk that steps, and a head at each of its exits and at the end.

What an exit answers is its symbols' log-probabilities; a criterion reads them, or the states, for
evidence. Where the states alone decide, a head is run only where an utterance leaves. A widened
head gives several scores a frame, one after the other, where a shortened input leaves CTC too few
frames (Zaiem et al., 2023, salah-zaiem/speeding_inferences: downsampled_train.py, `upsampling`). A
language model, where one is named, searches the scores of the exit that was taken and of no other:
it moves no exit.

On a CPU every row runs by itself and without padding, as the trunk does, so neighbours do not even
change the last bit; elsewhere, and where gradients flow, heads run the padded batch with a mask.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...benchmark.asking import depth_before
from ...benchmark.calibration import for_mean_depth, refuse_mean_depth
from ...benchmark.contract import Upstream
from ...benchmark.contract.wrapper import stepping
from ...benchmark.errors import UsageError
from ...benchmark.exiting import halfway
from . import beam, criteria, word_search
from .alphabet import Alphabet
from .word_model import USUAL


class Recogniser(Upstream):
    """
    Args:
        trunk: an upstream that computes its depths one at a time.
        heads: by depth as text, the last depth among them; each maps (B, T, D) states and (B,)
            frames to (B, T, per_frame * V) logits, has `symbols` = per_frame * V, and counts its
            `macs(frames)`.
        alphabet: of V symbols.
        criterion: as `criteria.criterion` takes it.
        name, revision, source, tuned_on, recipe, kind: of the card.
        per_frame: scores that a frame gives.
    Attributes:
        makes_room: what gives CTC more scores for a transcript, as a sentence ends.
        divides: whether its publication divides entropies by the number of symbols.
        word_model: what transcripts are decoded with, the class's by default; set before
            `__init__`.
    """

    knob = "target_depth"
    answers = ("asr",)
    divides = False
    makes_room = "more frames a second"
    word_model = USUAL

    def __init__(
        self,
        trunk: Upstream,
        heads: nn.ModuleDict,
        alphabet: Alphabet,
        criterion: str,
        *,
        name: str,
        revision: str,
        source: str,
        tuned_on: str,
        recipe: str = "",
        kind: str = "",
        per_frame: int = 1,
    ):
        super().__init__()
        self.trunk, self.heads, self.alphabet = stepping(trunk), heads, alphabet
        self.per_frame = per_frame
        self.criterion = criteria.criterion(criterion, alphabet)
        *self._exits, last = sorted(map(int, heads))
        if last != trunk.card.depth or self._exits[:1] == [0]:
            raise UsageError(
                f"{name}: its heads are at {', '.join(heads)}, and {trunk.card.name} ends at depth "
                f"{trunk.card.depth}, which needs one; none may be at 0"
            )
        width = per_frame * len(alphabet)
        other = [head.symbols for head in heads.values() if head.symbols != width]
        if other:
            times = f", {per_frame} times a frame" if per_frame > 1 else ""
            raise UsageError(
                f"{name}: its heads tell {other[0]} symbols apart, and the alphabet "
                f"{alphabet.name} has {len(alphabet)}{times}; name the alphabet that it was "
                "trained with"
            )
        if self.word_model.file:
            word_search.ready(self.word_model, alphabet)  # fails now, not after a run
            revision = f"{revision}+{self.word_model.revision}"
            recipe = recipe and f"{recipe}+{self.word_model.revision}"
        self._refuse_idle(name)
        self.card = replace(
            trunk.card,
            name=name,
            revision=revision,
            source=source,
            evidence=self._unit() if self._exits else "",
            tuned_on=tuned_on,
            recipe=recipe,
            tasks=self.answers,
            kind=kind,
        )
        self.evidence_reads_answer = self.criterion.reads != "states"
        self.compares_exits = self.criterion.reads == "exits"
        if self._exits:
            soonest = [*self.exits[self.criterion.in_a_row - 1 :], self.card.depth][0]
            self.knob_values = (max(halfway(self), float(soonest)),)
        else:  # one head, as a model without exits has
            self.knob, self.evidence_reads_answer = None, False

    def _refuse_idle(self, name: str) -> None:
        """UsageError for a criterion that can decide nothing."""
        in_a_row, count = self.criterion.in_a_row, len(self._exits)
        if in_a_row > 1 and count and in_a_row >= count:  # the first one has none to agree with
            most = f"patience:{count - 1} or fewer" if count > 2 else "patience"
            raise UsageError(
                f"{name}: of {count} exits no {in_a_row} in a row can agree with the one before; "
                f"take --set criterion={most}"
            )
        if not count and self.criterion.name != "entropy":
            raise UsageError(
                f"{name}: with one exit no criterion decides anything; leave criterion out"
            )

    @property
    def exits(self) -> tuple[int, ...]:
        return tuple(self._exits)

    def frames(self, lengths: Tensor) -> Tensor:
        return self.trunk.frames(lengths)

    def scored(self, frames: Tensor) -> Tensor:
        """(B,) valid frames -> (B,) valid scores."""
        return frames * self.per_frame

    def states(self, wavs: Tensor, lengths: Tensor) -> Generator[Tensor, Tensor | None, None]:
        return self.trunk.states(wavs, lengths)

    def scores(self, depth: int, state: Tensor, frames: Tensor) -> Tensor:
        """(B, T, D) at `depth`, (B,) valid frames -> (B, T * per_frame, V) log-probabilities of a
        batch; gradients pass. What stands behind a row's end means nothing."""
        logits = self.heads[str(depth)](state, frames)
        # in full precision, whatever a training multiplies in
        return laid_out(logits, self.per_frame).float().log_softmax(-1)

    def answer(self, depth: int, state: Tensor, frames: Tensor) -> Sequence[Tensor]:
        """One (T * per_frame, V) tensor of log-probabilities a row."""
        return self.rows_of_scores(depth, state, frames)

    def rows_of_scores(self, depth: int, state: Tensor, frames: Tensor) -> Sequence[Tensor]:
        """`scores` without padding: one (T * per_frame, V) tensor a row."""
        if state.device.type != "cpu" or torch.is_grad_enabled():
            scores = self.scores(depth, state, frames)  # before the host waits for the counts
            counts = self.scored(frames).tolist()
            return [row[:n] for row, n in zip(scores, counts, strict=True)]
        rows = zip(state, frames.split(1), frames.tolist(), strict=True)
        return [self.scores(depth, row[None, :n], one)[0] for row, one, n in rows]

    def written(self, answer: Tensor) -> list[int]:
        """The ids of what an exit wrote: of scores the best of each frame."""
        return self.alphabet.greedy(answer)

    def decode(self, answer: Tensor, task: str) -> str:
        """The transcript, upper case, words with single spaces between them: greedy, or what a
        beam search finds with a language model (greedy, where nothing it found ends with a word).
        """
        found = None
        if self.word_model.file:
            found = word_search.words(answer, self.alphabet, self.word_model)
        return self.alphabet.decode(self.written(answer)) if found is None else found

    def evidence(
        self, depth: int, state: Tensor, previous: Tensor, frames: Tensor, **answer: Any
    ) -> Tensor:
        if self.criterion.reads == "scores":
            return self.criterion.of_scores(answer["answer"])
        if self.criterion.reads == "states":
            return self.criterion.of_states(state, previous, frames)
        before = depth_before(self, depth)
        if not before:  # nothing to agree with
            return state.new_ones(len(state))
        # asked again: a test remembers nothing of the one before
        pairs = zip(answer["answer"], self.answer(before, previous, frames), strict=True)
        changes = [self.criterion.of(*map(self.written, pair)) for pair in pairs]
        return torch.tensor(changes, device=state.device)

    def tau(self, evidence: np.ndarray, value: float) -> float:
        given = (self.exits, self.card.depth, self.patience(value))
        return for_mean_depth(evidence, value, *given)

    def patience(self, value: float) -> int:
        return self.criterion.in_a_row

    def check_knob(self, value: float) -> str:
        last = self.card.depth
        refuse_mean_depth(value, self.exits or (last,), last, self.patience(value))
        return ""

    def published(self, threshold: float) -> float:
        """The tau that a threshold of its publication stands for, in this criterion."""
        classes = len(self.alphabet) if self.divides else 1
        return criteria.published(self.criterion.name, threshold, classes)

    def macs(self, samples: int, depth: int) -> int:
        return self.trunk.macs(samples, depth)

    def answer_macs(self, samples: int, depth: int) -> int:
        return self.scores_macs(samples, depth)

    def scores_macs(self, samples: int, depth: int) -> int:
        """Multiply-accumulates of the scores at `depth`."""
        return self.heads[str(depth)].macs(self._frames(samples))

    def decode_macs(self, samples: int, depth: int) -> int:
        """The additions of a search with a language model; nothing where it is read off."""
        beams = self.word_model.beam if self.word_model.file else 0
        return beam.additions(self._scored(samples), len(self.alphabet), beams)

    def evidence_macs(self, samples: int, depth: int) -> int:
        """Beside the answer's: nothing where it is read off the scores; the other head's; a dot
        product and two norms a frame; the additions of a beam search."""
        frames, before = self._frames(samples), depth_before(self, depth)
        if self.criterion.reads == "states":
            return 3 * frames * self.card.dim
        if self.criterion.reads == "exits":
            return self.answer_macs(samples, before) if before else 0
        return beam.additions(self._scored(samples), len(self.alphabet), self.criterion.search)

    def _unit(self) -> str:
        """Of evidence: means over scores are not over frames where a frame has several."""
        if self.per_frame == 1 or self.criterion.reads == "states":
            return self.criterion.unit
        return f"{self.criterion.unit}, each frame giving {self.per_frame}"

    def _scored(self, samples: int) -> int:
        return self._frames(samples) * self.per_frame

    def _frames(self, samples: int) -> int:
        return int(self.frames(torch.tensor([samples]))[0])


def laid_out(logits: Tensor, per_frame: int) -> Tensor:
    """(B, T, per_frame * V) -> (B, T * per_frame, V): the scores of a frame one after the other."""
    rows, frames, width = logits.shape
    return logits.reshape(rows, frames * per_frame, width // per_frame)
