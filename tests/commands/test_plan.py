"""What a run would cost, before it costs anything: counts are the run's own, seconds are an
estimate and say so."""

import re
from dataclasses import replace

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.commands import plan as planning
from earlyexit_superb.benchmark.engine import cache_layout, cost
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.upstreams import hubert
from helpers import ROOT, TOY, command

pytestmark = pytest.mark.usefixtures("shared_cache")
MINI = {"steps": "6", "eval_every": "3", "batch": "3"}


def config(corpus, results, upstream=TOY, settings=MINI, **more):
    given = {"data": corpus, "protocol": "mini", "settings": settings, "results": results}
    return RunConfig(upstream, "se", **given | more)


def test_counts_are_the_runs(corpus, tmp_path):
    asked = config(corpus, tmp_path, knobs={"rho": (1.0, 0.5)}, lr="sweep")
    run, made = resolve(asked), planning.plan(asked)
    text = "\n".join(made.lines)
    gib = sum(cache_layout.size(run.upstream, items) for items in run.splits.values()) / 2**30
    audio = {split: cost.audio_seconds(items) / 3600 for split, items in run.splits.items()}
    hours = sum(audio.values())
    for split, items in run.splits.items():
        assert re.search(rf"{split} +{len(items)} utterances +{audio[split]:.3f} h", text)
    assert f"{hours:.3f} h of audio" in text
    assert f"{gib:.2f} GiB of states ({gib / hours:.2f} GiB an hour" in text
    assert "heads: 18 of " in text and "for 8 rows" in text  # 6 plans x 3 rates
    assert "learning rates 0.02, 0.005, 0.00125" in text
    assert "6 updates of 3 x 1 utterances (1.5 times" in text and "2 looks" in text
    assert all(s >= 0 for s in made.seconds.values()) and made.an_hour > 0
    assert made.seconds["training the heads"] > 0
    assert made.seconds["upstream again, a batch at a time"] == 0
    assert not list(tmp_path.rglob("*.json"))


def test_whoever_answers_hears_what_is_asked_of_it_alone(corpus, tmp_path):
    answering = f"{ROOT / 'tests' / 'toys' / 'contract.py'}:AnswersBesides"
    run = resolve(config(corpus, tmp_path, answering, knobs={"rho": (1.0,)}))
    answers = replace(run.task, name="asr")  # which it does
    counts = planning.counted(replace(run, task=answers))
    assert counts.passed == ["train", "test"] and counts.heads == 0
    assert planning.counted(replace(run, task=answers, values=())).passed == ["test"]
    assert planning.counted(run).passed == ["train", "dev", "test"]


def test_own_thresholds_are_timed_each_and_controls_are_not(corpus, tmp_path):
    few = {**MINI, "exits": "tau:0.5,tau:0.6,oracle,random,batch:2"}
    config_ = config(corpus, tmp_path, settings=few, knobs={"rho": (1.0,)}, span=("mean",))
    assert planning.counted(resolve(config_)).exits == 6  # full, depths 0 and 1, adaptive, two taus


def test_states_that_do_not_fit_cost_passes(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "SPARE", 1 << 60)
    made = planning.plan(config(corpus, tmp_path, knobs={"rho": (1.0,)}))
    assert made.seconds["upstream again, a batch at a time"] > 0
    assert "which has no room" in "\n".join(made.lines)


def test_a_finished_run_costs_nothing(corpus, tmp_path, capsys):
    flags = command(corpus, tmp_path, "--rho", "1.0")
    assert main(["plan", *flags]) == 0 and "an estimate" in capsys.readouterr().out
    assert main(flags) == 0
    capsys.readouterr()
    assert main(["plan", *flags]) == 0
    assert "every row of this run is there already" in capsys.readouterr().out


def test_weights_that_are_not_here_are_stood_in_for(corpus, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    random = {"weights": "random"}
    run = planning._run(config(corpus, tmp_path, "daisy.tiny", random))
    assert "random" in run.upstream.card.revision
    monkeypatch.setitem(hubert.WEIGHTS, "tiny", str(tmp_path / "none.safetensors"))
    run = planning._run(config(corpus, tmp_path, "daisy", {}))
    assert run.upstream.card.revision.startswith("random-") and run.upstream.card.depth == 12
    with pytest.raises(UsageError, match="there is no file .*other.safetensors"):
        other = random | {"weights": "other.safetensors", "branches": "random"}
        planning._run(config(corpus, tmp_path, "daisy", other))


@pytest.mark.parametrize(
    "line, said",
    [
        ("plan", "--upstream is missing"),
        ("plan se", "--upstream is missing"),
        ("plan si --upstream daisy", "no task is called 'si'"),
    ],
)
def test_bad_requests_are_a_runs(line, said, capsys):
    assert main(line.split()) == 2 and said in capsys.readouterr().err


def test_of_who_answers_by_itself_no_head_is_planned(small_builtins, tmp_path, capsys):
    line = ["plan", "asr", "--upstream", "conformer_ctc", "--results", str(tmp_path)]
    assert main(line) == 0
    said = capsys.readouterr().out
    assert "heads: none are trained, it answers by itself" in said and "updates of" not in said
