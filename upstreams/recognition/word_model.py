"""A word n-gram beside a recogniser: its options, its words, and how an alphabet spells them.

The model is KenLM's, read through flashlight-text as the asr task reads its own
(tasks/shared/ctc_decoder.py) and in the same units: a weight multiplies log10 probabilities.
"""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...benchmark.errors import UsageError
from ...benchmark.soundness import file_digest
from .alphabet import Alphabet

DATA, UNIGRAMS = b"\\data\\", b"\\1-grams:"  # lines of an ARPA file
GZIP = b"\x1f\x8b"
Spellings = dict[str, list[int]]  # word -> the ids that write it, without a boundary


@dataclass(frozen=True)
class WordModel:
    """
    Attributes:
        file: an n-gram in ARPA, gzipped or not, or a binary that KenLM's build_binary made of one;
            "" = none.
        lexicon: a file with its words, one a line, of which no more than the first word is read;
            "" = those of the ARPA file.
        weight: what a log10 probability counts beside a natural logarithm of the recogniser's.
        word_score: added for every word.
        beam: hypotheses kept.
    """

    file: str = ""
    lexicon: str = ""
    weight: float = 2.0
    word_score: float = -1.0
    beam: int = 50

    def options(self, usual: "WordModel", who: str) -> dict[str, tuple[Any, Any]]:
        """Each by the name that a user gives it, with its default, as `spelled` takes them.

        Args:
            usual: the defaults.
        Raises: UsageError: options of a language model that nobody named, or a beam of nothing.
        """
        named = {
            "lm": (self.file, usual.file),
            "lexicon": (self.lexicon, usual.lexicon),
            "lm_weight": (self.weight, usual.weight),
            "word_score": (self.word_score, usual.word_score),
            "beam": (self.beam, usual.beam),
        }
        given = [key for key, (value, default) in named.items() if value != default]
        if given and not self.file:
            raise UsageError(
                f"{who}: {', '.join(given)} is of decoding with a language model, and none is "
                "named; name one: --set lm=FILE.arpa"
            )
        if self.beam < 1:
            raise UsageError(f"{who}: beam is a number of hypotheses from 1, not {self.beam}")
        return named

    @property
    def revision(self) -> str:
        """A hash of the file and of its words, for a card."""
        files = [Path(name).expanduser() for name in (self.file, self.lexicon) if name]
        return "lm-" + "-".join(
            _hash(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files
        )


USUAL = WordModel()


def spellings(model: WordModel, alphabet: Alphabet) -> Spellings:
    """Its words as `alphabet` writes them; those that it cannot write are left out.

    Raises: UsageError: a file is not there or of another kind, or most of the words cannot be
        written: the model is of another alphabet or case.
    """
    words, found, strange = _words(model), {}, []
    for word in words:
        try:
            found[word] = alphabet.encode(word)
        except UsageError:
            strange.append(word)
    if not words:
        raise UsageError(f"lm={model.file}: no words are in it; give a whole ARPA file")
    if len(strange) > len(found):
        raise UsageError(
            f"lm={model.file}: {len(found)} of its {len(words)} words can be written with the "
            f"alphabet {alphabet.name} ({', '.join(map(repr, strange[:3]))} cannot), so it is of "
            "another alphabet or case; make one of text that is written as transcripts are here, "
            "in capitals: lmplz -o 4 < TEXT > FILE.arpa"
        )
    return found


def _words(model: WordModel) -> Sequence[str]:
    """Without the marks in angle brackets, each once."""
    for what, name in (("lm", model.file), ("lexicon", model.lexicon)):
        if name and not Path(name).expanduser().is_file():
            mend = "LibriSpeech's 4-gram is at openslr.org/11"
            if what == "lexicon":
                mend = "an ARPA file names its words itself, so leave it out where lm is one"
            raise UsageError(f"--set {what}={name}: there is no such file; {mend}")
    if model.lexicon:
        lines = Path(model.lexicon).expanduser().read_bytes().splitlines()
        read = (line.split()[0] for line in lines if line.split())
    else:
        read = _unigrams(Path(model.file).expanduser())
    words = dict.fromkeys(word.decode(errors="replace") for word in read)
    return [word for word in words if not (word[0] == "<" and word[-1] == ">")]


def _unigrams(file: Path) -> Iterator[bytes]:
    """The words of an ARPA file. Raises: UsageError: it is none."""
    with file.open("rb") as start:
        opened = gzip.open if start.read(2) == GZIP else open
    try:
        with opened(file, "rb") as lines:
            if _first(lines) == DATA:
                yield from _section(lines)
                return
    except (OSError, EOFError) as error:
        raise UsageError(f"lm={file} cannot be read ({error}); copy it again") from error
    raise UsageError(
        f"lm={file} is no ARPA file, which begins with {DATA.decode()}; if it is KenLM's "
        "binary, name its words, one a line: --set lexicon=FILE"
    )


def _first(lines) -> bytes:
    """The first line that says something: empty ones (SRILM begins with one) and remarks, after #,
    are passed over, as KenLM does."""
    line = b"\n"
    while line and (not line.strip() or line.startswith(b"#")):
        line = lines.readline(1000)
    return line.strip()


def _section(lines) -> Iterator[bytes]:
    """A line of it is a log10 probability, the word, and perhaps a back-off."""
    for line in lines:
        if line.strip() == UNIGRAMS:
            break
    for line in lines:
        if line.startswith(b"\\"):
            break
        if len(entry := line.split()) > 1:
            yield entry[1]


@lru_cache(maxsize=8)
def _hash(file: Path, size: int, changed: int) -> str:
    """Of the content; size and time of change tell whether it must be read again."""
    return file_digest(file)[:8]
