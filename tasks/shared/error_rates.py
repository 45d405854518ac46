"""Error rates of a transcript against its reference: of words, characters and symbols, by jiwer."""

from collections.abc import Sequence
from typing import Any

from ...benchmark.errors import require
from ...benchmark.metrics import Ratio
from .ctc_text import written

KINDS = ("substitutions", "deletions", "insertions")
METRICS = ("wer", "cer", "uer", *KINDS)


def errors(reference: str, hypothesis: str, symbols: Sequence[str]) -> dict[str, Ratio]:
    """Percentages that add up over a corpus, for every name of METRICS.

    Args:
        reference, hypothesis: transcripts, single spaces between words.
        symbols: greedy CTC symbols, which `uer` counts.
    Returns: wer and KINDS per word of the reference; cer per character, spaces included; uer per
        symbol with a word boundary after every word, as s3prl counts it.
    """
    jiwer = require("jiwer", "word error rates", "asr")
    words = jiwer.process_words(reference, hypothesis)
    characters = jiwer.process_characters(reference, hypothesis)
    # symbols in the place of words: the same edit distance
    units = jiwer.process_words(" ".join(written(reference)), " ".join(symbols))
    return {
        "wer": _rate(words, *KINDS),
        "cer": _rate(characters, *KINDS),
        "uer": _rate(units, *KINDS),
        **{kind: _rate(words, kind) for kind in KINDS},
    }


def _rate(counted: Any, *kinds: str) -> Ratio:
    """Errors of these kinds in percent of the reference, from what jiwer counted."""
    errors = sum(getattr(counted, kind) for kind in kinds)
    return Ratio(100 * errors, counted.hits + counted.substitutions + counted.deletions)
