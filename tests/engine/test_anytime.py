"""The test threshold apart from the one that heads are trained with: another value of the knob, a
budget, a bounded loss.
"""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from earlyexit_superb.benchmark import calibration
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import anytime, bounded
from earlyexit_superb.benchmark.engine.evaluation import evaluation
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.exiting import Exit, leaving, replay, run_until_exit
from earlyexit_superb.benchmark.report.screen import screen
from helpers import TOY, command, jsons

pytestmark = pytest.mark.usefixtures("shared_cache")
SURFACE = ("--rho", "0.8", "1.0", "--test-rho", "0.8", "1.0", "--span", "all", "mean")


@pytest.fixture(scope="module")
def surface(corpus, tmp_path_factory):
    """The results of two training values by two test values in two spans."""
    results = tmp_path_factory.mktemp("surface")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        assert main(command(corpus, results, *SURFACE)) == 0
    return results


def experiment(corpus, results, **more):
    settings = {"steps": "6", "eval_every": "3", "batch": "3"}
    more = {"knobs": {"rho": (0.8, 1.0)}, "span": ("all", "mean")} | more
    return resolve(
        RunConfig(
            TOY, "se", data=corpus, protocol="mini", results=results, settings=settings, **more
        )
    )


def adaptive(results):
    """Adaptive rows by training value, test value and span."""
    cells = {n: r for n, r in jsons(results).items() if r["cell"]["exit"] == "adaptive"}
    return {
        (r["cell"]["value"], r["cell"].get("test_value"), r["cell"]["span"]): r
        for r in cells.values()
    }


def test_a_surface_has_all_pairs_and_one_head_a_training_value(surface):
    assert set(adaptive(surface)) == {
        (rho, None if at_test == rho else at_test, span)
        for rho in (0.8, 1.0)
        for at_test in (0.8, 1.0)
        for span in ("all", "mean")
    }
    names = [json.loads(p.read_text())["name"] for p in (surface / "heads").glob("*.json")]
    assert sorted(n for n in names if n.startswith("rho")) == ["rho 0.8", "rho 1"]
    board = pd.read_csv(surface / "leaderboard_se.csv")
    assert len(board) == 8 + 5 and board["test_value"].notna().sum() == 4
    shown = screen(board)
    assert set(shown.loc[shown["exit"] == "adaptive", "at test"]) == {"0.80", "1.00"}
    assert set(shown.loc[shown["exit"] != "adaptive", "at test"]) == {""}


def test_the_value_of_training_at_test_is_the_row_without_one(surface, corpus, capsys):
    """Its cell too: what was there stays as it was, and nothing is made again."""
    before = {n: json.dumps(r) for n, r in jsons(surface).items()}
    assert main(command(corpus, surface, "--rho", "0.8", "1.0", "--span", "all", "mean")) == 0
    assert {n: json.dumps(r) for n, r in jsons(surface).items()} == before
    of_cells = [row.cell for row in experiment(corpus, surface).rows]
    assert {c.path(surface).name for c in of_cells} <= set(before)
    assert all(c.test_value is None and "test-" not in c.path(surface).name for c in of_cells)


def test_exits_are_those_of_the_test_value_in_spans_of_the_training_value(surface, corpus):
    exp = experiment(corpus, surface, test_knobs={"rho": (0.8, 1.0)})
    ev = evaluation(exp, [row for row in exp.rows if row.cell.exit == "adaptive"])
    for row, exit in ev.exits.items():
        trained = ev.calibrated[row.cell.value]
        value = row.cell.value if row.cell.test_value is None else row.cell.test_value
        assert exit.tau == ev.calibrated[value].tau
        assert exit.depths == calibration.span(row.cell.span, trained.exits, leaving(exp.upstream))
        assert (ev.plans[row].train == trained.exits).all()


def test_replay_at_another_value_equals_live(surface, corpus):
    exp = experiment(corpus, surface)
    wavs = [exp.task.load(item).wav[None] for item in exp.splits["test"]]
    for (_, at_test, _), made in adaptive(surface).items():
        if at_test is None:
            continue
        assert made["detail"]["calibration"]["test_value"] == at_test
        exit = Exit(tuple(made["detail"]["exit"]["depths"]), made["detail"]["exit"]["tau"])
        histogram = [0] * 4
        for wav in wavs:
            left = run_until_exit(exp.upstream, wav, torch.tensor([wav.shape[1]]), exit)
            histogram[int(left.depth)] += 1
        assert histogram == made["exit_histogram"]


def test_a_lower_value_at_test_goes_deeper_with_the_same_head(surface):
    rows = adaptive(surface)
    deeper, usual = rows[1.0, 0.8, "all"], rows[1.0, None, "all"]
    assert deeper["depth"] > usual["depth"]
    assert deeper["layer_weights"] == usual["layer_weights"]


@pytest.mark.parametrize(
    "more, said",
    [
        (("--test-rho", "-1"), "rho is a ratio from 0"),
        (("--test-knob", "depth=3"), "has no depth: turn its own knob with --test-knob rho=VALUE"),
        (("--test-rho", "1", "--test-knob", "rho=1"), "--test-rho and --test-knob rho=1 both turn"),
    ],
)
def test_a_wrong_value_is_one_sentence(corpus, tmp_path, capsys, more, said):
    daisy = ["--upstream", "daisy", "--task", "se", "--data", str(corpus), "--protocol", "mini"]
    assert main([*daisy, "--results", str(tmp_path), *more]) == 2
    assert said in capsys.readouterr().err


# ---- budgets ----


@pytest.fixture(scope="module")
def chosen(surface, corpus):
    """The surface's folder with budgets and bounds beside it: their rows, by exit and value."""
    asked = ("--budget", "2%", "--max-loss", "0.9", "0.05", "--delta", "0.5", "--loss-bound", "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EARLYEXIT_SUPERB_CACHE", str(surface.parent / "cache"))
        heads = sorted((surface / "heads").iterdir())
        assert main(command(corpus, surface, "--rho", "0.8", "1.0", *asked)) == 0
        assert sorted((surface / "heads").iterdir()) == heads
    return {
        (r["cell"]["exit"], r["cell"]["value"]): r
        for r in jsons(surface).values()
        if "max_loss" in r["detail"] or "budget" in r["detail"]
    }


def test_a_budget_is_saved_on_the_training_split_and_no_threshold_below_saves_it(
    chosen, surface, corpus
):
    made = chosen["budget 2%", 0.8]
    assert made["cell"]["span"] == "all"
    assert made["detail"]["budget"]["saved"] >= made["detail"]["budget"]["target"] == 2
    asked = anytime.Anytime(budgets=(0.02,))
    exp = experiment(corpus, surface, anytime=asked, span=())
    [row, _] = [row for row in exp.rows if row.budget]
    ev = evaluation(exp, [row])
    exit, evidence = ev.exits[row], ev.features["train"].evidence
    assert exit.tau == made["detail"]["exit"]["tau"]
    taus = calibration.thresholds(evidence, exit.depths, exp.upstream.exits)
    below = taus[np.searchsorted(taus, exit.tau) - 1]
    for tau, enough in ((exit.tau, True), (float(below), False)):
        other = Exit(exit.depths, tau)
        left = replay(evidence, other)
        share = anytime.saved(exp.upstream, exp.splits["train"], left, other, False)
        assert (share >= 0.02) == enough
    # both training values have the same record, so the same threshold, and each its own head
    assert made["detail"]["exit"] == chosen["budget 2%", 1.0]["detail"]["exit"]


def test_a_budget_beyond_the_first_exit_is_refused_with_what_is_possible(corpus, tmp_path, capsys):
    assert main(command(corpus, tmp_path, "--rho", "1.0", "--budget", "90%")) == 2
    said = capsys.readouterr().err
    assert "leaving at 1 always saves 6.5 % of the training split" in said
    assert not list(tmp_path.rglob("*.json"))


# ---- bounded losses ----


def test_a_bound_is_chosen_on_dev_and_checked_on_test(chosen):
    loose = chosen["max loss 0.9 of 1 delta 0.5", 0.8]["detail"]
    assert loose["max_loss"]["passed"] >= 1 and loose["max_loss"]["p_value"] <= 0.5
    assert loose["max_loss"]["risk"] < 0.9 and loose["exit"]["tau"] is not None
    said = loose["max_loss"]
    assert said["held"] == (said["test_risk"] <= 0.9) and said["test_n"] <= 5
    assert said["n"] + said["left_out"] == 4 and said["fewest"] == 1


def test_too_few_dev_utterances_leave_full_depth_and_say_how_many_it_takes(chosen):
    made = chosen["max loss 0.05 of 1 delta 0.5", 1.0]
    assert made["exit_histogram"][:3] == [0, 0, 0] and made["cost"]["macs_saved"] == 0
    said = made["detail"]["max_loss"]
    assert said["passed"] == said["risk"] == said["test_risk"] == 0 and said["held"]
    assert said["fewest"] == 14 and "it takes 14" in said["notice"]


def test_settings_tried_come_from_training_alone_and_fall_in_depth(surface, corpus):
    asked = anytime.Anytime(max_losses=(0.1,))
    exp = experiment(corpus, surface, anytime=asked, span=("all", "mean"))
    rows = [row for row in exp.rows if row.max_loss]
    ev = evaluation(exp, rows)
    for row in rows:
        tried, evidence = bounded.settings(ev, row), ev.features["train"].evidence
        if not tried:  # a span of full depth alone
            assert row.cell.span == "mean"
            continue
        depths = [replay(evidence, exit).mean() for exit in tried]
        assert depths == sorted(depths, reverse=True) and depths[-1] == tried[0].depths[0]
        # full depth comes before all; a span that ends earlier is itself a setting to be tried
        assert (tried[0].tau == -np.inf) == (tried[0].depths[-1] < 3)


@pytest.mark.parametrize(
    "more, said",
    [
        (("--budget", "30"), "such as 30% or 0.3, not '30'"),
        (("--max-loss", "0"), "--max-loss is above 0"),
        (("--max-loss", "2"), "one utterance loses at most 1 MOS-LQO, wide-band of pesq"),
        (("--max-loss", "1", "--delta", "1"), "--delta is a probability below 1"),
        (("--upstream", "hubert", "--budget", "5%"), "hubert.tiny does not exit by itself"),
    ],
)
def test_what_cannot_be_chosen_is_one_sentence(corpus, tmp_path, capsys, more, said):
    assert main([*command(corpus, tmp_path), *more]) == 2
    assert said in capsys.readouterr().err
