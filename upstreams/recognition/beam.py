"""The best transcripts of CTC scores without words or a language model: torchaudio's flashlight
decoder (Pratap et al., 2019, wav2letter++), free of a lexicon.

A hypothesis' score is the log-probability of all its alignments that the beam kept (`log_add`, as
in the code of Wright et al., augustgw/early-exit-transformer).
"""

from functools import lru_cache

from torch import Tensor

from ...benchmark.errors import UsageError, require
from .alphabet import Alphabet

THRESHOLD = 50.0  # how far a hypothesis may lie behind the best; torchaudio's own


def hypotheses(
    log_probs: Tensor, alphabet: Alphabet, count: int
) -> list[tuple[tuple[int, ...], float]]:
    """The best transcripts as ids, with their scores, the best first; at most `count`.

    Args:
        log_probs: (T, V), on any device; the search runs on the host.
        count: how many it keeps, and gives.
    Raises: UsageError: the scores are of another alphabet, or not finite. MachineError: flashlight
        is not installed.
    """
    scores = finite(log_probs, alphabet)
    found = _decoder(alphabet, count)(scores[None].contiguous())[0]
    return [(tuple(each.tokens.tolist()), float(each.score)) for each in found]


def finite(log_probs: Tensor, alphabet: Alphabet) -> Tensor:
    """(T, V) on the host, in float32. Raises: UsageError: of another alphabet, or not finite."""
    if log_probs.shape[-1] != len(alphabet):
        raise UsageError(
            f"beam search: scores of {log_probs.shape[-1]} symbols, and the alphabet "
            f"{alphabet.name} has {len(alphabet)}"
        )
    scores = log_probs.detach().float().cpu()
    if not bool(scores.isfinite().all()):
        raise UsageError("beam search: scores are not finite (nan or infinity)")
    return scores


def additions(frames: int, symbols: int, count: int) -> int:
    """What a search costs: every hypothesis is extended by every symbol at every frame, an addition
    each."""
    return frames * symbols * count


@lru_cache(maxsize=4)
def _decoder(alphabet: Alphabet, count: int):
    require("flashlight.lib.text.decoder", "beam search", "lm")
    factory = require("torchaudio.models.decoder", "beam search", "lm")
    blank = alphabet.symbols[alphabet.blank]
    return factory.ctc_decoder(
        lexicon=None,
        tokens=list(alphabet.symbols),
        nbest=count,
        beam_size=count,
        beam_size_token=len(alphabet),
        beam_threshold=THRESHOLD,
        log_add=True,
        blank_token=blank,
        # what it begins and ends every hypothesis with: else a boundary that no frame wrote
        sil_token=blank,
    )
