"""What exits lose, what is made of it, and who learns from it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from earlyexit_superb.benchmark import distributed, trainer
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.upstreams.training import optimisers
from earlyexit_superb.upstreams.training.recognition_loss import Heard, averaged, ctc, total
from earlyexit_superb.upstreams.training.recognition_stages import stages_of
from helpers.spelling import RECIPE, Small
from torch import nn
from torch.nn import functional as F

TARGETS = [[5, 6, 6], [7], [8, 9, 10, 11]]
FRAMES = torch.tensor([9, 12, 3])  # too few for the last target


def scores(seed=0):
    logits = torch.randn(3, 12, 32, generator=torch.Generator().manual_seed(seed))
    return logits.requires_grad_().log_softmax(-1)


def batch(share=1.0, of_all=3, of_update=3.0):
    of = {"of_all": of_all, "of_update": of_update}
    return SimpleNamespace(targets=TARGETS, share=share, **of)


def test_means_are_those_of_torch_and_of_fairseq():
    log_probs = scores()
    each, of = ctc(log_probs, FRAMES, TARGETS, 0), {}
    for per in ("utterance", "symbol", "batch"):
        of[per] = averaged(each, TARGETS, replace(RECIPE, per=per), batch()).item()
    flat, sizes = torch.tensor([i for target in TARGETS for i in target]), torch.tensor([3, 1, 4])
    given = (log_probs.transpose(0, 1), flat, FRAMES, sizes)
    torchs = {kind: F.ctc_loss(*given, 0, kind, True).item() for kind in ("mean", "sum")}
    assert of["symbol"] == pytest.approx(torchs["mean"], rel=1e-5)
    assert of["batch"] == pytest.approx(torchs["sum"], rel=1e-5)
    assert of["utterance"] == pytest.approx(torchs["sum"] / 3, rel=1e-5)
    assert each[2] == 0  # what does not fit its frames


def test_what_stands_behind_a_row_does_not_count():
    log_probs = scores().detach()
    other = log_probs.clone()
    other[0, 9:] = float("nan")
    assert torch.equal(ctc(other, FRAMES, TARGETS, 0), ctc(log_probs, FRAMES, TARGETS, 0))


def test_processes_together_lose_what_one_loses(monkeypatch):
    each = ctc(scores(), FRAMES, TARGETS, 0)
    for per in ("utterance", "symbol", "batch"):
        recipe = replace(RECIPE, per=per)
        alone = averaged(each, TARGETS, recipe, batch())
        monkeypatch.setattr(distributed, "rank_and_size", lambda: (0, 2))
        parts = [averaged(each[k::2], TARGETS[k::2], recipe, batch()) for k in range(2)]
        # one that only keeps step adds nothing
        assert averaged(each[:1], TARGETS[:1], recipe, batch(share=0.0)) == 0
        monkeypatch.undo()
        assert float(sum(parts)) / 2 == pytest.approx(float(alone), rel=1e-5)


def test_exits_are_added_with_lambda_and_learn_from_the_last_one():
    recogniser = Small()
    every = {depth: scores(depth) for depth in (1, 2, 3)}
    heard = Heard({}, every, FRAMES, FRAMES)
    each = {
        depth: averaged(ctc(every[depth], FRAMES, TARGETS, 0), TARGETS, RECIPE, batch())
        for depth in every
    }

    def loss(**changes):
        recipe = replace(RECIPE, **changes)
        [stage] = stages_of(recipe, (1, 2, 3))
        return total(recipe, heard, batch(), recogniser, stage.weights).item()

    assert loss() == pytest.approx(float(sum(each.values())), rel=1e-5)
    assert loss(lambda_=0.2) == pytest.approx(float(each[3] + (each[1] + each[2]) / 5), rel=1e-5)
    rows = zip(every[3], FRAMES.tolist(), strict=True)
    told = [recogniser.alphabet.greedy(row[:n]) for row, n in rows]
    taught = {
        depth: averaged(ctc(every[depth], FRAMES, told, 0), told, RECIPE, batch())
        for depth in (1, 2)
    }
    mixed = each[3] + sum(0.3 * each[k] + 0.7 * taught[k] for k in (1, 2))
    assert loss(kd=0.7) == pytest.approx(float(mixed), rel=1e-5)


def test_two_stages_tune_the_backbone_first():
    recipe = replace(
        RECIPE, strategy="two_stage", second_steps=9, second_lr=0.5, best="last", lambda_=0.1
    )
    first, second = stages_of(recipe, (5, 8, 12))
    assert (first.weights, first.backbone, first.steps) == ({12: 1.0}, True, RECIPE.steps)
    assert (second.weights, second.backbone, second.steps) == ({5: 1.0, 8: 1.0}, False, 9)
    assert second.head_lr == 0.5 and second.mean and not first.mean
    [alone] = stages_of(recipe, (4,))  # nothing comes after the last exit
    assert alone.weights == {4: 1.0} and alone.backbone


def test_backbone_and_heads_may_have_optimisers_of_their_own():
    backbone, heads = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

    def made(kind=""):
        parts = backbone.parameters(), heads.parameters()
        return optimisers.optimiser(replace(RECIPE, lr=0.1), *parts, 0.9, kind)

    assert type(made()) is torch.optim.AdamW and len(made().param_groups) == 2
    both = made("adadelta")
    assert [group["lr"] for group in both.param_groups] == [0.1, 0.9]
    assert [type(part) for part in both.parts] == [torch.optim.AdamW, torch.optim.Adadelta]
    before = {k: v.clone() for k, v in heads.state_dict().items()}
    (backbone(torch.ones(1, 2)) + heads(torch.ones(1, 2))).sum().backward()
    both.step()
    assert all(not torch.equal(v, before[k]) for k, v in heads.state_dict().items())
    other = made("adadelta")
    other.load_state_dict(both.state_dict())
    assert other.param_groups[1] is other.parts[1].param_groups[0]
    assert [len(part.state) for part in other.parts] == [2, 2]
    for state in ({}, {"parts": [both.parts[0].state_dict()]}):
        with pytest.raises((KeyError, ValueError)):
            other.load_state_dict(state)
    backbone.requires_grad_(False)
    [group] = made("adadelta").param_groups
    assert group["lr"] == 0.9


def test_biases_and_norms_need_not_decay_and_are_clipped_with_their_part():
    backbone, heads = (torch.nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)) for _ in "ab")
    recipe = replace(RECIPE, weight_decay=0.5, decayed="weights")
    made = optimisers.optimiser(recipe, backbone.parameters(), heads.parameters(), 0.9, "")
    told = [(g["part"], g["weight_decay"], len(g["params"]), g["lr"]) for g in made.param_groups]
    assert told == [
        (0, 0.5, 1, recipe.lr),
        (0, 0.0, 3, recipe.lr),
        (1, 0.5, 1, 0.9),
        (1, 0, 3, 0.9),
    ]
    both = nn.ModuleList([backbone, heads])
    training = trainer._Training(
        None, both, None, made, trainer.Schedule(1, 1, clip=0.1), None, 0, dict, {}
    )
    (backbone(torch.randn(4, 2)) * heads(torch.randn(4, 2))).sum().backward()
    training.clip_gradients()
    for part in (backbone, heads):
        norm = torch.stack([p.grad.norm() for p in part.parameters()]).norm()
        assert float(norm) == pytest.approx(0.1, rel=1e-3)


def test_an_update_is_a_mean_over_its_utterances_whatever_its_micro_batches_hold():
    losses = torch.tensor([1.0, 2.0, 3.0, 6.0])
    parts = [(losses[:1], 1), (losses[1:], 3)]  # two micro-batches, of one and of three

    def mean(per):
        recipe = replace(RECIPE, per=per)
        targets = [[5]] * 4  # of one symbol, so both means are over utterances
        each = [
            averaged(some, targets[:n], recipe, batch(of_all=n, of_update=2.0)) for some, n in parts
        ]
        return float(sum(each)) / len(each)  # as gradients are averaged

    assert mean("utterance") == pytest.approx(float(losses.mean()))
    assert mean("symbol") == pytest.approx((1 + 11 / 3) / 2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"strategy": "jiont"}, "strategy 'jiont': did you mean joint"),
        ({"schedule": "tristage"}, "did you mean tri_stage"),
        ({"batch": 0}, "nothing limits a micro-batch"),
        ({"layerdrop": 1.0}, "layerdrop is a probability below 1"),
        ({"kd": 1.5}, "kd is a share from 0 to 1"),
        ({"betas": (0.9,)}, "betas are two numbers below 1"),
        ({"speeds": (3.0,)}, "speeds are factors from 0.5 to 2"),
        ({"schedule": "noam"}, "rises in warmup updates; add --set warmup=N"),
    ],
)
def test_recipes_that_mean_nothing_are_refused(change, sentence):
    with pytest.raises(UsageError, match=sentence):
        replace(RECIPE, **change)
