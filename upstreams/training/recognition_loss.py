"""What a recogniser's exits lose on a batch, and how that becomes one number.

The loss of an exit is CTC's (Graves et al., 2006): HuBERT-EE (Yoon et al., 2024, eq. 1 to 3) adds
lambda times those of the branches to the last one's, Wright et al. (2024, eq. 2) and Zaiem et al.
(2023) sum all.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ...benchmark import distributed
from ..recognition.alphabet import Alphabet
from .recognition_data import Transcribed
from .recognition_recipe import RecognitionRecipe


def ctc(log_probs: Tensor, frames: Tensor, targets: Sequence[Sequence[int]], blank: int) -> Tensor:
    """(B, T, V) log-probabilities, (B,) valid frames -> (B,): -log of the probability of each
    target; 0 where it does not fit, without a gradient."""
    device = log_probs.device
    symbols = torch.tensor([i for target in targets for i in target], dtype=torch.long)
    return F.ctc_loss(
        log_probs.float().transpose(0, 1),
        symbols.to(device),
        frames.cpu(),
        torch.tensor([len(target) for target in targets]),
        blank,
        reduction="none",
        zero_infinity=True,
    )


def total(
    recipe: RecognitionRecipe,
    scores: Mapping[int, Tensor],
    frames: Tensor,
    batch: Transcribed,
    alphabet: Alphabet,
    weights: Mapping[int, float],
) -> Tensor:
    """(): the weighted sum of the exits' losses.

    Args:
        scores: by depth, the last exit among them where others learn its transcript; (B, T, V).
        weights: by depth, of the losses that count.
    """
    losses = {depth: ctc(scores[depth], frames, batch.targets, alphabet.blank) for depth in weights}
    found = sum(
        weight * averaged(losses[depth], batch.targets, recipe, batch)
        for depth, weight in weights.items()
    )
    last = max(scores)
    if not recipe.kd or set(weights) <= {last}:
        return found
    told = transcripts(scores[last], frames, alphabet)
    for depth, weight in weights.items():
        if depth != last:
            taught = ctc(scores[depth], frames, told, alphabet.blank)
            taught = averaged(taught, told, recipe, batch)
            own = averaged(losses[depth], batch.targets, recipe, batch)
            found = found + weight * recipe.kd * (taught - own)
    return found


def transcripts(scores: Tensor, frames: Tensor, alphabet: Alphabet) -> list[list[int]]:
    """The greedy ids of every row of (B, T, V)."""
    rows = zip(scores.detach(), frames.tolist(), strict=True)
    return [alphabet.greedy(row[:count]) for row, count in rows]


def averaged(
    losses: Tensor, targets: Sequence[Sequence[int]], recipe: RecognitionRecipe, batch: Transcribed
) -> Tensor:
    """(B,) -> (): the recipe's mean over the utterances of a batch, whichever process has them; of
    the processes' numbers the mean is taken."""
    mine = batch.share * distributed.rank_and_size()[1]
    if recipe.per == "batch":
        return losses.sum() * mine
    if recipe.per == "symbol":
        symbols = torch.tensor([max(1, len(target)) for target in targets])
        losses = losses / symbols.to(losses.device)
    return losses.sum() * mine / batch.of_all
