"""What a recogniser's exits lose on a batch, and how that becomes one number.

The loss of an exit is CTC's (Graves et al., 2006): HuBERT-EE (Yoon et al., 2024, eq. 1 to 3) adds
lambda times those of the branches to the last one's, Wright et al. (2024, eq. 2) and Zaiem et al.
(2023) sum all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...benchmark import distributed
from ..recognition.alphabet import Alphabet
from ..recognition.recogniser import Recogniser
from .recognition_data import Transcribed
from .recognition_recipe import RecognitionRecipe


def ctc(log_probs: Tensor, scored: Tensor, targets: Sequence[Sequence[int]], blank: int) -> Tensor:
    """(B, T, V) log-probabilities, (B,) valid ones -> (B,): -log of the probability of each
    target; 0 where it does not fit, without a gradient."""
    device = log_probs.device
    symbols = torch.tensor([i for target in targets for i in target], dtype=torch.long)
    return F.ctc_loss(
        log_probs.float().transpose(0, 1),
        symbols.to(device),
        scored.cpu(),
        torch.tensor([len(target) for target in targets]),
        blank,
        reduction="none",
        zero_infinity=True,
    )


@dataclass(frozen=True)
class Heard:
    """What the exits make of a batch.

    Attributes:
        states, scores: by depth, (B, T, D) and (B, T * per_frame, V) log-probabilities.
        frames, scored: (B,) valid frames, and valid scores.
    """

    states: Mapping[int, Tensor]
    scores: Mapping[int, Tensor]
    frames: Tensor
    scored: Tensor


def total(
    recipe: RecognitionRecipe,
    heard: Heard,
    batch: Transcribed,
    recogniser: Recogniser,
    weights: Mapping[int, float],
) -> Tensor:
    """(): the weighted sum of the exits' losses.

    Args:
        heard: of the weighted depths, and of the last exit where others learn its transcript.
        weights: by depth.
    """
    last, alphabet = max(heard.scores), recogniser.alphabet
    told = transcripts(heard, last, alphabet) if recipe.kd and len(heard.scores) > 1 else None
    found = []
    for depth, weight in weights.items():
        own = _of_exit(recipe, heard, depth, batch.targets, recogniser)
        value = averaged(own, batch.targets, recipe, batch)
        if told is not None and depth != last:
            taught = _of_exit(recipe, heard, depth, told, recogniser)
            taught = averaged(taught, told, recipe, batch)
            value = (1 - recipe.kd) * value + recipe.kd * taught
        found.append(weight * value)
    return torch.stack(found).sum()


def _of_exit(
    recipe: RecognitionRecipe,
    heard: Heard,
    depth: int,
    targets: Sequence[Sequence[int]],
    recogniser: Recogniser,
) -> Tensor:
    """(B,): CTC's loss, or its share of it beside the cross entropy of the head's own decoder."""
    found = ctc(heard.scores[depth], heard.scored, targets, recogniser.alphabet.blank)
    if recipe.ctc == 1:
        return found
    head = recogniser.heads[str(depth)]
    written = head.cross_entropy(heard.states[depth], heard.frames, targets)
    return recipe.ctc * found + (1 - recipe.ctc) * written


def transcripts(heard: Heard, depth: int, alphabet: Alphabet) -> list[list[int]]:
    """The greedy ids that an exit writes for every row."""
    rows = zip(heard.scores[depth].detach(), heard.scored.tolist(), strict=True)
    return [alphabet.greedy(row[:count]) for row, count in rows]


def averaged(
    losses: Tensor, targets: Sequence[Sequence[int]], recipe: RecognitionRecipe, batch: Transcribed
) -> Tensor:
    """(B,) -> (): the recipe's mean over the utterances of a batch, whichever process has them; of
    the processes' numbers the mean is taken."""
    mine = batch.share * distributed.rank_and_size()[1]
    if recipe.per == "batch":
        return losses.sum() * mine
    if recipe.per == "utterance":  # of an update's utterances, whichever micro-batch they are in
        return losses.sum() * mine / batch.of_update
    symbols = torch.tensor([max(1, len(target)) for target in targets])
    return (losses / symbols.to(losses.device)).sum() * mine / batch.of_all
