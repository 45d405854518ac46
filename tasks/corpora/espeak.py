"""The built-in voices: espeak-ng turns text into speech, so that everything runs with nothing
downloaded.

espeak-ng comes as the ordinary wheel `espeakng-loader` (library and voice data, no system package)
and is driven by ctypes in its retrieval mode: a callback receives 16-bit samples at 22.05 kHz and
no sound card is touched. Its C API is `speak_lib.h` of https://github.com/espeak-ng/espeak-ng. The
speech is formant synthesis: intelligible, with real accents and vocal tracts of different lengths,
but far more regular than people. Good for trying things out, not for claims.
"""

import ctypes
import random
import threading
from dataclasses import dataclass

import numpy as np

from ...benchmark.errors import MachineError, UsageError, require

ESPEAK_RATE = 22_050  # Hz, of every formant voice
AUDIO_OUTPUT_SYNCHRONOUS = 2  # speak_lib.h: call back in this thread, play nothing
CHARS_UTF8 = 1
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4  # speak_lib.h: espeak_PARAMETER
LOUDNESS = 30  # of 100: above it the loudest voices clip inside espeak

_ACCENTS = "en-us en-us-nyc en en-gb-x-rp en-gb-scotland en-gb-x-gbclan en-gb-x-gbcwmd en-029"
# Vocal tracts of espeak-ng 1.52 that sound like a person: no whisper, creak, echo, robot or
# Klatt (buzzing) voice.
_VARIANTS = """
m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 Alex Andy Annie Denis Gene Mario Michael Mike
belinda ed grandma max paul quincy rob travis
"""
ACCENTS, VARIANTS = tuple(_ACCENTS.split()), tuple(_VARIANTS.split())
PITCHES = range(20, 85, 5)  # espeak's 0..99 around the pitch of the variant
RATES = range(130, 205, 5)  # words a minute
RANGES = range(35, 85, 10)  # how lively the intonation is, 0..99


@dataclass(frozen=True)
class Voice:
    """One speaker: an accent, a vocal tract, and a habit of speaking."""

    name: str
    base: str  # accent+variant as espeak names it: en-us+m3
    pitch: int
    rate: int  # words a minute
    range: int = 50


def voices(n: int, seed: int = 0) -> list[Voice]:
    """`n` distinct voices. voices(n) begins voices(n + 1), and every accent+variant comes once
    before one comes twice.
    """
    rng = random.Random(f"voices-{seed}")
    bases = [f"{accent}+{variant}" for accent in ACCENTS for variant in VARIANTS]
    limit = len(bases) * len(PITCHES) * len(RATES)
    if n > limit:
        raise UsageError(f"there are {limit} built-in voices and {n} were asked for; ask for fewer")
    found: list[Voice] = []
    seen: set[tuple] = set()
    while len(found) < n:
        for base in rng.sample(bases, len(bases)):
            key = base, rng.choice(PITCHES), rng.choice(RATES)
            if key not in seen:
                seen.add(key)
                found.append(Voice(f"{base}-p{key[1]}-r{key[2]}", *key, rng.choice(RANGES)))
    return found[:n]


_one_at_a_time = threading.Lock()


def speak(voice: Voice, text: str) -> np.ndarray:
    """(N,) float32 at 16 kHz within [-1, 1], the same samples for the same voice and text
    whatever was spoken before.
    """
    from scipy.signal import resample_poly

    if not any(letter.isalnum() for letter in text):
        raise UsageError(f"there is nothing to speak in the text {text!r}; give it words")
    with _one_at_a_time:
        raw = _synthesise(voice, text.lower())  # capitals would be spelt out: A, US
    wav = resample_poly(raw / 32768.0, 320, 441)  # 16000 / 22050
    return np.clip(wav, -1, 1).astype(np.float32)


def _synthesise(voice: Voice, text: str) -> np.ndarray:
    """(N,) int16 at 22.05 kHz.

    espeak keeps state between utterances (the phase of the pitch flutter, the last formants) that
    neither a new voice nor espeak_Terminate resets, so the same words come out differently the
    second time. Unloading the library is what resets it; loading it again costs about 2 ms.
    """
    espeak, data = _library()
    pieces: list[np.ndarray] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def receive(samples, count, _events):
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # continue

    try:
        if espeak.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data, 0) != ESPEAK_RATE:
            raise MachineError(
                "espeak-ng does not start with the voice data of espeakng-loader in "
                f"{data.decode()}; run: pip install --force-reinstall espeakng-loader"
            )
        # the noise of breathy voices, seeded by the clock otherwise
        espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))
        espeak.espeak_SetSynthCallback(receive)
        if espeak.espeak_SetVoiceByName(voice.base.encode()) != 0:
            raise UsageError(
                f"espeak-ng has no voice {voice.base!r}; write accent+variant, "
                f"accents {', '.join(ACCENTS)}, variants such as m1, f2"
            )
        espeak.espeak_SetParameter(RATE, voice.rate, 0)
        espeak.espeak_SetParameter(VOLUME, LOUDNESS, 0)
        espeak.espeak_SetParameter(PITCH, voice.pitch, 0)
        espeak.espeak_SetParameter(RANGE, voice.range, 0)
        words = text.encode()
        size = ctypes.c_size_t(len(words) + 1)
        espeak.espeak_Synth(words, size, 0, 0, 0, CHARS_UTF8, None, None)
        espeak.espeak_Synchronize()
        espeak.espeak_Terminate()
    finally:
        _unload(espeak)
    if not pieces:
        raise UsageError(f"espeak-ng makes no sound of the text {text!r}; give it words")
    return np.concatenate(pieces)


def _library() -> tuple[ctypes.CDLL, bytes]:
    """espeak-ng, loaded anew, and the folder of its voice data."""
    loader = require("espeakng_loader", "the built-in speech", "mini")
    try:
        library = ctypes.CDLL(str(loader.get_library_path()))
    except OSError as error:
        raise MachineError(
            "the built-in speech needs the library of espeakng-loader, which does not load here "
            f"({error}); run: pip install --force-reinstall espeakng-loader"
        ) from error
    return library, str(loader.get_data_path()).encode()


def _unload(library: ctypes.CDLL) -> None:
    import _ctypes  # Python's dlclose (POSIX) and FreeLibrary (Windows)

    close = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary
    close(library._handle)
