"""Recognisers exit, answer and spell live as replayed, alone as in a batch."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.calibration import thresholds
from earlyexit_superb.benchmark.conformance import check_upstream
from earlyexit_superb.benchmark.engine import evaluation
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import Exit, leaving, replay, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones.measuring import products
from earlyexit_superb.upstreams.recognition import heads
from earlyexit_superb.upstreams.recognition.alphabet import CHARACTERS, LETTERS_31
from earlyexit_superb.upstreams.recognition.criteria import CRITERIA
from earlyexit_superb.upstreams.recognition.recogniser import Recogniser
from helpers.recognition import ATTENTION, SmallSpeller, record, speller
from torch import nn
from toys.toy import Toy

SYSTEMS = ("hubert_ee", "wav2vec2_ctc", "zaiem")
SCRATCH = ("conformer_ctc", "conformer_aed")
CHEAP = [name if name != "posterior" else "posterior:4" for name in CRITERIA]
EACH = pytest.mark.parametrize("name", CHEAP)


def needs(criterion):
    if criterion.startswith("posterior"):
        pytest.importorskip("flashlight.lib.text.decoder", reason="[lm] is not installed")


@pytest.fixture
def heard(clips):
    some = [clip[: 3000 + 900 * i] for i, clip in enumerate(clips)]
    lengths = torch.tensor([len(clip) for clip in some])
    return nn.utils.rnn.pad_sequence(some, batch_first=True), lengths


def exits_of(up, evidence):
    """At every exit, and with gaps before and behind the first one tested, at thresholds from never
    to at once."""
    spans = leaving(up), (up.exits[1], up.card.depth)
    taus = np.unique(evidence)
    between = ((taus[1:] + taus[:-1]) / 2)[len(taus) // 4 :: max(1, len(taus) // 3)]
    patience = up.patience(up.knob_values[0])
    return [Exit(span, float(tau), patience) for span in spans for tau in (-1.0, *between, 99.0)]


def holds(up, wavs, lengths):
    """Live runs of a batch and of its members leave and answer as one record says."""
    evidence, answers = record(up, wavs, lengths)
    seen = set()
    for exit in exits_of(up, evidence):
        left = replay(evidence, exit, up.exits).tolist()
        together = run_until_exit(up, wavs, lengths, exit)
        assert together.depth.tolist() == left
        for row, (wav, n) in enumerate(zip(wavs, lengths, strict=True)):
            alone = run_until_exit(up, wav[None, :n], n[None], exit)
            expected = answers[left[row]][row]
            assert alone.depth.tolist() == left[row : row + 1]
            torch.testing.assert_close(together.answers[row], expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(alone.answers[0], expected, atol=1e-5, rtol=1e-5)
            texts = [up.decode(x, "asr") for x in (together.answers[row], alone.answers[0])]
            assert texts == [up.decode(expected, "asr")] * 2
        seen |= set(left)
    return seen


@EACH
def test_a_batch_leaves_and_spells_as_its_members_and_as_replayed(name, heard):
    needs(name)
    assert holds(speller(name), *heard) > {1, 6}


@pytest.mark.parametrize("name", ["patience", "posterior:4", "similarity"])
def test_a_criterion_meets_the_contract(name):
    needs(name)
    up = speller(name, exits=(1, 2), blocks=3)
    assert [f.sentence for f in check_upstream(up) if not f.ok] == []


def test_patience_asks_several_exits_in_a_row(heard):
    """The place of an utterance is where the last N answers agreed, live and replayed; thresholds
    for a mean depth are set with that."""
    up = speller("patience:2")
    first, second, *_ = up.exits
    assert up.patience(6.0) == 2 and speller("patience").patience(6.0) == 1
    assert up.knob_values[0] >= second
    seen = holds(up, *heard)
    assert first not in seen and up.card.depth in seen
    with pytest.raises(UsageError, match=f"leaves at depths {second} to {up.card.depth}"):
        up.check_knob(float(first))
    evidence = np.array([[0.5, 0.1, 0.1], [0.1, 0.1, 0.5], [0.9, 0.9, 0.2]], np.float32)
    left = replay(evidence, Exit(leaving(up), up.tau(evidence, 4.0), 2), up.exits)
    once = replay(evidence, Exit(leaving(up), up.tau(evidence, 4.0), 1), up.exits)
    assert (left >= once).all() and left.mean() > once.mean()
    every = thresholds(evidence, leaving(up), up.exits).tolist()
    means = [replay(evidence, Exit(leaving(up), tau, 2), up.exits).mean() for tau in every]
    assert abs(left.mean() - 4.0) == min(abs(mean - 4.0) for mean in means)


@pytest.mark.parametrize(
    "criterion, patience", [("patience:2", 2), ("patience", 1), ("entropy", 1)]
)
def test_a_threshold_of_ones_own_keeps_the_criterions_patience(criterion, patience):
    up = speller(criterion)
    exp = SimpleNamespace(upstream=up)
    exit = evaluation._own_taus(exp, SimpleNamespace(taus=(0.1,)))
    assert exit == Exit(leaving(up), 0.1, patience)


def test_the_rule_whose_knob_is_its_patience_takes_one_test():
    up = build_upstream("patience")
    exit = evaluation._own_taus(SimpleNamespace(upstream=up), SimpleNamespace(taus=(0.2,)))
    assert exit.patience == 1


@pytest.mark.parametrize("criterion", CHEAP)
@pytest.mark.parametrize("name", [*SYSTEMS, *SCRATCH])
def test_a_system_leaves_and_spells_as_replayed_by_every_criterion(name, criterion, heard):
    """At tiny size with random weights; never leaving is the full model, always the first exit."""
    needs(criterion)
    wavs, lengths = heard[0][:2, :3900], heard[1][:2]
    up = build_upstream(name, {"weights": "random", "seed": "1", "criterion": criterion})
    evidence, answers = record(up, wavs, lengths)
    seen = []
    for tau in (-1.0, float(np.median(evidence)), 99.0):
        exit = Exit(leaving(up), tau)
        live = run_until_exit(up, wavs, lengths, exit)
        assert live.depth.tolist() == replay(evidence, exit, up.exits).tolist()
        seen.append(set(live.depth.tolist()))
        for row, depth in enumerate(live.depth.tolist()):
            expected = answers[depth][row]
            assert up.decode(live.answers[row], "asr") == up.decode(expected, "asr")
            assert all(map(torch.equal, parts_of(live.answers[row]), parts_of(expected)))
    assert seen[0] == {up.card.depth} and seen[2] == {up.exits[0]}


def parts_of(answer):
    """Tensors of an answer: a CTC head's scores, or what a decoder wrote beside them."""
    return [answer] if isinstance(answer, torch.Tensor) else list(answer)


@pytest.mark.parametrize("name", SYSTEMS)
def test_never_leaving_is_the_full_model(name, heard):
    wavs, lengths = heard[0][:1, :3000], heard[1][:1]
    up = build_upstream(name, {"weights": "random"})
    assert up.backbone is up and up.card.tasks == up.answers == ("asr",)
    never = run_until_exit(up, wavs, lengths, Exit(leaving(up), -1.0))
    full = run_until_exit(up.backbone, wavs, lengths, Exit((up.card.depth,)))
    assert never.depth.tolist() == [12] and torch.equal(never.answers[0], full.answers[0])
    by_hand = up.scores(12, full.walked[-1][0], full.frames)[0]
    torch.testing.assert_close(full.answers[0], by_hand, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(full.answers[0].exp().sum(-1), torch.ones(len(full.answers[0])))


def test_a_single_exit_answers_at_its_end_and_is_a_cut_of_the_trunk(heard):
    wavs, lengths = heard[0][:1, :3000], heard[1][:1]
    up = build_upstream("wav2vec2_ctc", {"weights": "pretrained", "single": "4"})
    assert (up.exits, up.knob, up.card.evidence, up.card.depth) == ((), None, "", 4)
    assert up.card.name == "wav2vec2_ctc.tiny(weights=pretrained, single=4)"
    live = run_until_exit(up, wavs, lengths, Exit((4,)))
    trunk = build_upstream("hubert.tiny").net
    with torch.no_grad():
        states = list(trunk.states(wavs, lengths))
    assert torch.equal(live.walked[-1][0], states[4]) and len(live.answers) == 1
    assert [f.sentence for f in check_upstream(speller(exits=(), blocks=2)) if not f.ok] == []


def test_the_residual_stream_of_a_pre_norm_trunk_is_read_as_it_is(clips):
    """Zaiem et al.: no final norm, at the last depth either."""
    from earlyexit_superb.upstreams.backbones.hubert_weights import load
    from helpers.hubert import SMALL_LARGE

    net, _ = load("random", SMALL_LARGE)
    wavs, lengths = clips[0][None], torch.tensor([len(clips[0])])
    with torch.no_grad():
        usual, raw = (list(net.states(wavs, lengths, residual=r)) for r in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(usual[:-1], raw[:-1], strict=True))
    torch.testing.assert_close(net.encoder.layer_norm(raw[-1]), usual[-1])
    assert not torch.allclose(raw[-1], usual[-1], atol=0.1)
    with torch.device("meta"):
        large = build_upstream("zaiem.large", {"weights": "random"})
    assert large.trunk.tap == "residual" and build_upstream("zaiem").trunk.tap == "block"


def test_gradients_reach_the_trunk_through_the_scores_of_a_batch(heard):
    up = SmallSpeller()
    frames = up.frames(heard[1])
    walk = up.states(*heard)
    losses = [
        up.scores(k, state, frames)[..., 0].sum() for k, state in enumerate(walk) if k in (1, 3)
    ]
    sum(losses).backward()
    names = {name for name, p in up.named_parameters() if p.grad is not None}
    assert names == {name for name, _ in up.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hubert_ee.base", "wav2vec2_ctc.base", "zaiem.large"])
def test_at_its_published_size_it_leaves_early_and_spells(name):
    up = build_upstream(name, {"weights": "random"})
    wav, lengths = 0.1 * torch.randn(1, 16_000), torch.tensor([16_000])
    first = up.exits[0]
    left = run_until_exit(up, wav, lengths, Exit(leaving(up), 99.0))
    assert left.depth.tolist() == [first] == [len(left.walked) - 1]
    assert left.answers[0].shape == (49, len(up.alphabet))
    assert isinstance(up.decode(left.answers[0], "asr"), str)
    with torch.no_grad():
        counted = products(lambda: up.answer(first, left.walked[-1][0], left.frames))
    assert counted == up.answer_macs(16_000, first)


# ---- bad input ----


def about(**more):
    return {"name": "it", "revision": "random-0", "source": "tests", "tuned_on": ""} | more


@pytest.mark.parametrize(
    "depths, alphabet, said",
    [
        ((1, 2), CHARACTERS, "heads are at 1, 2, and toy ends at depth 3, which needs one"),
        ((0, 3), CHARACTERS, "none may be at 0"),
        ((1, 3), LETTERS_31, "heads tell 32 symbols apart, and the alphabet letters has 31"),
    ],
)
def test_heads_that_do_not_fit_are_refused(depths, alphabet, said):
    bank = heads.new(dict.fromkeys(depths, ATTENTION), 16, 32)
    with pytest.raises(UsageError, match=said):
        Recogniser(Toy(), bank, alphabet, "entropy", **about())


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("hubert_ee.big", {}, "hubert_ee has no tag 'big': known: base, tiny"),
        ("hubert_ee", {"branch": "lite"}, "did you mean light"),
        ("hubert_ee", {"criterion": "entropie"}, "did you mean entropy"),
        ("wav2vec2_ctc", {"head": "one"}, "head is separate or tied, not 'one'"),
        ("wav2vec2_ctc", {"single": "13"}, "single is 1 to 12 blocks, or 0, not 13"),
        ("zaiem.large", {}, "no trained weights of zaiem.large .*run_benchmark.py train zaiem"),
    ],
)
def test_options_that_will_not_do_are_refused(name, options, said):
    with pytest.raises(UsageError, match=said):
        build_upstream(name, options)


def test_a_mean_depth_that_cannot_be_is_refused():
    up = build_upstream("zaiem")
    assert up.check_knob(7.0) == up.check_knob(12.0) == "" and up.knob_values == (9.0,)
    with pytest.raises(UsageError, match="mean depth of 6 cannot be reached"):
        up.check_knob(6.0)


@pytest.mark.parametrize("name", ["hubert_ee", "wav2vec2_ctc", "zaiem", "conformer_aed"])
def test_a_criterion_that_can_decide_nothing_is_refused(name):
    given = {} if name.startswith("conformer") else {"weights": "random"}
    with pytest.raises(UsageError, match=r"no 99 in a row can agree .* criterion=patience:\d or f"):
        build_upstream(name, given | {"criterion": "patience:99"})
    with pytest.raises(UsageError, match="with one exit no criterion decides anything"):
        build_upstream(name, {"weights": "random", "single": "4", "criterion": "margin"})
