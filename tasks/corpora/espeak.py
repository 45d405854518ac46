"""The built-in voices: espeak-ng speaks sentences of a small grammar, so that everything runs
with nothing downloaded.

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

from ...benchmark.contract import SAMPLE_RATE
from ...benchmark.errors import MachineError, UsageError, require

ESPEAK_RATE = 22_050  # Hz, of every formant voice
AUDIO_OUTPUT_SYNCHRONOUS = 2  # speak_lib.h: call back in this thread, play nothing
CHARS_UTF8 = 1
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4  # speak_lib.h: espeak_PARAMETER
LOUDNESS = 30  # of 100: above it the loudest voices clip inside espeak

ACCENTS = (
    "en-us",
    "en-us-nyc",
    "en",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
)
# Vocal tracts of espeak-ng 1.52 that sound like a person: no whisper, creak, echo, robot or
# Klatt (buzzing) voice.
VARIANTS = (
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "m8",
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "Alex",
    "Andy",
    "Annie",
    "Denis",
    "Gene",
    "Mario",
    "Michael",
    "Mike",
    "belinda",
    "ed",
    "grandma",
    "max",
    "paul",
    "quincy",
    "rob",
    "travis",
)
PITCHES = range(20, 85, 5)  # espeak's 0..99 around the variant's own pitch
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
    loader = require("espeakng_loader", "the built-in speech", "mini")
    try:
        espeak = ctypes.CDLL(str(loader.get_library_path()))
    except OSError as error:
        raise MachineError(
            "the built-in speech needs the library of espeakng-loader, which does not load here "
            f"({error}); run: pip install --force-reinstall espeakng-loader"
        ) from error
    pieces: list[np.ndarray] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def receive(samples, count, _events):
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # go on

    try:
        data = str(loader.get_data_path()).encode()
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
        for parameter, value in (
            (RATE, voice.rate),
            (VOLUME, LOUDNESS),
            (PITCH, voice.pitch),
            (RANGE, voice.range),
        ):
            espeak.espeak_SetParameter(parameter, value, 0)
        spoken = text.encode()
        espeak.espeak_Synth(
            spoken, ctypes.c_size_t(len(spoken) + 1), 0, 0, 0, CHARS_UTF8, None, None
        )
        espeak.espeak_Synchronize()
        espeak.espeak_Terminate()
    finally:
        _unload(espeak)
    if not pieces:
        raise UsageError(f"espeak-ng makes no sound of the text {text!r}; give it words")
    return np.concatenate(pieces)


def _unload(library: ctypes.CDLL) -> None:
    import _ctypes  # Python's own door to dlclose (POSIX) and FreeLibrary (Windows)

    close = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary
    close(library._handle)


# ---- what they say: about 500 words in a dozen sentence shapes, chosen so that every English
# phoneme turns up often

_LISTS = {
    "name": """
        alice arthur bernard charlotte daisy edith felix george harriet isaac joyce keith
        laura martha nigel olive peter quentin rachel samuel thomas ursula victor walter
        xavier yvonne zachary judith hugh beth
    """,
    "person": """
        teacher doctor farmer sailor painter judge soldier nurse lawyer baker captain
        stranger neighbour mother father child uncle cousin student singer builder
        butcher actress poet thief king queen guard pilot driver musician visitor youth
        manager engineer journalist
    """,
    "thing": """
        letter basket window mirror engine blanket bottle bridge candle chair chimney clock
        coffee copper curtain diamond feather flower furniture garment hammer jacket kettle
        ladder leather machine measure message mountain needle oyster paper pencil picture
        pillow ring saddle shovel stone sugar thread ticket toy umbrella vision watch wheel
        whistle yacht book bird dog horse fish mouse fox sheep goose vase coin joke song
    """,
    "adj": """
        ancient awful black blue bright broken careful cheap cold curious dangerous dark
        deep dirty dusty early easy empty enormous faithful fresh gentle golden green happy
        heavy hollow honest huge large lazy little loud lovely narrow noisy orange ordinary
        pale polite proud pure quick quiet rough royal rusty secret sharp shiny short silver
        smooth strange strong sudden thick thin tired unusual useful vague warm wet white
        wild wise yellow young
    """,
    "past": """
        admired borrowed bought brought caught changed chose cleaned counted covered crushed
        described drew dropped enjoyed examined followed forgot found gathered hid ignored
        imagined joined kept lifted lost loved measured mixed moved noticed opened painted
        pushed raised received refused remembered sold stole threw touched used valued
        washed watched wrapped
    """,
    "verb": """
        answer ask begin breathe build call carry choose climb cook dance draw drive enjoy
        fetch finish fly guess hear help hurry judge jump know laugh learn leave listen
        march mend notice pause practise pray reach read rest shout show sing sleep speak
        stay stop swim teach think travel visit wait walk whisper write yawn
    """,
    "adv": """
        again already always away badly carefully eagerly easily finally gently hardly later
        loudly nearly never often once perhaps politely quickly quietly rather seldom slowly
        softly soon suddenly together twice usually yesterday tonight today tomorrow
    """,
    "place": """
        airport beach bridge castle cellar church city college corner court desert field
        forest garage garden harbour hospital house island kitchen library market meadow
        museum office palace park river road school shop station street theatre tower
        town valley village zoo
    """,
    "prep": """
        about above across after against along around before behind below beneath beside
        beyond inside near over past through towards under
    """,
    "number": """
        two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
        sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty
        ninety hundred thousand million
    """,
    "time": """
        january february march april june july august september october november
        december monday tuesday wednesday thursday friday saturday sunday midnight
        noon breakfast dinner
    """,
    "det": "the the the this that his her my your our their another every each",
    "pron": "i you we they",
    "wont": "don't won't can't couldn't shouldn't wouldn't didn't",
    "shes": "she's he's it's that's there's",
    "ill": "i'll you'll we'll they'll he'll she'll",
    "ask": "who why when where how",
}
_WORDS = {kind: words.split() for kind, words in _LISTS.items()}
_SHAPES = """
name past det thing
det adj person past det thing adv
det person in det adj place past number adj coins
pron wont verb prep det place
shes not det adj thing
ill verb adv before time
ask did name verb prep det adj place
name and name past det thing prep det place
number adj birds were here on time
pron have past det thing and det adj thing
please verb prep det place at number
det thing of det person was adj and adj
if pron verb adv name will verb too
there are number people prep det adj place
adv name said that det thing looked adj
verb with me
which thing does det person choose
since time pron could hear det adj thing
name has nothing but dreams of number adj things
""".strip().splitlines()


def lasting(
    voice: Voice, rng: random.Random, shortest: float, longest: float
) -> tuple[str, np.ndarray]:
    """The first random sentence that lasts `shortest` to `longest` seconds in this voice: its
    words, (N,) float32 at 16 kHz.
    """
    while True:
        words = sentence(rng)
        wav = speak(voice, words)
        if shortest <= len(wav) / SAMPLE_RATE <= longest:
            return words, wav


def sentence(rng: random.Random) -> str:
    """3 to 10 lower-case words of a-z and apostrophes, grammatical if rarely sensible."""
    return " ".join(
        rng.choice(_WORDS[slot]) if slot in _WORDS else slot for slot in rng.choice(_SHAPES).split()
    )
