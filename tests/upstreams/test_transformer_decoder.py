"""The decoder is torch's; written symbol by symbol it says what it says at once."""

from itertools import product

import pytest
import torch
from earlyexit_superb.upstreams.backbones.measuring import products
from earlyexit_superb.upstreams.backbones.transformer_decoder import (
    Decoder,
    DecoderShape,
    decoding_macs,
    until,
)
from helpers.libraries import unlike_new
from torch import nn

SHAPE = DecoderShape(symbols=11, dim=16, depth=2, heads=4, ffn=24)


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(5)
    made = unlike_new(Decoder(SHAPE, end=3))
    with torch.no_grad():
        made.output.weight.mul_(3)  # otherwise it says one symbol for ever
    return made


@pytest.fixture(scope="module")
def states():
    return torch.randn(4, 20, 16, generator=torch.Generator().manual_seed(1))


FRAMES = torch.tensor([20, 7, 12, 1])


def of_torch(decoder):
    layer = nn.TransformerDecoderLayer(16, 4, 24, batch_first=True, norm_first=True)
    made = nn.TransformerDecoder(layer, 2, nn.LayerNorm(16))
    ours = {k: v for k, v in decoder.state_dict().items() if k.startswith(("layers.", "norm."))}
    made.load_state_dict(ours)
    return made.eval()


def test_it_is_torch_s(decoder, states):
    written = torch.randint(11, (4, 9), generator=torch.Generator().manual_seed(2))
    later = torch.full((9, 9), -torch.inf).triu(1)
    padding = torch.arange(20) >= FRAMES[:, None]
    pe = torch.zeros(9, 16)
    angles = torch.arange(9)[:, None] / 10_000 ** (torch.arange(0, 16, 2) / 16)
    pe[:, ::2], pe[:, 1::2] = angles.sin(), angles.cos()
    with torch.no_grad():
        theirs = decoder.output(
            of_torch(decoder)(
                decoder.embedding(written) + pe,
                states,
                tgt_mask=later,
                memory_key_padding_mask=padding,
            )
        )
        ours = decoder(written, states, FRAMES)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def greedy_from_scratch(decoder, states, limit):
    """The whole transcript so far is read again for every symbol."""
    written = [decoder.end]
    while len(written) <= limit:
        with torch.no_grad():
            scores = decoder(torch.tensor([written]), states)
        written.append(int(scores[0, -1].argmax()))
        if written[-1] == decoder.end:
            return written[1:-1]
    return written[1:]


def test_what_is_kept_changes_no_symbol(decoder, states):
    for row, n in zip(states, FRAMES.tolist(), strict=True):
        alone = row[None, :n]
        [found] = decoder.greedy(alone)
        assert found.tolist() == greedy_from_scratch(decoder, alone, n)


def test_a_batch_writes_what_its_members_write(decoder, states):
    together = decoder.greedy(states, FRAMES)
    alone = [decoder.greedy(row[None, :n])[0] for row, n in zip(states, FRAMES, strict=True)]
    assert [row.tolist() for row in together] == [row.tolist() for row in alone]
    counts = [len(row) for row in together]
    # or this would prove little: some end by themselves, some at their limit
    assert any(n < limit for n, limit in zip(counts, FRAMES.tolist(), strict=True))
    assert max(counts) > 2 and len(set(map(str, alone))) > 1


def test_limits(decoder, states):
    assert [len(row) <= 2 for row in decoder.greedy(states, limits=(2,) * 4)] == [True] * 4
    assert until(torch.tensor([1, 2, 3, 1]), 3).tolist() == [1, 2]
    assert until(torch.tensor([3, 1]), 3).tolist() == [] and until(torch.tensor([1]), 3).numel()


@pytest.mark.parametrize("symbols", [1, 6])
def test_costs_are_those_that_torch_counts(states, symbols):
    torch.manual_seed(6)
    endless = Decoder(SHAPE, end=3).eval()
    with torch.no_grad():
        endless.output.bias[3] = -1e6
    assert decoding_macs(SHAPE, 20, symbols) == products(
        lambda: endless.greedy(states[:1], limits=(symbols,))
    )


# ---- beam search ----


def by_all(decoder, states, limit):
    """Every transcript of at most `limit` symbols with its log-probability, the best first."""
    letters = [i for i in range(SHAPE.symbols) if i != decoder.end]
    found = []
    for count in range(limit + 1):
        for symbols in product(letters, repeat=count):
            written = torch.tensor([[decoder.end, *symbols]])
            with torch.no_grad():
                scores = decoder(written, states)[0].log_softmax(-1)
            # one that reaches the limit is cut there, its end not written
            steps = [*symbols, decoder.end][:limit]
            found.append((symbols, sum(float(scores[u, s]) for u, s in enumerate(steps))))
    return sorted(found, key=lambda each: -each[1])


def test_a_wide_beam_finds_the_best_of_all(decoder, states):
    alone = states[1:2, :3]
    expected = by_all(decoder, alone, 3)[:20]
    found = decoder.hypotheses(alone, 1200)[:20]
    assert [tuple(ids.tolist()) for ids, _ in found] == [symbols for symbols, _ in expected]
    assert [score for _, score in found] == pytest.approx([s for _, s in expected], abs=1e-4)


def test_a_beam_of_one_is_greedy(decoder, states):
    for row, n in zip(states, FRAMES.tolist(), strict=True):
        [(ids, _)] = decoder.hypotheses(row[None, :n], 1)
        assert ids.tolist() == decoder.greedy(row[None, :n])[0].tolist()


def test_a_score_is_the_chain_of_its_symbols(decoder, states):
    alone = states[:1, :9]
    found = decoder.hypotheses(alone, 6)
    assert len(found) == 6 == len({str(ids.tolist()) for ids, _ in found})
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    for ids, score in found:
        written = torch.tensor([[decoder.end, *ids.tolist()]])
        with torch.no_grad():
            scores = decoder(written, alone)[0].log_softmax(-1)
        steps = [*ids.tolist(), decoder.end][:9]
        assert score == pytest.approx(
            sum(float(scores[u, s]) for u, s in enumerate(steps)), abs=1e-4
        )


def test_a_search_costs_at_most_what_it_is_charged(decoder, states):
    counted = products(lambda: decoder.hypotheses(states[:1], 4))
    longest = decoding_macs(SHAPE, 20, 20, 4)
    assert decoding_macs(SHAPE, 20, 2, 4) < counted <= longest
    torch.manual_seed(6)
    endless = Decoder(SHAPE, end=3).eval()
    with torch.no_grad():
        endless.output.bias[3] = -1e6
    short = products(lambda: endless.hypotheses(states[:1], 1))
    assert short == decoding_macs(SHAPE, 20, 20)
