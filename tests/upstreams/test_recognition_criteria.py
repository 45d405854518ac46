"""Criteria: their numbers, their units, and what reads them."""

import math

import pytest
import torch
from earlyexit_superb.benchmark.engine import cost
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import Exit, leaving
from earlyexit_superb.upstreams.recognition import beam
from earlyexit_superb.upstreams.recognition.alphabet import CHARACTERS, LETTERS_31
from earlyexit_superb.upstreams.recognition.criteria import (
    CRITERIA,
    criterion,
    edit_distance,
    published,
)
from earlyexit_superb.upstreams.recognition.recogniser import Recogniser
from helpers.recognition import record, speller
from hypothesis import given
from hypothesis import strategies as st

READ = ("entropy", "confidence", "margin")
SOME = st.lists(st.integers(0, 3), max_size=9)


def scores(*probabilities):
    return torch.tensor(probabilities).log()


def test_uniform_scores_are_as_unsure_and_certain_ones_as_sure_as_can_be():
    """systems.md, part F: ln C nats a frame, ln C / C in the unit of HuBERT-EE; 0 where certain."""
    for classes in (2, 32, 500):
        uniform = torch.full((7, classes), -math.log(classes))
        certain = torch.full((7, classes), -math.inf).index_fill_(1, torch.tensor([1]), 0.0)
        for name, most in zip(READ, (math.log(classes), 1 - 1 / classes, 1.0), strict=True):
            found = criterion(name).of_scores([uniform, certain])
            torch.testing.assert_close(found, torch.tensor([most, 0.0]), atol=1e-5, rtol=1e-5)
    assert published("entropy", math.log(32) / 32, 32) == pytest.approx(math.log(32))
    assert math.log(32) / 32 == pytest.approx(0.1083, abs=5e-5)


def test_they_are_means_over_an_utterances_frames():
    rows = scores([0.7, 0.2, 0.1], [0.5, 0.25, 0.25])
    nats = -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1))
    other = 1.5 * math.log(2)
    found = {name: float(criterion(name).of_scores([rows])) for name in READ}
    expected = {"entropy": (nats + other) / 2, "confidence": 0.4, "margin": 1 - 0.375}
    assert found == pytest.approx(expected)


def test_similarity_is_of_the_states_frames_alone():
    now, before = torch.randn(2, 6, 5), torch.randn(2, 6, 5)
    before[1, 3:] = math.nan  # behind its end
    found = criterion("similarity").of_states(now, before, torch.tensor([6, 3]))
    for row, n in enumerate((6, 3)):
        cosines = [
            float(a @ b / (a.norm() * b.norm()))
            for a, b in zip(now[row, :n], before[row, :n], strict=True)
        ]
        assert float(found[row]) == pytest.approx(1 - sum(cosines) / n, abs=1e-6)
    same = criterion("similarity").of_states(now, now, torch.tensor([6, 3]))
    torch.testing.assert_close(same, torch.zeros(2), atol=1e-6, rtol=0)


def test_patience_is_the_edit_distance_of_the_two_transcripts():
    same, said = CHARACTERS.encode("A CAT"), CHARACTERS.encode("A CART")
    of = criterion("patience").of
    assert [of(same, other) for other in (same, said, [])] == pytest.approx([0, 1 / 6, 1])
    assert of([], []) == 0


@given(SOME, SOME)
def test_edit_distance_follows_its_definition(a, b):
    def slow(a, b):
        if not a or not b:
            return len(a) + len(b)
        best = slow(a[1:], b[1:]) + (a[0] != b[0])
        return min(best, slow(a[1:], b) + 1, slow(a, b[1:]) + 1) if best else 0

    a, b = a[:5], b[:5]
    assert edit_distance(a, b) == slow(a, b) == edit_distance(b, a)


def test_published_thresholds_become_evidence():
    """Tables of HuBERT-EE, Zaiem et al. and Wright et al.: their units, ours."""
    hubert_ee = {0.0025: 0.080, 0.0035: 0.112, 0.004: 0.128, 0.005: 0.160, 0.007: 0.224}
    for theirs, ours in hubert_ee.items():
        assert published("entropy", theirs, 32) == pytest.approx(ours)
        assert speller("entropy", alphabet=LETTERS_31).published(theirs) == theirs
    assert published("entropy", 0.06) == 0.06
    assert published("confidence", 0.95) == pytest.approx(0.05)
    assert published("similarity", 0.965) == pytest.approx(0.035)
    assert published("posterior:50", 0.9) == pytest.approx(0.1)
    assert published("patience", 0.2) == published("patience:3", 0.2) == 0.2


@pytest.mark.parametrize(
    "name, said",
    [
        ("entropie", "did you mean entropy"),
        ("posterior:1", "a whole number from 2"),
        ("posterior:x", "a whole number from 2"),
        ("margin:3", "did you mean margin"),
        ("patience:1", "the exits in a row that must agree, a whole number from 2"),
    ],
)
def test_a_criterion_that_is_none_is_refused(name, said):
    with pytest.raises(UsageError, match=said):
        criterion(name)
    if ":" not in name:
        with pytest.raises(UsageError, match=said):
            published(name, 0.1)


# ---- in a recogniser ----


@pytest.mark.parametrize("name", CRITERIA)
def test_a_recogniser_says_what_it_reads_and_is_charged_for_it(name, clips):
    if name == "posterior":
        pytest.importorskip("flashlight.lib.text.decoder", reason="[lm] is not installed")
    up = speller(name)
    wavs, lengths = clips[0][None, :6400], torch.tensor([6400])
    evidence, answers = record(up, wavs, lengths)
    assert up.card.evidence == criterion(name).unit and evidence.shape == (1, 3)
    if up.criterion.reads == "scores":
        read = [float(up.criterion.of_scores(answers[k])) for k in up.exits]
        assert evidence[0].tolist() == pytest.approx(read)
    heads = [up.answer_macs(6400, k) for k in (1, 3)]
    frames, search = 20, {"posterior": 300 * 32}.get(name, 0)
    expected = {"similarity": (3 * frames * 16,) * 2, "patience": (0, heads[0])}
    charged = tuple(up.evidence_macs(6400, k) for k in (1, 3))
    assert charged == expected.get(name, (frames * search,) * 2)


def test_a_head_runs_at_the_exit_alone_where_states_decide(clips, monkeypatch):
    from earlyexit_superb.benchmark.exiting import Exit, leaving, run_until_exit

    asked = []
    plain = Recogniser.scores
    monkeypatch.setattr(
        Recogniser, "scores", lambda self, k, *given: asked.append(k) or plain(self, k, *given)
    )
    wavs, lengths = clips[0][None, :6400], torch.tensor([6400])
    for name, heads in (("similarity", [6]), ("entropy", [1, 3, 4, 6]), ("patience", None)):
        asked.clear()
        up = speller(name)
        run_until_exit(up, wavs, lengths, Exit(leaving(up), -1.0))
        assert asked == (heads or [1, 3, 1, 4, 3, 6])


def test_a_beam_search_runs_at_every_exit_that_is_tested_and_timed(clips, monkeypatch):
    """What is timed is the walk itself, so its searches are in the seconds."""
    up, searched = speller("posterior:4"), []

    def found(log_probs, alphabet, count):
        searched.append(count)
        return [((), -1.0), ((1,), -2.0)]

    monkeypatch.setattr(beam, "hypotheses", found)
    wav = clips[0][None, :6400]
    cost._live(up, Exit(leaving(up), -1.0), "asr", wav)
    assert searched == [4] * len(up.exits)
    cost._live(up, Exit(leaving(up), 99.0), "asr", wav)
    assert len(searched) == len(up.exits) + 1
    cost._live(up, Exit((up.card.depth,)), "asr", wav)
    assert len(searched) == len(up.exits) + 1  # the full model tests nothing


def test_at_the_first_exit_there_is_nothing_to_agree_with(clips):
    up = speller("patience")
    evidence, answers = record(up, clips[0][None, :6400], torch.tensor([6400]))
    pairs = [(answers[k][0], answers[j][0]) for k, j in ((3, 1), (4, 3))]
    ids = [[up.alphabet.greedy(scores) for scores in pair] for pair in pairs]
    expected = [1.0, *(up.criterion.of(*pair) for pair in ids)]
    assert evidence[0].tolist() == pytest.approx(expected)
