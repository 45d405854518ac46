"""sentencepiece's processor of a model that is held in memory."""

from functools import lru_cache

from ...benchmark.errors import UsageError, require


@lru_cache(maxsize=8)
def processor(model: bytes, where: str):
    """
    Args:
        model: as its file holds it; where: that is, for people.
    Raises: UsageError: it is no such model.
    """
    spm = require("sentencepiece", "writing with word pieces", "bpe")
    found = spm.SentencePieceProcessor()
    try:
        found.LoadFromSerializedProto(model)
        found.get_piece_size()
    except (RuntimeError, OSError) as error:
        raise UsageError(
            f"alphabet {where} is no sentencepiece model or a damaged one; copy it again"
        ) from error
    return found
