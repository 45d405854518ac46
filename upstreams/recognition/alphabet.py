"""The symbols that a recogniser writes with: text to targets, and frames of scores back to text.

Characters and word pieces are the same value. Only writing with word pieces needs sentencepiece
(bpe.py); reading them takes their spelling alone, so weights run without it.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from torch import Tensor

from ...benchmark.errors import UsageError
from .word_pieces import processor

SPACE = "\u2581"  # how sentencepiece writes the beginning of a word
HEADER = "alphabet"  # the key in a file's header


@dataclass(frozen=True)
class Alphabet:
    """
    Attributes:
        symbols: by id; in angle brackets those that no text is written with.
        blank: CTC's, an id.
        boundary: the id that stands between two words; None where pieces carry it.
        name: for people and cards.
        pieces: sentencepiece's model, as its file holds it; empty for characters.
    """

    symbols: tuple[str, ...]
    blank: int
    boundary: int | None
    name: str
    pieces: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        places = range(len(self.symbols))
        if len(set(self.symbols)) != len(self.symbols):
            raise UsageError(f"alphabet {self.name}: a symbol is named twice")
        if self.blank not in places or (self.boundary is not None and self.boundary not in places):
            raise UsageError(
                f"alphabet {self.name}: blank {self.blank} or boundary {self.boundary} is none of "
                f"its {len(self.symbols)} symbols"
            )

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str) -> list[int]:
        """The ids that write a text, for CTC: no blanks, no marks of beginning and end.

        Raises: UsageError: there is nothing to write, or a character that it lacks.
        """
        words = text.split()
        if not words:
            raise UsageError("an empty transcript is nothing to learn from; leave it out")
        if self.pieces:
            return self._pieces_of(" ".join(words))
        if strange := sorted(set("".join(words)) - self.letters):
            raise self.lacks(strange)
        return [self._ids[letter] for letter in self._space.join(words)]

    def _pieces_of(self, text: str) -> list[int]:
        """A model whose pieces have no capitals is asked for small letters: transcripts here are in
        capitals."""
        found = processor(self.pieces, self.name)
        written = text if self._has_capitals else text.lower()
        ids = found.encode(written)
        if any(map(self.silent, ids)):  # what it has no piece for; or bytes, which write nothing
            known = {letter for piece in self.letters for letter in piece} | {" "}
            raise self.lacks(sorted(set(written) - known) or [written])
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Ids, repeats and blanks dropped -> upper-case words with single spaces between them."""
        text = "".join(self.symbols[i] for i in ids if not self.silent(i))
        return " ".join(text.replace(SPACE, " ").replace(self._space, " ").split()).upper()

    def greedy(self, scores: Tensor) -> list[int]:
        """(T, V) scores of frames -> the best of each, repeats once, no blanks."""
        best = scores.argmax(-1).unique_consecutive().tolist()
        return [i for i in best if i != self.blank]

    def frames_needed(self, ids: Sequence[int]) -> int:
        """The fewest frames CTC can write `ids` in: one each, and a blank between two alike."""
        return len(ids) + sum(a == b for a, b in pairwise(ids))

    def silent(self, i: int) -> bool:
        """Whether id `i` writes nothing: the blank and the marks in angle brackets."""
        symbol = self.symbols[i]
        return i == self.blank or (len(symbol) > 1 and symbol[0] == "<" and symbol[-1] == ">")

    def lacks(self, strange: Sequence[str]) -> UsageError:
        """The sentence about characters that it cannot write."""
        return UsageError(
            f"the alphabet {self.name} lacks {' '.join(map(repr, strange))}; mend the transcript "
            "(transcripts here are upper case, words with single spaces), or name an alphabet that "
            "has them: --set alphabet=FILE.model"
        )

    @cached_property
    def letters(self) -> frozenset[str]:
        """What words may be written with: characters, or pieces."""
        return frozenset(
            s for i, s in enumerate(self.symbols) if i != self.boundary and not self.silent(i)
        )

    @cached_property
    def _has_capitals(self) -> bool:
        return any(letter.isupper() for piece in self.letters for letter in piece)

    def header(self) -> dict[str, str]:
        """All of it as strings, for a file's header."""
        said = {"name": self.name, "symbols": self.symbols}
        said |= {"blank": self.blank, "boundary": self.boundary}
        said |= {"pieces": base64.b64encode(self.pieces).decode()}
        return {HEADER: json.dumps(said, ensure_ascii=False)}

    @classmethod
    def from_header(cls, header: Mapping[str, str]) -> "Alphabet":
        """What `header` wrote. Raises: UsageError: it is not there, or damaged."""
        try:
            said = json.loads(header[HEADER])
            pieces = base64.b64decode(said.pop("pieces"), validate=True)
            made = cls(**said, pieces=pieces)
            known = all(isinstance(symbol, str) for symbol in made.symbols)
            if not known or not isinstance(made.blank, int) or not isinstance(made.name, str):
                raise TypeError("not as header() writes it")
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(
                "a weights file without an alphabet in its header, or with a damaged one, is no "
                "recogniser's; copy it again, or name the file that run_benchmark.py train wrote"
            ) from error
        return made

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols)}

    @property
    def _space(self) -> str:
        return " " if self.boundary is None else self.symbols[self.boundary]


# fairseq's four marks and letters in its order, as SUPERB's dictionary (dict.ltr.txt)
CHARACTERS = Alphabet(
    symbols=("<s>", "<pad>", "</s>", "<unk>", *"|ETAONIHSRDLUMCWFGYPBVK'XJQZ"),
    blank=0,
    boundary=4,
    name="characters",
)

# Zaiem et al., 2023: 31 classes in their experiments' code, SpeechBrain's three marks and the 28
# characters of LibriSpeech; the order of the latter is not published
LETTERS_31 = Alphabet(
    symbols=("<blank>", "<bos>", "<eos>", " ", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    blank=0,
    boundary=3,
    name="letters",
)

NAMED = {alphabet.name: alphabet for alphabet in (CHARACTERS, LETTERS_31)}
