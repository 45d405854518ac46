"""What the paper leaves open and the protocol decides: a weight row a depth, leaving together."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.contract import Protocol
from earlyexit_superb.benchmark.engine.evaluation import evaluation
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.protocols import YOUNGER, run_protocol
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.exiting import Exit, TruncatedWeightedSum, run_until_exit
from earlyexit_superb.benchmark.registry import tasks
from helpers import TOY, command, jsons

SWITCHES = ("sum_rows", "exits_together")
pytestmark = pytest.mark.usefixtures("shared_cache")
MIX = torch.randn(5, 3, 7, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([4, 1, 2])


def test_a_row_of_weights_a_depth_is_read_and_learned_at_that_depth_alone():
    states, depth = MIX
    rows, shared = TruncatedWeightedSum(5, rows=True), TruncatedWeightedSum(5)
    assert torch.equal(rows(states, depth), shared(states, depth))  # all zero at the start
    torch.nn.init.normal_(rows.scores)
    for i, k in enumerate(depth.tolist()):
        shared.scores.data = rows.scores.data[k]
        alone = shared(states[:, i : i + 1], depth[i : i + 1])
        assert torch.allclose(rows(states, depth)[i], alone[0], atol=1e-6)
        assert torch.equal(rows.weights(5, depth[i : i + 1]), shared.weights(5, depth[i : i + 1]))
    rows(states, depth).square().sum().backward()
    learned = rows.scores.grad != 0
    assert learned.any(1).tolist() == [False, True, True, False, True]
    assert not learned.triu(1).any()  # beyond its depth a row weighs nothing


def test_new_fields_move_no_row_that_does_not_use_them():
    """Each field where it is: in every recipe, or in one task's."""
    plain = Protocol("p", "s", lr=1e-3, steps=1, batch=1, eval_every=1)
    others = [protocol for name in tasks.names() for protocol in tasks.get(name).protocols.values()]
    for name in YOUNGER:
        protocol = next(of for of in (plain, *others) if hasattr(of, name))
        default = next(field.default for field in fields(protocol) if field.name == name)
        protocol = replace(protocol, **{name: default})
        usual = run_protocol(protocol, {})
        assert name not in set(usual.settings) | set(usual.head)
        values = {"sum_lr": "10", "outputs": "2"}
        used = run_protocol(protocol, {name: values.get(name, "yes")})
        assert used.settings[name] == used.head[name] != getattr(protocol, name)
        assert used.name == "custom"


@pytest.fixture(scope="module")
def switched(corpus, tmp_path_factory):
    """The usual row of one rho in all depths, and with each switch: their JSONs by switch."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        for switch in ("", *SWITCHES):
            results = tmp_path_factory.mktemp("switch")
            flags = command(corpus, results, "--rho", "0.98", "--span", "all")
            assert main([*flags, *(["--set", f"{switch}=yes"] if switch else [])]) == 0
            made[switch] = {
                (r["cell"]["exit"], r["cell"]["layer_norm"]): r for r in jsons(results).values()
            }
    return made


def test_where_one_depth_is_left_at_the_switches_change_nothing(switched):
    for fixed in (("full", True), ("full", False), ("depth 1", True)):
        scores = {name: rows[fixed]["scores"] for name, rows in switched.items()}
        assert scores["sum_rows"] == scores["exits_together"] == scores[""]
        weights = [rows[fixed]["layer_weights"] for rows in switched.values()]
        assert all(w == pytest.approx(weights[0]) for w in weights)


def test_where_depths_differ_they_do(switched):
    rows = [of["adaptive", True] for of in switched.values()]
    assert sum(n > 0 for n in rows[0]["detail"]["train_exit"]["histogram"]) > 1
    assert len({str(r["layer_weights"]) for r in rows}) == 3
    # who leaves where at test is decided one by one in all of them
    assert all(r["exit_histogram"] == rows[0]["exit_histogram"] for r in rows)


def test_a_training_batch_leaves_where_the_live_batch_does(corpus, tmp_path):
    settings = {"steps": "6", "eval_every": "3", "batch": "3", "exits_together": "yes"}
    exp = resolve(
        RunConfig(
            TOY,
            "se",
            {"rho": (0.98,)},
            ("all",),
            data=corpus,
            protocol="mini",
            settings=settings,
            results=tmp_path,
        )
    )
    ev = evaluation(exp, exp.rows[-1:])
    [plan] = ev.plans.values()
    for rows in ([0, 5, 7], [3, 1], [2]):
        wavs = [exp.task.load(exp.splits["train"][row]).wav for row in rows]
        lengths = torch.tensor([len(wav) for wav in wavs])
        padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
        exit = Exit(exp.upstream.exits, ev.calibrated[0.98].tau)
        live = run_until_exit(exp.upstream, padded, lengths, exit, granularity="batch")
        assert plan.depths(rows).tolist() == live.depth.tolist()
    assert [int(plan.depths([i])[0]) for i in range(12)] == plan.train.tolist()
    assert len(np.unique(plan.train)) > 1
