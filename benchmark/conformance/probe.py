"""What upstreams are checked with: seeded noise, and their states of it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..asking import asked, depth_before
from ..contract import SAMPLE_RATE, Upstream

TOLERANCE = 1e-4  # of the largest value of a state: fp32 sums in another order, over a dozen blocks


def noise(seconds: float, seed: int = 0) -> Tensor:
    """(1, N) float32 at 16 kHz, seeded, with pauses, so that depths have something to differ
    over.
    """
    generator = torch.Generator().manual_seed(seed)
    samples = round(seconds * SAMPLE_RATE)
    envelope = (torch.sin(torch.arange(samples) / SAMPLE_RATE * 9) > -0.5).float()
    return 0.1 * envelope * torch.randn(1, samples, generator=generator)


def clips() -> list[Tensor]:
    """Three waveforms of different length, (1, N) each."""
    return [noise(1.0, 1), noise(1.7, 2), noise(0.6, 3)]


def padded(wavs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(1, N) waveforms -> (B, N) zero-padded, and (B,) samples."""
    rows = [wav[0] for wav in wavs]
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths


@torch.no_grad()
def states_of(up: Upstream, wavs: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
    """All states, (B, T, D) each.

    Args:
        lengths: (B,) samples; None: no row is padded.
    """
    if lengths is None:
        lengths = torch.full((len(wavs),), wavs.shape[1])
    return list(up.states(wavs, lengths))


@torch.no_grad()
def evidence_of(up: Upstream, wavs: Tensor, lengths: Tensor) -> np.ndarray:
    """(B, E) evidence of every exit; no utterance exits."""
    frames, states = up.frames(lengths), states_of(up, wavs, lengths)
    found = []
    for depth in up.exits:
        previous = states[depth_before(up, depth)]
        found.append(asked(up, depth, states[depth], previous, frames)[0])
    return torch.stack(found, 1).numpy()


def relative_difference(a: Tensor, b: Tensor) -> float:
    """The largest difference of `a` and `b` as a share of the largest value of `b`."""
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-6))
