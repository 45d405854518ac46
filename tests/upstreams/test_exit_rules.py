"""Margin and patience: their arithmetic, their costs, and that they exit live as replayed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import Exit, leaving, replay, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream, tasks
from earlyexit_superb.upstreams.daisy import entropy
from earlyexit_superb.upstreams.patience import Patience
from helpers import TOY, command, evidence_of, jsons
from torch import nn
from torch.nn.functional import one_hot
from toys.toy import Toy

RULES = ("daisy", "margin", "patience")


@pytest.fixture(scope="module", params=RULES)
def rule(request):
    return build_upstream(request.param)


@pytest.fixture(scope="module")
def margin():
    return build_upstream("margin")


@pytest.fixture(scope="module")
def patient():
    return build_upstream("patience", {"backbone": TOY, "branches": "random"})


def heard(clips):
    lengths = torch.tensor([len(clip) for clip in clips])
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths


def exits_of(evidence, upstream):
    """Exits at every depth, from never to at once, patient or not."""
    taus = np.quantile(evidence, np.linspace(0, 1, 5)).tolist()
    everywhere = leaving(upstream)
    return [
        Exit(everywhere, tau + 1e-4, patience)
        for tau in (-1.0, *taus, 99.0)
        for patience in (1, 2, 3)
    ]


# ---- what the numbers are ----


def test_margin_is_one_minus_the_difference_of_the_two_largest_probabilities(margin):
    tell = margin.unsure
    some = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.45, 0.45], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(tell(some.log()), torch.tensor([0.5, 1.0, 0.0]))
    logits = 4 * torch.randn(300, 48, generator=torch.Generator().manual_seed(0))
    ordered = logits.softmax(-1).sort(-1).values
    torch.testing.assert_close(tell(logits), 1 - (ordered[:, -1] - ordered[:, -2]))
    assert torch.corrcoef(torch.stack([tell(logits), entropy(logits)]))[0, 1] > 0.5


def test_patience_counts_the_frames_that_two_branches_name_otherwise(patient):
    state, previous = torch.randn(2, 9, 16), torch.randn(2, 9, 16)
    frames = torch.tensor([9, 4])
    names = [patient.branches[k](x).argmax(-1) for k, x in ((1, state), (0, previous))]
    changed = [
        float((a[:n] != b[:n]).float().mean()) for a, b, n in zip(*names, (9, 4), strict=True)
    ]
    assert patient.evidence(2, state, previous, frames).tolist() == pytest.approx(changed)


def test_depths_that_name_every_frame_alike_agree(patient):
    with torch.no_grad():
        for number, branch in enumerate(patient.branches):
            kept = branch.weight.clone(), branch.bias.clone()
            branch.weight.zero_()
            branch.bias.copy_(one_hot(torch.tensor(7 + number // 2), branch.out_features))
            branch.kept = kept
        state, frames = torch.randn(1, 5, 16), torch.tensor([5])
        found = [float(patient.evidence(k, state, state, frames)) for k in patient.exits]
        for branch in patient.branches:
            branch.weight.copy_(branch.kept[0]), branch.bias.copy_(branch.kept[1])
    assert patient.exits == (2, 3) and found == [0.0, 1.0]


def test_frames_of_others_and_padding_do_not_count(rule):
    draw = torch.Generator().manual_seed(0)
    state, previous = (torch.randn(2, 6, rule.card.dim, generator=draw) for _ in range(2))
    frames = torch.tensor([6, 3])
    both = rule.evidence(3, state, previous, frames)
    alone = rule.evidence(3, state[1:, :3], previous[1:, :3], frames[1:])
    torch.testing.assert_close(both[1:], alone)


def test_a_test_of_patience_costs_two_branches_and_of_margin_one(margin):
    one = build_upstream("daisy").evidence_macs(16_000, 4)
    assert margin.evidence_macs(16_000, 4) == one > 0
    assert build_upstream("patience").evidence_macs(16_000, 4) == 2 * one


def test_the_three_rules_read_the_same_branches_on_the_same_backbone(rule):
    daisy = build_upstream("daisy")
    assert rule.card.revision == daisy.card.revision
    assert rule.backbone.card == daisy.backbone.card and rule.card.name.endswith(".tiny")
    pairs = zip(rule.branches.parameters(), daisy.branches.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# ---- exits ----


def test_replay_is_the_live_run_and_never_exiting_is_the_full_model(rule, clips):
    wavs, lengths = heard([clip[:5000] for clip in clips[:3]])
    evidence = evidence_of(rule, wavs, lengths)
    with torch.no_grad():
        full = torch.stack(list(rule.backbone.states(wavs, lengths)))
    for exit in exits_of(evidence, rule)[::4]:
        live = run_until_exit(rule, wavs, lengths, exit)
        assert live.depth.tolist() == replay(evidence, exit, rule.exits).tolist()
    never = run_until_exit(rule, wavs, lengths, Exit(leaving(rule), -1.0, 2))
    torch.testing.assert_close(never.states, full)


def test_a_patient_batch_leaves_as_its_members_do(patient, clips):
    wavs, lengths = heard([clip[: 1600 + 900 * i] for i, clip in enumerate(clips)])
    evidence, seen = evidence_of(patient, wavs, lengths), set()
    for exit in exits_of(evidence, patient):
        together = run_until_exit(patient, wavs, lengths, exit).depth.tolist()
        rows = zip(wavs, lengths, strict=True)
        alone = [run_until_exit(patient, w[None, :n], n[None], exit).depth.item() for w, n in rows]
        assert together == alone == replay(evidence, exit, patient.exits).tolist()
        seen |= set(together)
    assert seen == {2, 3}


# ---- the knobs ----


def test_a_tolerance_is_a_share_that_still_agrees():
    patient = build_upstream("patience", {"branches": "random", "tolerance": "0.9"})
    assert patient.card.name == "patience.tiny(branches=random, tolerance=0.9)"
    shares = np.array([[1 / 10, 2 / 20, 11 / 100]], np.float32)
    tau = np.float32(patient.tau(shares, 2.0))
    assert (shares < tau).tolist() == [[True, True, False]] and patient.patience(2.0) == 2
    whole = build_upstream("patience", {"tolerance": "1"})
    assert whole.card.name == "patience.tiny(tolerance=1)" and 0 < whole.tau(shares, 1.0) < 1e-30
    evidence = np.array([[0.8, 0.2, 0.4], [0.6, 0.4, 0.2]], np.float32)
    assert build_upstream("patience").tau(evidence, 3.0) == pytest.approx((0.7 + 0.3) / 2)


@pytest.mark.parametrize("value", [0.0, 1.5, -1.0])
def test_patience_is_a_number_of_depths(patient, value):
    with pytest.raises(UsageError, match=r"number of depths, 1, 2, 3, \.\.\., not"):
        patient.check_knob(value)


@pytest.mark.parametrize("name", ["margin", "layer_similarity"])
def test_a_mean_depth_that_cannot_be_is_refused_before_anything_is_heard(name):
    upstream = build_upstream(name)
    assert upstream.check_knob(1.0) == upstream.check_knob(12.0) == ""
    for value in (0.5, 13.0):
        with pytest.raises(UsageError, match=f"mean depth of {value:g} cannot be reached"):
            upstream.check_knob(value)


def test_more_patience_than_there_are_depths_is_said(patient):
    assert patient.check_knob(1.0) == "" and "nothing exits" in patient.check_knob(2.0)
    with pytest.raises(UsageError, match="tolerance is a share of frames, 0 to 1, not 1.1"):
        build_upstream("patience", {"tolerance": "1.1"})


class Six(Toy):
    """Six blocks, so that patience has room, each worth more than two branches."""

    def __init__(self):
        super().__init__(blocks=6)
        self.card = replace(self.card, name="six")

    def macs(self, samples, depth):
        return 1000 * super().macs(samples, depth)


class Settling(Patience):
    """One branch at all depths of six blocks: what it names settles as the states do."""

    def __init__(self):
        super().__init__(backbone=f"{__file__}:Six", branches="random")
        self.branches = nn.ModuleList([self.branches[0]] * 6)
        self.card = replace(self.card, name="settling")


class AllAtOnce(Toy):
    """Computes all depths whatever the exit is."""

    def __init__(self):
        super().__init__()
        self.card = replace(self.card, name="allatonce", stepped=False)


class OneBlock(Toy):
    def __init__(self):
        super().__init__(blocks=1)


def test_a_row_says_how_patient_it_was_and_its_exits_are_the_live_ones(
    corpus, tmp_path, shared_cache
):
    line = command(corpus, tmp_path)
    line[line.index("--upstream") + 1] = f"{__file__}:Settling"
    line += ["--knob", "patience=1,2", "--span", "all", "min-max", "--budget", "5%"]
    assert main(line) == 0
    upstream, seen, left_at = Settling(), set(), set()
    task = tasks.get("se")
    items = task.corpus(corpus, task.protocols["mini"]).splits["test"]
    for row in jsons(tmp_path).values():
        if row["cell"]["knob"] is None:
            continue
        told, value = row["detail"]["exit"], int(row["cell"]["value"])
        assert told.get("patience", 1) == value
        exit = Exit(tuple(told["depths"]), -np.inf if told["tau"] is None else told["tau"], value)
        histogram = [0] * 7
        for item in items:
            wav = task.load(item).wav[None]
            left = run_until_exit(upstream, wav, torch.tensor([wav.shape[1]]), exit)
            histogram[int(left.depth)] += 1
        assert histogram == row["exit_histogram"]
        seen.add((row["cell"]["exit"], value, row["cell"]["span"]))
        assert set(np.flatnonzero(histogram)) <= set(exit.places)
        left_at |= set(np.flatnonzero(histogram))
    spans, exits = ("all", "min-max"), ("adaptive", "budget 5%")
    assert seen == {(exit, n, span) for exit in exits for n in (1, 2) for span in spans}
    assert len(left_at) > 2


@pytest.mark.parametrize("name", [*RULES, "layer_similarity"])
def test_no_rule_exits_from_what_is_computed_at_once(name):
    more = {} if name == "layer_similarity" else {"branches": "random"}
    with pytest.raises(UsageError, match="allatonce computes all its depths at once"):
        build_upstream(name, {"backbone": f"{__file__}:AllAtOnce"} | more)


def test_one_block_has_nothing_to_compare_it_with():
    with pytest.raises(UsageError, match="compares successive depths, and toy has one block"):
        build_upstream("patience", {"backbone": f"{__file__}:OneBlock", "branches": "random"})


def test_a_row_says_what_its_backbone_took():
    """layerdrop has neither a front to choose nor a tap."""
    usual = build_upstream("daisy", {"backbone": "layerdrop", "branches": "random"})
    asked = {"backbone": "layerdrop", "branches": "random", "front": "block_input"}
    assert build_upstream("daisy", asked).card.name == usual.card.name
    with pytest.raises(UsageError, match="layerdrop has no option tap; leave it out"):
        build_upstream("daisy", asked | {"tap": "ffn"})
