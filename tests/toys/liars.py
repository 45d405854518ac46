"""Toys that do not keep what the contract promises, a way each."""

from dataclasses import replace

import numpy as np
import torch
from toys.toy import Toy


class Liar(Toy):
    """A toy under its own name; `said` is what a user must be told."""

    said = ""

    def __init__(self):
        super().__init__()
        self.card = replace(self.card, name=type(self).__name__.lower())


class MoreFrames(Liar):
    said = "frames() promises"

    def frames(self, lengths):
        return super().frames(lengths) + 3


class NegativeFrames(Liar):
    said = "frames() gives -"

    def frames(self, lengths):
        return -super().frames(lengths)


class BrokenFrames(Liar):
    said = "not whole numbers"

    def frames(self, lengths):
        return lengths / self.stride


class OneFrameCount(Liar):
    said = "frames() should be one whole number an utterance"

    def frames(self, lengths):
        return super().frames(lengths)[0]


class Spoils(Liar):
    said = "evidence() at depth 1 writes over the state it was given"

    def evidence(self, depth, state, previous, frames):
        found = super().evidence(depth, state, previous, frames)
        state.zero_()
        return found


class SpoilsUnseen(Liar):
    """torch does not count what goes through numpy."""

    said = "evidence() at depth 1 writes over the previous it was given"

    def evidence(self, depth, state, previous, frames):
        previous.numpy()[:] = 0
        return super().evidence(depth, state, previous, frames)


class SpoilsFrames(Liar):
    said = "evidence() at depth 1 writes over the frames it was given"

    def evidence(self, depth, state, previous, frames):
        found = super().evidence(depth, state, previous, frames)
        frames += 1
        return found


class SpoilsAudio(Liar):
    said = "writes over the audio"

    def states(self, wavs, lengths):
        wavs *= 2
        return super().states(wavs, lengths)


class GoesOnInPlace(Liar):
    said = "on its way to depth 1, writes over the state of depth 0"

    def states(self, wavs, lengths):
        [x] = [state for depth, state in enumerate(super().states(wavs, lengths)) if depth == 0]
        for _ in range(4):
            yield x
            x += 1


class Wide(Liar):
    said = "should be (4, frames, 20)"

    def __init__(self):
        super().__init__()
        self.card = replace(self.card, dim=20)


class Flat(Liar):
    said = "the state of depth 0 should be (4, frames, 16)"

    def states(self, wavs, lengths):
        for state in super().states(wavs, lengths):
            yield state[0]


class Doubles(Liar):
    said = "is torch.float64, not float32"

    def states(self, wavs, lengths):
        for state in super().states(wavs, lengths):
            yield state.double()


class Deeper(Liar):
    said = "states() goes on behind depth 2"

    def __init__(self):
        super().__init__()
        self.card = replace(self.card, depth=2)


class Shallower(Liar):
    said = "states() ends before depth 4"
    exits = (1, 2, 3)

    def __init__(self):
        super().__init__()
        self.card = replace(self.card, depth=4)


class NotFinite(Liar):
    said = "its state of depth 2 is not finite"
    exits = (1,)

    def states(self, wavs, lengths):
        for depth, state in enumerate(super().states(wavs, lengths)):
            yield state / (depth != 2)


class Columns(Liar):
    said = "evidence() at depth 1 should be one number an utterance, (4,); it is (4, 1)"

    def evidence(self, depth, state, previous, frames):
        return super().evidence(depth, state, previous, frames)[:, None]


class Unsure(Liar):
    said = "evidence() at depth 3 is not finite"

    def evidence(self, depth, state, previous, frames):
        found = super().evidence(depth, state, previous, frames)
        return found * float("nan") if depth == 3 else found


class Lists(Liar):
    said = "states() gives a list, not a generator"

    def states(self, wavs, lengths):
        return list(super().states(wavs, lengths))


RECORDED = (
    *(MoreFrames, NegativeFrames, BrokenFrames, OneFrameCount, Spoils, SpoilsUnseen, SpoilsFrames),
    *(SpoilsAudio, GoesOnInPlace, Wide, Flat, Doubles, Deeper, Shallower, NotFinite, Columns),
    *(Unsure, Lists),
)


class CostsNothing(Liar):
    said = "macs() of 5 s should grow with depth from above 0; it gives 0, 0, 0, 0"

    def macs(self, samples, depth):
        return 0


class CostsLess(Liar):
    said = "macs() of 5 s should grow with depth"

    def macs(self, samples, depth):
        return 10 - depth


class CostsNone(Liar):
    said = "macs() gives None"

    def macs(self, samples, depth):
        return None


class PaysForTests(Liar):
    said = "evidence_macs() gives -1"

    def evidence_macs(self, samples, depth):
        return -1


class NanWeights(Liar):
    said = "its weights hold nan, in blocks.1.bias"

    def __init__(self):
        super().__init__()
        with torch.no_grad():
            self.blocks[1].bias[3] = float("nan")


class NoDepth(Liar):
    said = "its card says depth 0"

    def __init__(self):
        super().__init__()
        self.card = replace(self.card, depth=0)


class NoCard(Liar):
    said = "NoCard has no card with a name"

    def __init__(self):
        super().__init__()
        del self.card


class NoName(Liar):
    said = "NoName has no card with a name"

    def __init__(self):
        super().__init__()
        self.card = replace(self.card, name=None)


BUILT = (CostsNothing, CostsLess, CostsNone, PaysForTests, NanWeights, NoDepth, NoCard, NoName)


class CountsWithNumpy(Toy):
    """It keeps its promises: numpy's whole numbers are whole numbers, too."""

    def macs(self, samples, depth):
        return np.int64(super().macs(samples, depth))


class NoThreshold(Liar):
    said = "tau() gives None for"

    def tau(self, evidence, value):
        return None
