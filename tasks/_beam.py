"""Words from CTC scores with the help of a word n-gram: torchaudio's lexicon decoder (flashlight-text) with a KenLM model.

SUPERB's ASR with a language model is s3prl's W2lKenLMDecoder on LibriSpeech's official 4-gram (openslr.org/11) and fairseq's
letter lexicon, beam 5, threshold 25, language model x 2, -1 a word, 0 a silence: the same search with the same options.
"""
from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..benchmark.errors import MachineError, UsageError, need
from ._characters import BLANK, SYMBOLS

if TYPE_CHECKING:
    from .asr import ASRProtocol


def words(scores: Tensor, protocol: ASRProtocol) -> str | None:
    """(T, 32) scores before softmax -> the best words with single spaces between them; None when no path survives."""
    found = decoder(protocol)(scores.log_softmax(-1)[None].contiguous())[0]
    return " ".join(found[0].words) if found else None


@lru_cache(maxsize=1)
def decoder(protocol: ASRProtocol):
    """torchaudio's CTCDecoder. UsageError or MachineError, before anything is spent, when files or packages are not there."""
    for what, path in (("lm", protocol.lm), ("lexicon", protocol.lexicon)):
        if not Path(path).is_file():
            raise UsageError(f"--set {what}={path}: there is no such file; LibriSpeech's 4-gram is at openslr.org/11, a lexicon has a word a "
                             "line with its spelling: HELLO H E L L O |")
    _check_spelling(Path(protocol.lexicon))
    need("flashlight.lib.text.decoder", "beam search with a language model", "lm")
    need("flashlight.lib.text.decoder.kenlm", "beam search with a language model", "lm")
    factory = need("torchaudio.models.decoder", "beam search with a language model", "lm")
    try:
        return factory.ctc_decoder(
            lexicon=protocol.lexicon, tokens=list(SYMBOLS), lm=protocol.lm, beam_size=protocol.beam, beam_size_token=len(SYMBOLS),
            beam_threshold=protocol.beam_threshold, lm_weight=protocol.lm_weight, word_score=protocol.word_score,
            sil_score=protocol.sil_score, blank_token=SYMBOLS[BLANK], sil_token="|")
    except RuntimeError as error:       # KenLM's complaint about a file it cannot read
        raise MachineError(f"--set lm={protocol.lm} cannot be loaded by KenLM ({' '.join(str(error).split())}); give an ARPA file or a "
                           "binary made by its build_binary") from error


def _check_spelling(lexicon: Path) -> None:
    for number, line in enumerate(lexicon.read_text(encoding="utf-8").splitlines(), 1):
        strange = [symbol for symbol in line.split()[1:] if symbol not in SYMBOLS]
        if strange or len(line.split()) == 1:
            raise UsageError(f"{lexicon} line {number} is {line!r}; a line is a word and its spelling in capitals with | at the end: "
                             "HELLO H E L L O |")
