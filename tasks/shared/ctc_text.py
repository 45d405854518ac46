"""Text as CTC sees it: SUPERB's 32 symbols, targets, and the way back from scores a frame to words.

The dictionary is fairseq's four specials and s3prl/downstream/asr/char.dict in its order; a
target ends with a word boundary and an end of sentence, as there (dataset.py,
fairseq_dictionary.py). The blank is symbol 0.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>", *"|ETAONIHSRDLUMCWFGYPBVK'XJQZ")
BLANK, END, BOUNDARY = SYMBOLS.index("<s>"), SYMBOLS.index("</s>"), SYMBOLS.index("|")
LETTERS = frozenset(SYMBOLS[5:]) | {" "}  # what a transcript may be written with
_INDEX = {symbol: i for i, symbol in enumerate(SYMBOLS)}


def target(text: str) -> list[int]:
    """The symbols of a text of LETTERS, a word boundary, the end of sentence."""
    return [*(BOUNDARY if letter == " " else _INDEX[letter] for letter in text), BOUNDARY, END]


def written(text: str) -> list[str]:
    """The symbols of a text, each word followed by a word boundary. What the dictionary
    lacks stands for itself.
    """
    return [SYMBOLS[BOUNDARY] if letter == " " else letter for letter in text] + [
        SYMBOLS[BOUNDARY]
    ] * bool(text)


def frames_needed(symbols: Sequence[int]) -> int:
    """The fewest frames CTC can write `symbols` in: one each, and a blank between two that are
    alike.
    """
    return len(symbols) + sum(a == b for a, b in pairwise(symbols))


def greedy(scores: Tensor) -> list[str]:
    """(T, 32) -> symbols: the best of every frame, repeats once, neither blanks nor ends of
    sentence.
    """
    best = scores.argmax(-1).unique_consecutive().tolist()
    return [SYMBOLS[i] for i in best if i not in (BLANK, END)]


def spelled(symbols: Sequence[str]) -> str:
    """Symbols -> words with single spaces between them."""
    return " ".join("".join(symbols).replace("|", " ").split())
