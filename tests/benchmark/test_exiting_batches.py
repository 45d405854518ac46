"""Decisions by batches, as DAISY's released code takes them, are replayed from the same record."""

import pytest
import torch
from earlyexit_superb.benchmark.exiting import Exit, replay, replay_batches, run_until_exit
from toys.toy import Toy


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_decisions_by_batches_are_replayed(size):
    """A batch of neighbours leaves where the live run lets it, and alone everybody decides."""
    toy, wavs = Toy().eval(), 0.1 * torch.randn(6, 16_000)
    lengths = torch.tensor([16_000, 9_000, 12_000, 8_000, 15_000, 11_000])
    frames, states = toy.frames(lengths), list(toy.states(wavs, lengths))
    table = torch.stack(
        [toy.evidence(k, states[k], states[k - 1], frames) for k in toy.exits], 1
    ).detach()
    for tau in (table.min() - 1, table.mean(), table.median(), table.max() + 1):
        exit = Exit((1, 2, 3), float(tau) + 1e-5)
        live = [
            run_until_exit(toy, wavs[rows], lengths[rows], exit, granularity="batch").depth
            for rows in torch.arange(6).split(size)
        ]
        replayed = replay_batches(table.numpy(), frames.numpy(), exit, toy.exits, size)
        assert torch.cat(live).tolist() == replayed.tolist()
        # neighbours in length, whatever their places
        order = lengths.argsort()
        live = [
            run_until_exit(toy, wavs[rows], lengths[rows], exit, granularity="batch").depth
            for rows in order.split(size)
        ]
        given = (table.numpy(), frames.numpy(), exit, toy.exits, size)
        sorted_ones = replay_batches(*given, order.numpy())
        assert torch.cat(live).tolist() == sorted_ones[order].tolist()
    if size == 1:
        assert (replayed == replay(table.numpy(), exit)).all()
