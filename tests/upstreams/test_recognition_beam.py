"""Beam search: flashlight's hypotheses, the probabilities that CTC defines, and the posterior."""

import math
import sys

import pytest
import torch
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.upstreams.recognition.alphabet import CHARACTERS, Alphabet
from earlyexit_superb.upstreams.recognition.beam import hypotheses
from earlyexit_superb.upstreams.recognition.criteria import criterion
from torch.nn import functional as F

pytestmark = pytest.mark.usefixtures("flashlight")
ABC = Alphabet(("<blank>", "A", "B"), 0, None, "abc")


@pytest.fixture
def flashlight():
    pytest.importorskip("flashlight.lib.text.decoder", reason="[lm] is not installed")


def some(frames, symbols, seed=0, sharp=3.0):
    draw = torch.Generator().manual_seed(seed)
    return (sharp * torch.randn(frames, symbols, generator=draw)).log_softmax(-1)


def test_scores_are_the_log_probabilities_of_transcripts_by_ctc():
    """With room for every path nothing is cut off, so they are the loss that training takes."""
    for seed in range(3):
        scores = some(4, 3, seed, 1.0)
        found = hypotheses(scores, ABC, 100)
        assert len({ids for ids, _ in found}) == len(found) > 10
        assert sum(math.exp(score) for _, score in found) == pytest.approx(1, abs=1e-5)
        for ids, score in found:
            target = torch.tensor([ids], dtype=torch.long)
            loss = F.ctc_loss(
                scores[:, None],
                target,
                torch.tensor([4]),
                torch.tensor([len(ids)]),
                reduction="sum",
            )
            assert score == pytest.approx(-float(loss), abs=1e-4)


@pytest.mark.parametrize("count", [5, 40])
def test_hypotheses_are_those_of_torchaudios_decoder(count):
    from torchaudio.models.decoder import ctc_decoder

    theirs = ctc_decoder(
        None,
        list(CHARACTERS.symbols),
        nbest=count,
        beam_size=count,
        log_add=True,
        blank_token="<s>",
        sil_token="<s>",
    )
    # a boundary of its own at both ends is the way of its default
    default = ctc_decoder(
        None, list(CHARACTERS.symbols), beam_size=count, log_add=True, blank_token="<s>"
    )
    for seed in range(2):
        scores = some(30, 32, seed)
        [expected] = theirs(scores[None])
        found = hypotheses(scores, CHARACTERS, count)
        assert [list(ids) for ids, _ in found] == [h.tokens.tolist() for h in expected]
        assert [score for _, score in found] == pytest.approx([h.score for h in expected])
        [[best]] = default(scores[None])
        assert CHARACTERS.decode(best.tokens.tolist()) == CHARACTERS.decode(found[0][0])


def test_the_greedy_transcript_is_that_of_torchaudios_decoder_with_a_beam_of_one():
    from torchaudio.models.decoder import ctc_decoder

    tokens = list(CHARACTERS.symbols)
    alone = {"beam_size": 1, "beam_size_token": 1, "blank_token": "<s>", "sil_token": "<s>"}
    theirs = ctc_decoder(None, tokens, **alone)
    for seed in range(10):
        scores = some(60, 32, seed, 1.0)
        [[best]] = theirs(scores[None])
        assert best.tokens.tolist() == CHARACTERS.greedy(scores)


def test_of_peaked_scores_the_best_is_the_greedy_transcript():
    for seed in range(3):
        scores = some(50, 32, seed, 30.0)
        [(best, _), *_] = hypotheses(scores, CHARACTERS, 10)
        assert list(best) == CHARACTERS.greedy(scores)
        by_hand = scores.argmax(-1).unique_consecutive().tolist()
        assert list(best) == [i for i in by_hand if i != CHARACTERS.blank]


def test_the_posterior_of_one_frame_is_its_largest_probability():
    """One frame has one path a transcript, so K transcripts are the K symbols."""
    frame = torch.tensor([[0.2, 0.5, 0.3]]).log()
    whole = criterion("posterior:3", ABC).of_scores([frame, frame[:, [1, 0, 2]]])
    assert whole.tolist() == pytest.approx([0.5, 0.5])
    best_two = criterion("posterior:2", ABC).of_scores([frame])
    assert best_two.tolist() == pytest.approx([1 - 0.5 / 0.8])


def test_the_posterior_is_the_softmax_of_the_scores():
    scores = some(25, 32)
    found = torch.tensor([score for _, score in hypotheses(scores, CHARACTERS, 20)]).double()
    doubt = criterion("posterior:20").of_scores([scores, 400 * scores])
    assert float(doubt[0]) == pytest.approx(float(1 - found.softmax(0)[0]), abs=1e-6)
    assert 0 <= float(doubt[1]) < 1e-6


def test_scores_that_will_not_do_are_refused(monkeypatch):
    with pytest.raises(UsageError, match="scores of 31 symbols, and the alphabet characters has"):
        hypotheses(some(5, 31), CHARACTERS, 5)
    with pytest.raises(UsageError, match="not finite"):
        hypotheses(some(5, 32) * math.nan, CHARACTERS, 5)
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder", None)
    with pytest.raises(MachineError, match=r'run: pip install -c constraints.txt -e ".\[lm\]"'):
        hypotheses(some(5, 32), CHARACTERS, 7)  # of a size that no other test built
