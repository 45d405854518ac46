"""s3prl beside today's torchaudio: the two names that its import still looks for.

torchaudio 2.9 and later have neither `set_audio_backend` (called by
s3prl/upstream/byol_s/byol_a/common.py:20, and so by every `import s3prl.hub`) nor the module
`sox_effects` (s3prl#575, open). Neither is needed for what we use of s3prl.
"""

import sys
import types

from .errors import require


def s3prl_shim() -> None:
    """Call before importing anything of s3prl. Adds what is missing and replaces nothing;
    twice is as good as once.
    """
    torchaudio = require("torchaudio", "s3prl", "s3prl")
    if not hasattr(torchaudio, "set_audio_backend"):
        torchaudio.set_audio_backend = lambda *_, **__: None
    if not hasattr(torchaudio, "sox_effects"):
        torchaudio.sox_effects = sys.modules["torchaudio.sox_effects"] = types.ModuleType(
            "torchaudio.sox_effects"
        )
