"""The test threshold apart from the one that heads are trained with."""

import json

import pytest
import torch
from earlyexit_superb.benchmark import calibration
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine.evaluation import evaluation
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.exiting import Exit, leaving, run_until_exit
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
    header, *lines = (surface / "leaderboard_se.md").read_text().splitlines()[2:]
    assert "| at test |" in header and len(lines) == 1 + 8 + 4


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
