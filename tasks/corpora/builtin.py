"""Corpora that the project makes by itself on first use: where they are, and whether
they are the usual ones.
"""

import logging
import re
from pathlib import Path

from ...benchmark.contract import Builtin
from ...benchmark.storage import cache_dir
from .espeak import Voice, voices

SEED, VOICES = 20_26, 96  # the cast of enhancement and recognition, which pre-training never hears


def place(builtin: Builtin) -> tuple[Path, bool]:
    """Its folder, and whether it is there."""
    folder = cache_dir() / builtin.folder
    return folder, (folder / builtin.stamp).is_file()


def made(builtin: Builtin) -> Path:
    """The folder of the corpus; made now if this machine has none. Safe in parallel."""
    log = logging.getLogger("earlyexit_superb")
    folder, there = place(builtin)
    if not there:
        log.info("making the built-in corpus %s, once; this takes a minute or two", folder)
        builtin.make(folder)
    said = (folder / builtin.stamp).read_text(encoding="utf-8")
    if not re.search(rf"^(pcm: )?{builtin.pcm}$", said, re.MULTILINE):
        log.warning(
            "the built-in corpus in %s is not sample for sample the usual one (another espeak-ng, "
            "numpy or scipy?), so rows made with it carry another corpus hash and stand apart",
            folder,
        )
    return folder


def cast() -> list[Voice]:
    """The voices of the corpora of enhancement and recognition, in the order in which both take
    them.
    """
    return voices(VOICES, SEED)
