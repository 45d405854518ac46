"""What a run would cost, before it costs anything: counts are the run's own, seconds are an estimate and say so."""
import re

import pytest
from earlyexit_superb.benchmark import cost, record
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.plan import plan
from earlyexit_superb.benchmark.run import RunConfig, experiment
from helpers import STEPS, TOY

pytestmark = pytest.mark.usefixtures("shared_cache")
MINI = {"steps": "6", "eval_every": "3", "batch": "3"}


def test_counts_are_the_runs(corpus, tmp_path):
    config = RunConfig(TOY, "se", {"rho": (1.0, 0.5)}, data=corpus, protocol="mini", settings=MINI, results=tmp_path, lr="sweep")
    run, made = experiment(config), plan(config)
    text = "\n".join(made.lines)
    states = sum(record.size(run.upstream, items) for items in run.splits.values())
    hours = sum(cost.audio_seconds(items) for items in run.splits.values()) / 3600
    for split, items in run.splits.items():
        assert re.search(rf"{split} +{len(items)} utterances +{cost.audio_seconds(items) / 3600:.3f} h", text)
    assert f"{hours:.3f} h of audio" in text and f"{states / 2**30:.2f} GiB of states ({states / hours / 2**30:.2f} GiB an hour" in text
    assert "heads: 15 of " in text and "for 7 rows" in text and "learning rates 0.016, 0.004, 0.001" in text     # 5 plans x 3 rates
    assert "6 updates of 3 x 1 utterances (1.5 times" in text and "2 looks" in text
    assert all(s >= 0 for s in made.seconds.values()) and made.seconds["training the heads"] > 0 and made.an_hour > 0
    assert made.seconds["upstream again, a batch at a time"] == 0
    assert not list(tmp_path.rglob("*.json"))


def test_states_that_do_not_fit_cost_passes(corpus, tmp_path, monkeypatch):
    from earlyexit_superb.benchmark import plan as planning
    monkeypatch.setattr(planning, "SPARE", 1 << 60)
    made = plan(RunConfig(TOY, "se", {"rho": (1.0,)}, data=corpus, protocol="mini", settings=MINI, results=tmp_path))
    assert made.seconds["upstream again, a batch at a time"] > 0 and "which has no room" in "\n".join(made.lines)


def test_a_finished_run_costs_nothing(corpus, tmp_path, capsys):
    flags = ["--upstream", TOY, "--data", str(corpus), "--protocol", "mini", "--results", str(tmp_path), *STEPS, "--rho", "1.0"]
    assert main(["plan", "se", *flags]) == 0 and "an estimate" in capsys.readouterr().out
    assert main(["--task", "se", *flags]) == 0
    capsys.readouterr()
    assert main(["plan", "--task", "se", *flags]) == 0
    assert "every row of this run is there already" in capsys.readouterr().out


def test_weights_that_are_not_here_are_stood_in_for(corpus, monkeypatch, tmp_path):
    from earlyexit_superb.benchmark import plan as planning
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run = planning._run(RunConfig("daisy.tiny", "se", data=corpus, protocol="mini", settings={"weights": "random"}, results=tmp_path))
    assert "random" in run.upstream.card.revision
    monkeypatch.setitem(__import__("earlyexit_superb.upstreams.hubert", fromlist=["WEIGHTS"]).WEIGHTS, "tiny", str(tmp_path / "none.safetensors"))
    run = planning._run(RunConfig("daisy", "se", data=corpus, protocol="mini", results=tmp_path))
    assert run.upstream.card.revision.startswith("random-") and run.upstream.card.depth == 12


@pytest.mark.parametrize("line, said", [("", "--upstream is missing"), ("si --upstream daisy", "no task is called 'si'")])
def test_bad_requests_are_a_runs(line, said, capsys):
    assert main(["plan", *line.split()]) == 2 and said in capsys.readouterr().err
