"""Words from CTC scores with the help of a word n-gram: torchaudio's lexicon decoder
(flashlight-text) with a KenLM model.

SUPERB's ASR with a language model is s3prl's W2lKenLMDecoder on LibriSpeech's official 4-gram
(openslr.org/11) and fairseq's letter lexicon, beam 5, threshold 25, language model x 2, -1 a word,
0 a silence: the same search with the same options.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from ...benchmark.errors import MachineError, UsageError, require
from .ctc_text import BLANK, SYMBOLS


@dataclass(frozen=True)
class BeamSearch:
    """A search, in flashlight's words.

    Attributes:
        lm: a KenLM model (ARPA or binary).
        lexicon: its words, one a line with their spelling: HELLO H E L L O |
        beam: hypotheses kept; beam_threshold: how far one may lie behind the best.
        lm_weight, word_score, sil_score: what the model counts, a word costs, a silence costs.
    """

    lm: str
    lexicon: str
    beam: int
    beam_threshold: float
    lm_weight: float
    word_score: float
    sil_score: float


def words(scores: Tensor, search: BeamSearch) -> str | None:
    """(T, 32) scores before softmax -> the best words with single spaces between them; None
    when no path survives.
    """
    found = decoder(search)(scores.log_softmax(-1)[None].contiguous())[0]
    return " ".join(found[0].words) if found else None


@lru_cache(maxsize=1)
def decoder(search: BeamSearch):
    """torchaudio's CTCDecoder. UsageError or MachineError, before anything is spent, when files or
    packages are not there.
    """
    for what, path in (("lm", search.lm), ("lexicon", search.lexicon)):
        if not Path(path).is_file():
            raise UsageError(
                f"--set {what}={path}: there is no such file; LibriSpeech's 4-gram is at "
                "openslr.org/11, a lexicon has a word a line with its spelling: HELLO H E L L O |"
            )
    _check_spelling(Path(search.lexicon))
    require("flashlight.lib.text.decoder", "beam search with a language model", "lm")
    require("flashlight.lib.text.decoder.kenlm", "beam search with a language model", "lm")
    factory = require("torchaudio.models.decoder", "beam search with a language model", "lm")
    try:
        return factory.ctc_decoder(
            lexicon=search.lexicon,
            tokens=list(SYMBOLS),
            lm=search.lm,
            beam_size=search.beam,
            beam_size_token=len(SYMBOLS),
            beam_threshold=search.beam_threshold,
            lm_weight=search.lm_weight,
            word_score=search.word_score,
            sil_score=search.sil_score,
            blank_token=SYMBOLS[BLANK],
            sil_token="|",
        )
    except RuntimeError as error:  # KenLM's complaint about a file it cannot read
        raise MachineError(
            f"--set lm={search.lm} cannot be loaded by KenLM ({' '.join(str(error).split())}); "
            "give an ARPA file or a binary made by its build_binary"
        ) from error


def _check_spelling(lexicon: Path) -> None:
    for number, line in enumerate(lexicon.read_text(encoding="utf-8").splitlines(), 1):
        strange = [symbol for symbol in line.split()[1:] if symbol not in SYMBOLS]
        if strange or len(line.split()) == 1:
            raise UsageError(
                f"{lexicon} line {number} is {line!r}; a line is a word and its spelling in "
                "capitals with | at the end: HELLO H E L L O |"
            )
