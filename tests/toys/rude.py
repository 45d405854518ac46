"""Toys that raise, leave, print or never end, a way each."""

import sys

import torch
from toys.liars import Liar
from toys.toy import Toy


class Raises(Liar):
    said = "raises RuntimeError: out of tune"

    def states(self, wavs, lengths):
        raise RuntimeError("out of tune")


class RaisesWhenBuilt(Liar):
    said = "raises RuntimeError: out of tune"

    def __init__(self):
        raise RuntimeError("out of tune")


class Leaves(Liar):
    said = "ends the program, sys.exit(0)"

    def states(self, wavs, lengths):
        sys.exit(0)


class LeavesWhenBuilt(Liar):
    said = "ends the program, sys.exit()"

    def __init__(self):
        sys.exit()


class LeavesLate(Liar):
    said = "ends the program, sys.exit(0)"

    def tau(self, evidence, value):
        sys.exit(0)


class TakesTooMuch(Liar):
    said = "not enough memory"

    def states(self, wavs, lengths):
        yield torch.zeros(2**50)


CALLED = (Raises, RaisesWhenBuilt, Leaves, LeavesWhenBuilt, LeavesLate, TakesTooMuch)


class Chatty(Liar):
    """Keeps every promise, and prints."""

    def states(self, wavs, lengths):
        print("hello from states")
        return super().states(wavs, lengths)

    def macs(self, samples, depth):
        print("counting")
        return super().macs(samples, depth)


class Endless(Liar):
    def states(self, wavs, lengths):
        while True:
            pass


def function():
    """No upstream."""


built = Toy()
