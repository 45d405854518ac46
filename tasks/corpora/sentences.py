"""What the built-in voices say: about 500 words in a dozen sentence shapes, chosen so that every
English phoneme occurs often.
"""

import random

import numpy as np

from ...benchmark.contract import SAMPLE_RATE
from .espeak import Voice, speak

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


def sentence(rng: random.Random) -> str:
    """3 to 10 lower-case words of a-z and apostrophes, grammatical if rarely sensible."""
    return filled(rng, _SHAPES, _WORDS)


def filled(rng: random.Random, shapes: list[str], words: dict[str, list[str]]) -> str:
    """A random shape in which every kind of word is replaced by a random word of that kind."""
    slots = rng.choice(shapes).split()
    return " ".join(rng.choice(words[slot]) if slot in words else slot for slot in slots)


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
