"""Word pieces: an alphabet of sentencepiece's (Sennrich et al., 2016; Kudo and Richardson, 2018).

The model's file travels in `Alphabet.pieces`, so nothing is looked for on a disk later on.
"""

import io
import re
import string
from collections.abc import Iterable
from pathlib import Path

from ...benchmark.errors import UsageError, did_you_mean, require
from .alphabet import NAMED, Alphabet
from .word_pieces import processor

MARKS = "pad", "unk", "bos", "eos"
ENGLISH = {*string.ascii_uppercase, "'"}


def alphabet_of(spec: str) -> Alphabet:
    """One by name, or word pieces: the file of a sentencepiece model.

    Raises: UsageError: it is neither.
    """
    if spec in NAMED:
        return NAMED[spec]
    path = Path(spec).expanduser()
    if path.suffix != ".model":
        raise UsageError(
            f"alphabet {spec!r}: {did_you_mean(spec, NAMED)} (or a sentencepiece model: FILE.model)"
        )
    if not path.is_file():
        raise UsageError(f"alphabet: there is no file {path}")
    return from_pieces(path.read_bytes(), path.stem, str(path))


def from_pieces(model: bytes, name: str, where: str = "") -> Alphabet:
    """The alphabet of a sentencepiece model. CTC's blank is its padding, or its mark of the
    beginning, neither of which any text is written with.

    Args:
        model: as its file holds it; where: that is, for people.
    Raises: UsageError: it is no such model, or has neither mark.
    """
    found = processor(model, where or name)
    blank = next((i for i in (found.pad_id(), found.bos_id()) if i >= 0), -1)
    if blank < 0:
        raise UsageError(
            f"alphabet {where or name}: it has neither padding nor a mark of the beginning to be "
            "CTC's blank; train it with --pad_id=0"
        )
    # a mark may bear any name in such a file; here all that write nothing are in angle brackets
    symbols = [found.id_to_piece(i) for i in range(found.get_piece_size())]
    marks = [i for i in range(len(symbols)) if _is_mark(found, i)]
    for i in marks:
        symbols[i] = f"<{symbols[i].strip('<>')}>"
    return Alphabet(tuple(symbols), blank, None, name, model)


def learn(texts: Iterable[str], size: int, name: str = "bpe") -> Alphabet:
    """Byte-pair encoding learned from transcripts: `size` pieces, the first four of them marks
    (padding, unknown, beginning, end). Of English ones every letter is a piece, heard or not:
    another transcript may have it.

    Raises: UsageError: the transcripts have more characters, or do not hold so many pieces.
    """
    spm = require("sentencepiece", "writing with word pieces", "bpe")
    texts, out = list(texts), io.BytesIO()
    ids = {f"{what}_id": i for i, what in enumerate(MARKS)}
    found = set("".join(texts)) - {" "}
    letters = found | ENGLISH if found <= ENGLISH else found
    if size < (least := len(letters) + 1 + len(MARKS)):  # and the beginning of a word
        raise UsageError(
            f"alphabet {name}: {len(letters)} letters, the beginning of a word and {len(MARKS)} "
            f"marks are pieces of their own; ask for more, such as {name}:{2 * least}"
        )
    try:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            required_chars="".join(sorted(letters)),
            model_writer=out,
            vocab_size=size,
            model_type="bpe",
            character_coverage=1.0,
            normalization_rule_name="identity",
            minloglevel=2,
            **ids,
        )
    except (RuntimeError, ValueError, OSError) as error:
        most = re.search(r"<= (\d+)", str(error))
        number = f"{name}:{most[1]}" if most else "fewer"
        raise UsageError(
            f"alphabet {name}: these transcripts do not hold {size} pieces; ask for {number}, or "
            "for letters"
        ) from error
    return from_pieces(out.getvalue(), name)


def _is_mark(found, i: int) -> bool:
    return found.is_control(i) or found.is_unknown(i) or found.is_unused(i) or found.is_byte(i)
