"""What a recogniser says with a word n-gram: the best words of CTC scores, by torchaudio's lexicon
decoder (flashlight-text; Pratap et al., 2019, wav2letter++), and how likely a sentence is, by which
the hypotheses of another search are rescored.

A sum of both is maximal: log-probability of the best alignment + weight x log10 probability of the
words and their end + word_score x words. Only words of the model are found.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from ...benchmark.errors import MachineError, require
from .alphabet import Alphabet
from .beam import THRESHOLD, finite
from .word_model import Spellings, WordModel, spellings

NEVER = -1e4  # a log-probability that no sum of others outweighs, and float32 still adds to


def words(log_probs: Tensor, alphabet: Alphabet, model: WordModel) -> str | None:
    """(T, V) log-probabilities, on any device -> the best words, upper case with single spaces
    between them; None where none that the beam kept ends with a word. The search runs on the host.

    Raises: UsageError: the scores are of another alphabet, or not finite; see `ready`.
    """
    scores = ended(finite(log_probs, alphabet), alphabet)
    found = ready(model, alphabet)(scores[None].contiguous())[0]
    if not found or found[0].score < NEVER / 2:
        return None
    return " ".join(found[0].words).upper()


def ended(scores: Tensor, alphabet: Alphabet) -> Tensor:
    """(T, V) -> (T + 1, V): a boundary behind the end, which closes the last word there: in the
    lexicon every word has one, and transcripts are not learned with one at their end. As it is for
    an alphabet without."""
    if alphabet.boundary is None:
        return scores
    last = scores.new_full((1, len(alphabet)), NEVER)
    last[0, alphabet.boundary] = 0
    return torch.cat([scores, last])


def log_probability(text: str, alphabet: Alphabet, model: WordModel) -> float:
    """What a transcript counts for: weight x log10 of the probability of its words and their end,
    and word_score for each. What the model does not know is its unknown word.

    Raises: see `ready`.
    """
    search = ready(model, alphabet)
    known, total = _by_capitals(model, alphabet), 0.0
    state = search.lm.start(False)
    for word in text.split():
        state, score = search.lm.score(state, search.word_dict.get_index(known.get(word, word)))
        total += score
    return model.weight * (total + search.lm.finish(state)[1]) + model.word_score * len(
        text.split()
    )


@lru_cache(maxsize=2)
def ready(model: WordModel, alphabet: Alphabet):
    """torchaudio's CTCDecoder, with its n-gram (`lm`) and the numbers of words (`word_dict`).

    Raises: UsageError, MachineError: files or packages are not there, the model is of another
        alphabet or case, or KenLM cannot read it.
    """
    lexicon = spellings(model, alphabet)
    require("flashlight.lib.text.decoder", "decoding with a language model", "lm")
    require("flashlight.lib.text.decoder.kenlm", "decoding with a language model", "lm")
    factory = require("torchaudio.models.decoder", "decoding with a language model", "lm")
    boundary = alphabet.blank if alphabet.boundary is None else alphabet.boundary
    with TemporaryDirectory() as folder:
        file = Path(folder) / "lexicon"
        file.write_text("\n".join(_lines(lexicon, alphabet)), encoding="utf-8")
        try:
            return factory.ctc_decoder(
                lexicon=str(file),
                # numbers for names: a symbol may be a space, which a lexicon is split at
                tokens=[str(i) for i in range(len(alphabet))],
                lm=str(Path(model.file).expanduser()),
                beam_size=model.beam,
                beam_size_token=len(alphabet),
                beam_threshold=THRESHOLD,
                lm_weight=model.weight,
                word_score=model.word_score,
                blank_token=str(alphabet.blank),
                sil_token=str(boundary),
            )
        except (RuntimeError, ValueError) as error:  # KenLM's complaint, perhaps in no UTF-8
            raise MachineError(
                f"lm={model.file} cannot be loaded by KenLM ({' '.join(str(error).split())}); "
                "give an ARPA file or a binary made by its build_binary"
            ) from error


def _lines(lexicon: Spellings, alphabet: Alphabet) -> Sequence[str]:
    end = [] if alphabet.boundary is None else [alphabet.boundary]
    return [" ".join([word, *map(str, [*ids, *end])]) for word, ids in lexicon.items()]


@lru_cache(maxsize=2)
def _by_capitals(model: WordModel, alphabet: Alphabet) -> dict[str, str]:
    """A word as transcripts have it -> as the model has it."""
    return {word.upper(): word for word in spellings(model, alphabet)}
