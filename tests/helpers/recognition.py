"""Small recognisers: on the toy, and on an encoder of a few thousand parameters."""

from dataclasses import replace

import torch
from earlyexit_superb.benchmark.asking import asked, depth_before
from earlyexit_superb.upstreams.hubert import Hubert
from earlyexit_superb.upstreams.recognition import heads
from earlyexit_superb.upstreams.recognition.alphabet import CHARACTERS
from earlyexit_superb.upstreams.recognition.finetuned import Finetuned
from earlyexit_superb.upstreams.recognition.heads import HeadShape
from earlyexit_superb.upstreams.recognition.recogniser import Recogniser
from toys.toy import Toy

from helpers.hubert import SMALL

ATTENTION = HeadShape("attention", width=8, heads=2, ffn=16)
WIDENED = replace(ATTENTION, blocks=2, widens=True)
TEXTS = ["THE CAT SAT ON THE MAT", "A DOG AND A CAT", "IT'S ME"] * 5  # to learn pieces from


def speller(criterion="entropy", exits=(1, 3, 4), blocks=6, shape=ATTENTION, alphabet=CHARACTERS):
    """A recogniser on the toy, sure enough of its random opinions for exits to differ."""
    trunk = Toy(blocks=blocks)
    bank = heads.new(dict.fromkeys((*exits, blocks), shape), trunk.card.dim, len(alphabet))
    with torch.no_grad():
        for head in bank.values():
            head.out.weight *= 12
    about = {"name": "speller", "revision": "random-0", "source": "tests", "tuned_on": ""}
    return Recogniser(trunk, bank, alphabet, criterion, **about).eval()


class SmallHubert(Hubert):
    """An encoder of three blocks, untrained."""

    shapes, published = {"tiny": SMALL, "wide": replace(SMALL, dim=48)}, {}


class SmallSpeller(Finetuned):
    """Three blocks of 32, an attentive branch after the first."""

    called, paper = "smallspeller", "tests/helpers/recognition.py"
    encoders = {"tiny": SmallHubert, "wide": SmallHubert}

    def __init__(
        self,
        tag="tiny",
        weights="random",
        criterion="entropy",
        alphabet="",
        seed=0,
        shapes=None,
        tied=False,
    ):
        shapes = shapes or {1: ATTENTION, 3: HeadShape()}
        super().__init__(tag, weights, criterion, alphabet, seed, shapes, tied)


@torch.no_grad()
def record(upstream, wavs, lengths):
    """(B, E) evidence of every exit, and by depth the answers: one pass, nobody leaves."""
    states = list(upstream.states(wavs, lengths))
    frames = upstream.frames(lengths).to(wavs.device)
    found, answers = [], {}
    for depth in (*upstream.exits, upstream.card.depth):
        answers[depth] = upstream.answer(depth, states[depth], frames)
    for depth in upstream.exits:
        before = states[depth_before(upstream, depth)]
        found.append(asked(upstream, depth, states[depth], before, frames)[0])
    return torch.stack(found, 1).cpu().numpy(), answers
