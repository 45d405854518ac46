"""The smallest upstream that meets the contract: random weights, three blocks, an
entropy branch each.
"""

import torch
from earlyexit_superb.benchmark.calibration import midpoint
from earlyexit_superb.benchmark.contract import Corpus, Setup, Upstream, UpstreamCard
from earlyexit_superb.benchmark.masking import masked_mean
from torch import nn
from torch.nn import functional as F


class Toy(Upstream):
    knob, knob_values, spans = "rho", (1.0,), ("mean", "min-max")

    def __init__(self, dim: int = 16, blocks: int = 3, stride: int = 320):
        super().__init__()
        self.stride = stride
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.front = nn.Conv1d(1, dim, kernel_size=stride, stride=stride)
            self.blocks = nn.ModuleList(nn.Linear(dim, dim) for _ in range(blocks))
            self.branches = nn.ModuleList(nn.Linear(dim, 8) for _ in range(blocks))
        name = "toy" if stride == 320 else f"toy(stride={stride})"
        self.card = UpstreamCard(
            name,
            depth=blocks,
            dim=dim,
            stride=stride,
            revision="seed-0",
            source="tests/toys/toy.py",
            evidence="mean frame entropy, nats per frame",
        )

    def frames(self, lengths):
        return torch.div(lengths - 1, self.stride, rounding_mode="floor") + 1

    def states(self, wavs, lengths):
        x = self.front(F.pad(wavs, (0, -wavs.shape[-1] % self.stride))[:, None]).mT
        keep = yield x
        for block in self.blocks:
            x = x if keep is None else x[keep]
            x = x + block(x).tanh()
            keep = yield x

    def evidence(self, depth, state, previous, frames):
        entropy = torch.special.entr((5 * depth * self.branches[depth - 1](state)).softmax(-1)).sum(
            -1
        )
        return masked_mean(entropy, frames)

    def tau(self, evidence, value):
        return midpoint(evidence, value)

    def macs(self, samples, depth):
        frames = int(self.frames(torch.tensor(samples)))
        return frames * self.card.dim * (self.stride + depth * self.card.dim)

    def evidence_macs(self, samples, depth):
        return int(self.frames(torch.tensor(samples))) * self.card.dim * 8


def at(protocol, dim=24, stride=320, labels=()):
    """What a head of that recipe is built for, where the corpus does not matter."""
    return Setup(protocol, Corpus("none", "", {}, labels=labels), dim, stride)
