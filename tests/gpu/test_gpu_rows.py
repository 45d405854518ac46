"""Rows made on a device, task by task: what they say of it, that they are made once, and that
their heads are at home on a CPU.
"""

import json

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark import trainer
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import extract, scoring
from earlyexit_superb.benchmark.engine.evaluation import evaluation
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.engine.timing import machine
from earlyexit_superb.benchmark.exiting import Exit, run_until_exit
from helpers import TASKS, installed_for

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("own_cache")]
SETTINGS = {"steps": "6", "eval_every": "3", "batch": "3"}
MORE = {"asr": {"bucket": "0"}, "sid": {"batch": "8"}, "se": {}, "ss": {}}


@pytest.fixture(params=TASKS)
def config(request, device, corpora, tmp_path):
    """A run of daisy.tiny on a task's small corpus."""
    installed_for(request.param)
    return RunConfig(
        "daisy",
        request.param,
        {"rho": (1.0,)},
        ("mean",),
        corpora[request.param],
        "mini",
        device=device,
        results=tmp_path / "rows",
        settings=SETTINGS | MORE[request.param],
    )


def line(config, *more):
    settings = [f"{key}={value}" for key, value in config.settings.items()]
    words = ["--upstream", config.upstream, "--task", config.task, "--rho", "1.0"]
    words += ["--span", "mean", "--data", str(config.data), "--protocol", config.protocol]
    words += ["--device", config.device, "--results", str(config.results)]
    return [*words, "--set", *settings, *more]


def rows(config):
    return {
        p: json.loads(p.read_text()) for p in config.results.glob(f"{config.task}/*/*/*/*.json")
    }


def numbers(config):
    """Of every row, what is a number of its means and its depth."""
    found = {}
    for path, row in rows(config).items():
        values = [score["mean"] for score in row["scores"].values()] + [row["depth"]]
        found[path.name] = [value for value in values if value is not None]
    return found


def test_a_run_on_a_device(config, torchs_own_precision, monkeypatch):
    """Its rows; the same from what it kept, with nothing heard and nothing trained again."""
    assert main(line(config)) == 0 and not torch.backends.cudnn.allow_tf32
    made = {p.name: row for p, row in rows(config).items() if "unprocessed" not in p.name}
    assert len(made) == 5 and all(row["device"] == machine(config.device) for row in made.values())
    for row in made.values():
        cost = row["cost"]
        assert cost["rtfx"] > 0 and cost["peak_mib"] >= 0 and cost["timed"] > 0
        scored = next(iter(row["scores"].values()))
        assert sum(row["exit_histogram"]) == scored["n"] + scored["failed"]
        assert row["detail"]["training"]["updates_skipped"] == 0
        assert None not in row["detail"]["training"]["dev_by_step"].values()
        if config.device == "cuda":
            assert cost["peak_mib"] > 0.1
    heads = sorted((config.results / "heads").glob("*.safetensors"))
    assert heads and not list(config.results.rglob("unfinished-*"))
    before = {p: p.stat().st_mtime_ns for p in config.results.rglob("*.json")}
    first = numbers(config)
    monkeypatch.setattr(trainer, "train", None)  # would raise if called
    monkeypatch.setattr(extract, "extract", None)
    assert main(line(config)) == 0
    assert before == {p: p.stat().st_mtime_ns for p in config.results.rglob("*.json")}
    for path in rows(config):
        path.unlink()
    assert main(line(config)) == 0
    again = numbers(config)
    assert again.keys() == first.keys()
    for name, values in first.items():
        assert again[name] == pytest.approx(values, rel=1e-3, abs=1e-3), name


@pytest.mark.usefixtures("full_precision")
def test_heads_trained_on_a_device_say_the_same_on_a_cpu(config):
    """Predictions of a padded batch at different depths, and the scores of an utterance."""
    exp = resolve(config)
    wanted = [row for row in exp.rows if row.cell.exit in ("full", "adaptive")]
    ev = evaluation(exp, wanted)
    assert {ev.features["test"].batch([0]).frames.device.type} == {config.device}
    scoring.train(ev, [])
    batch, depth = ev.features["test"].batch([0, 1, 2]), torch.tensor([12, 3, 7])
    example = exp.task.load(exp.splits["test"][0])
    for row in wanted:
        head, _ = scoring.load_head(ev, row)
        assert {p.device.type for p in head.parameters()} == {"cpu"}
        said = []
        for on in ("cpu", config.device):
            head = head.to(on)
            states, frames, samples = (
                x.to(on) for x in (batch.states[row.normalise], batch.frames, batch.samples)
            )
            with torch.no_grad():
                said.append(head(head.prepared(states), depth, frames, samples).cpu())
        here, there = said
        assert torch.isfinite(here).all()
        assert float((here - there).abs().max()) <= 1e-3 * float(here.abs().max())
        counted = int(batch.frames[0])
        a, b = (exp.task.score(of[0], example, counted, exp.setup) for of in said)
        for name in (metric.name for metric in exp.task.metrics):
            if isinstance(a[name], float):
                assert a[name] == pytest.approx(b[name], rel=1e-2, abs=1e-2)


@pytest.mark.usefixtures("full_precision")
def test_exits_of_rows_are_those_of_live_runs(config):
    """Thresholds are calibrated on training speech, so no evidence lies on them."""
    exp = resolve(config)
    ev = evaluation(exp, [row for row in exp.rows if row.cell.exit == "adaptive"])
    [(row, exit)] = ev.exits.items()
    evidence = ev.features["test"].evidence
    clear = abs(np.asarray(evidence) - exit.taus[0]).min(1) >= 1e-4
    assert clear.any()
    depths = scoring.depths_at_test(ev, row)
    for i in map(int, np.flatnonzero(clear)):
        item = exp.splits["test"][i]
        wav = exp.task.load(item).wav[None].to(config.device)
        live = run_until_exit(exp.upstream, wav, torch.tensor([item.samples]), exit)
        assert live.depth.tolist() == [depths[i]]
    full = run_until_exit(exp.upstream, wav, torch.tensor([item.samples]), Exit((12,)))
    assert full.states.device.type == config.device and bool(full.states.isfinite().all())
