"""Examples of separation."""

import torch
from earlyexit_superb.benchmark.contract import Example
from earlyexit_superb.tasks.shared.masking import compared
from earlyexit_superb.tasks.shared.stft import stft_of
from toys.toy import at

from helpers import wav


def example(samples, seed=0):
    talkers = torch.stack([wav(samples, seed), wav(samples, seed + 100).roll(700)])
    return Example(f"u{seed}", talkers.sum(0), talkers)


def ideal(e, protocol):
    """The masks that bring each talker's loss to nothing, as far as masks can."""
    stft = stft_of(at(protocol), len(e.wav))
    mixture, talkers = stft(e.wav), stft(e.target)
    magnitude, aim = compared(mixture, talkers, protocol)
    return aim / magnitude
