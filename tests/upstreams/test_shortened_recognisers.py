"""Recognisers behind a shortened input, whose heads may give several scores a frame."""

import pytest
import torch
from earlyexit_superb.benchmark.conformance import check_upstream
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.recognition.recogniser import laid_out
from helpers.recognition import record
from helpers.spelling import Small, said
from torch import nn

SHORT = {"shorten": "conv2", "per_frame": 2}


@pytest.fixture
def heard():
    some = [said(text) for text in ("ABC", "CA", "B AC")]
    return nn.utils.rnn.pad_sequence(some, batch_first=True), torch.tensor([len(x) for x in some])


def test_at_the_full_rate_with_one_score_a_frame_it_is_the_plain_system(heard):
    plain, same_one = Small().eval(), Small(shorten="", per_frame=1).eval()
    assert plain.card == same_one.card and plain.described == same_one.described
    assert plain.described.header().keys() == {"system", "alphabet", "trunk", "heads", "tied"}
    (evidence, answers), (theirs, expected) = (record(up, *heard) for up in (plain, same_one))
    assert (evidence == theirs).all()
    for k, rows in answers.items():
        assert all(map(torch.equal, rows, expected[k]))


@pytest.mark.parametrize("kind", ["conv2", "average3", "resample4"])
def test_it_answers_what_the_plain_one_answers_to_filtered_audio(kind):
    short, plain = Small(shorten=kind).eval(), Small().eval()
    wav, factor = said("CAB AC"), int(kind[-1])
    with torch.no_grad():
        filtered = short.trunk.shorten(wav)
    lengths = torch.tensor([len(wav)]), torch.tensor([len(filtered)])
    assert torch.equal(short.frames(lengths[0]), plain.frames(lengths[1]))
    _, ours = record(short, wav[None], lengths[0])
    _, expected = record(plain, filtered[None], lengths[1])
    assert all(torch.equal(ours[k][0], expected[k][0]) for k in ours)
    assert short.card.stride == factor * plain.card.stride and short.card.kind == "downsampled"
    assert short.card.name == f"small.small(weights=random, shorten={kind})"
    # the filter is counted, and what is behind it hears so many samples
    taps = len(filtered) * short.trunk.shorten.size
    for depth in (1, 3):
        assert short.macs(len(wav), depth) == taps + plain.macs(len(filtered), depth)
        assert short.answer_macs(len(wav), depth) == plain.answer_macs(len(filtered), depth)


def test_a_widened_head_is_so_many_heads_whose_scores_take_turns(heard):
    wide, one, other = Small(per_frame=2), Small(seed=1), Small(seed=2)
    for up in (wide, one, other):
        up.eval().trunk = one.trunk
    with torch.no_grad():
        for k in ("1", "2", "3"):
            for name in ("weight", "bias"):
                halves = [getattr(up.heads[k].out, name) for up in (one, other)]
                getattr(wide.heads[k].out, name).copy_(torch.cat(halves))
    _, answers = record(wide, *heard)
    turns = [record(up, *heard)[1] for up in (one, other)]
    for k, rows in answers.items():
        for row, found in enumerate(rows):
            for turn in (0, 1):
                torch.testing.assert_close(found[turn::2], turns[turn][k][row])
    assert wide.answer_macs(9000, 3) == 2 * one.answer_macs(9000, 3)
    searched = [Small(criterion="posterior:4", per_frame=n).evidence_macs(9000, 1) for n in (1, 2)]
    assert searched[1] == 2 * searched[0]


def test_it_writes_what_its_scores_say_laid_out_in_time(heard):
    wide = Small(seed=3, **SHORT).eval()
    size, blank = len(wide.alphabet), wide.alphabet.blank
    with torch.no_grad():
        states, frames = list(wide.states(*heard)), wide.frames(heard[1])
        logits = wide.heads["3"](states[3], frames)
        answers = wide.answer(3, states[3], frames)
    for row, count in enumerate(frames.tolist()):
        places = [(t, s * size) for t in range(count) for s in (0, 1)]
        best = [int(logits[row, t, at : at + size].argmax()) for t, at in places]
        kept = [i for n, i in enumerate(best) if i != blank and (not n or i != best[n - 1])]
        assert wide.decode(answers[row], "asr") == wide.alphabet.decode(kept)
        assert len(answers[row]) == 2 * count == int(wide.scored(frames)[row])


def test_laid_out_scores_of_a_frame_stand_one_after_the_other():
    logits = torch.arange(12.0).view(1, 2, 6)
    assert laid_out(logits, 3).tolist() == [[[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]]
    assert laid_out(logits, 1) is not None and torch.equal(laid_out(logits, 1), logits)


@pytest.mark.parametrize("criterion", ["entropy", "patience", "similarity"])
def test_a_batch_is_its_members(heard, criterion):
    up = Small(seed=1, criterion=criterion, **SHORT).eval()
    evidence, answers = record(up, *heard)
    for row, (wav, n) in enumerate(zip(*heard, strict=True)):
        alone, own = record(up, wav[None, :n], n[None])
        assert alone[0] == pytest.approx(evidence[row], abs=1e-5)
        for k, found in own.items():
            torch.testing.assert_close(found[0], answers[k][row], atol=1e-5, rtol=1e-5)
    with torch.enable_grad():  # padded, as a training has it
        states = [state.detach() for state in up.states(*heard)]
        padded = up.answer(3, states[3], up.frames(heard[1]))
        for ours, found in zip(padded, answers[3], strict=True):
            torch.testing.assert_close(ours.detach(), found, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["zaiem", pytest.param("hubert_ee", marks=pytest.mark.slow)])
def test_it_meets_the_contract(name):
    up = build_upstream(name, {"weights": "random", "shorten": "conv3", "per_frame": "2"})
    assert [f.sentence for f in check_upstream(up) if not f.ok] == []
    assert up.card.evidence.endswith("nats per frame, each frame giving 2")
    assert up.exits == build_upstream(name, {"weights": "random"}).exits
