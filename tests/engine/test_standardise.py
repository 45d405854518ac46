"""States standardised per depth: what comes out, that it is the same for everybody, and that a
stored head keeps it. The weighted sum at a learning rate of its own.
"""

import json
from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import head_files, head_training
from earlyexit_superb.benchmark.engine.feature_cache import cached_features
from earlyexit_superb.benchmark.engine.heads import Downstream
from earlyexit_superb.benchmark.engine.standardise import Standardise, Statistics, statistics
from earlyexit_superb.benchmark.exiting import layer_normed
from earlyexit_superb.benchmark.registry import tasks
from helpers import command, numbers
from toys.toy import Toy, at

TASK = tasks.get("se")
MINI = replace(TASK.protocols["mini"], standardise_states=False, sum_lr=1.0)
ON = replace(MINI, standardise_states=True)
DIM, BLOCKS = 16, 3


@pytest.fixture
def toy_features(split):
    """Of four utterances: recorded states, depths of very different scale."""
    toy, (items, load) = Toy(dim=DIM, blocks=BLOCKS).eval(), split
    with torch.no_grad():
        toy.front.weight *= 50
        toy.front.bias[3] += 200
    return cached_features(toy, items, load, "train")


def frames_of(features, normalise):
    """(depths, all frames, D)"""
    states = [features.batch([row]).states[normalise][:, 0] for row in range(len(features.items))]
    return torch.cat(states, dim=1)


@pytest.mark.parametrize("normalise", [False, True])
def test_every_depth_has_mean_0_and_deviation_1_over_the_split(toy_features, normalise):
    standardise = Standardise(BLOCKS + 1, DIM)
    standardise.measure(statistics(toy_features)[normalise])
    frames = frames_of(toy_features, normalise)
    out = standardise(frames[:, None])[:, 0]
    torch.testing.assert_close(out.mean(1), torch.zeros(BLOCKS + 1, DIM), atol=1e-3, rtol=0)
    torch.testing.assert_close(out.std(1, correction=0), torch.ones(BLOCKS + 1, DIM))
    assert frames.mean(1).abs().max() > 2  # there was something to do


def test_a_constant_dimension_is_centred_and_an_unmeasured_depth_left_alone():
    standardise, states = Standardise(3, 4), torch.randn(3, 2, 5, 4)
    states[0, ..., 1], states[1, ..., 2] = 1e4, 0
    seen = states[:2].double()
    standardise.measure(Statistics(seen.mean((1, 2)), seen.std((1, 2), correction=0)))
    out = standardise(states)
    assert out.isfinite().all() and torch.equal(out[2], states[2])
    assert not out[0, ..., 1].any() and not out[1, ..., 2].any()
    assert torch.equal(standardise(states[:1]), out[:1])  # fewer depths are the first of all


def test_a_batch_equals_its_members(toy_features):
    torch.manual_seed(0)
    head = Downstream(TASK, at(ON, DIM), BLOCKS, True).eval()
    head.standardise.measure(statistics(toy_features)[True])
    depth = torch.tensor([3, 1, 2])

    def predictions(rows, depth):
        batch = toy_features.batch(rows)
        states = head.prepared(batch.states[True])
        return head(states, depth, batch.frames, batch.samples)

    together = predictions([0, 1, 2], depth)
    for place in range(3):
        alone = predictions([place], depth[[place]])[0]
        torch.testing.assert_close(together[place, : len(alone)], alone, atol=1e-5, rtol=1e-5)


def test_statistics_of_a_pooled_task_are_those_of_its_means(split):
    items, load = split
    kept = cached_features(Toy(dim=DIM).eval(), items, load, "train", keep="means")
    for normalise, found in statistics(kept).items():
        means = kept.batch(range(len(items))).states[normalise][:, :, 0].double()
        torch.testing.assert_close(found.mean, means.mean(1))
        torch.testing.assert_close(found.deviation, means.std(1, correction=0))


def test_off_is_as_it_always_was():
    torch.manual_seed(0)
    head, states = Downstream(TASK, at(MINI, DIM), BLOCKS, True), torch.randn(4, 2, 9, DIM)
    assert head.prepared(states) is states and not list(head.buffers())
    [group] = head_training._parameter_groups(head, 0.5, 1.0)
    assert group["lr"] == 0.5 and len(list(group["params"])) == len(list(head.parameters()))
    rest, scores = head_training._parameter_groups(head, 0.5, 10.0)
    [only] = scores["params"]
    assert only is head.featurizer.scores and (rest["lr"], scores["lr"]) == (0.5, 5.0)
    assert len(list(rest["params"])) == len(list(head.parameters())) - 1


MORE = ["standardise_states=true", "sum_lr=10"]


def test_a_stored_head_keeps_its_statistics_whoever_trained_it(
    shared_cache, corpus, tmp_path, monkeypatch
):
    """Several at a time, or one by one: the same numbers, and the head on disk standardises."""
    flags = ["--rho", "1.0", "--span", "mean", "--set", *MORE]
    assert main(command(corpus, tmp_path / "a", *flags)) == 0
    monkeypatch.setattr(head_training, "side_by_side", lambda *_: 1)
    assert main(command(corpus, tmp_path / "b", *flags)) == 0
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")
    [one, *_] = sorted((tmp_path / "a" / "heads").glob("*.json"))
    other = tmp_path / "b" / "heads" / one.name
    assert one.with_suffix(".safetensors").read_bytes() == (
        other.with_suffix(".safetensors").read_bytes()
    )
    known = json.loads(one.read_text())
    assert known["protocol"]["sum_lr"] == 10 and known["updates_skipped"] == 0
    head, _ = head_files.load(one.parent, one.stem, True, TASK, at(ON, DIM), BLOCKS)
    states = layer_normed(torch.randn(4, 1, 9, DIM))
    assert not torch.allclose(head.prepared(states), states)


@pytest.mark.slow
def test_the_weighted_sum_moves_as_far_as_its_rate_says(shared_cache, corpus, tmp_path):
    def spread(*more):
        out = tmp_path / "-".join(more)
        assert main(command(corpus, out, "--rho", "1.0", "--span", "mean", "--set", *more)) == 0
        weights = [row[-1] for row in numbers(out).values() if row[-1]]
        return max(max(w) - min(w) for w in weights)

    assert spread("sum_lr=30") > 5 * spread("sum_lr=2")
