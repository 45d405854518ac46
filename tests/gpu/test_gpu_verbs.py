"""Clocks, memory and the verbs that take a device."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import cost, speed_bench, speed_exits, timing
from earlyexit_superb.benchmark.exiting import Exit
from helpers import STEPS, TOY, installed, installed_for

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("torchs_own_precision", "own_cache")]


def test_deeper_takes_longer(device, heard, there):
    """Live runs by turns; and within one pass, by marks that do not hold it up."""
    items, load = heard
    exits = {"1": Exit((1,)), "6": Exit((6,)), "full": Exit((12,))}
    seconds = cost.seconds(there, items, load, exits, device, passes=5)
    median = {name: float(timing.summed_median(of)) for name, of in seconds.items()}
    assert 0 < median["1"] < median["full"] and median["6"] < 1.2 * median["full"]
    assert cost.saved(seconds["full"], seconds["1"]).median > 0
    wavs = [load(item).wav.to(device) for item in items[:2]]
    bench = speed_bench.Bench(there, "fp32", device, wavs, 2)
    walks = speed_exits.Walks(bench, True)
    for _ in range(3):
        for wav in wavs:
            walks(wav)
    parts = walks.parts()
    assert len(parts) == 13 + 12 and (parts > 0).all() and parts.sum() < 60
    assert np.flatnonzero(walks.of_branches()).tolist() == list(range(2, 25, 2))


def test_memory_and_the_name_of_the_machine(device, heard, there):
    items, load = heard
    peak = cost.peak_memory(there, items, load, Exit((12,)), device)
    if device == "cuda":
        seconds = max(item.samples for item in items) / 16_000
        assert 0.1 < peak < 1000 * seconds
        assert timing.machine(device) == torch.cuda.get_device_name(0)
        of = timing.peak_memory(lambda _: torch.empty(2**20, device="cuda"), None, device)
        assert of == pytest.approx(4, abs=0.1)
    assert timing.machine(device)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_speed(device, tmp_path, capsys, precision):
    few = ["--utterances", "2", "--rounds", "1", "--device", device, "--precision", precision]
    line = ["speed", "--upstream", "daisy.tiny", *few, "--csv", str(tmp_path / "speed.csv")]
    assert main(line) == 0
    rows = list(csv.DictReader((tmp_path / "speed.csv").open()))
    assert {row["device"] for row in rows} == {timing.machine(device)}
    assert {row["precision"] for row in rows} == {precision}
    assert all(float(row["seconds"]) > 0 for row in rows)
    ours = [int(row["batch"]) for row in rows if row["system"] == "ours"]
    assert ours == list(speed_bench.GPU_BATCHES if device == "cuda" else (1, speed_bench.PADDED))
    if device == "cuda":
        assert all(float(row["peak_mib"]) > 0 for row in rows)
    assert "roofline" in capsys.readouterr().out


def test_a_sweep_of_two_cells(device, corpus, tmp_path, capsys):
    installed_for("se")
    line = ["sweep", "--upstream", TOY, "--task", "se", "--seed", "0", "1", "--workers", "2"]
    line += ["--threads", "1", "--data", str(corpus), "--protocol", "mini", "--device", device]
    line += ["--results", str(tmp_path / "rows"), *STEPS]
    assert main(line) == 0, capsys.readouterr().err[-3000:]
    rows = [json.loads(p.read_text()) for p in (tmp_path / "rows").glob("se/*/*/*/*.json")]
    named = {row["device"] for row in rows if row["device"]}
    assert len(rows) == 13 and "mean of 2" in capsys.readouterr().out
    assert len(named) == 1
    if device == "cuda":  # on a CPU the threads of a cell are in its name
        assert named == {timing.machine(device)}


def test_exit_depths_of_noisy_speech(device, corpora, tmp_path, capsys):
    installed("matplotlib")
    flags = ["figure", "4", "--upstream", "daisy", "--speech", str(corpora["asr"])]
    flags += ["--utterances", "3", "--kinds", "noise", "--rho", "1.0", "--device", device]
    tables = {}
    for on in ("cpu", device):
        assert main([*flags, "--device", on, "--out", str(tmp_path / on)]) == 0
        tables[on] = pd.read_csv(capsys.readouterr().out.split()[0])
    assert len(tables[device]) == 3 * (1 + 3)
    off = (tables["cpu"]["depth"] - tables[device]["depth"]).abs()
    assert tables[device]["tau"].to_numpy() == pytest.approx(tables["cpu"]["tau"], rel=1e-3)
    assert (off > 0).mean() <= 0.2


def test_midpoints_are_those_of_the_cpu(device, corpora, capsys):
    found = []
    for on in ("cpu", device):
        line = ["midpoints", "--upstream", "daisy", "--task", "sid", "--data", str(corpora["sid"])]
        assert main([*line, "--protocol", "mini", "--device", on, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["midpoint"])
    assert found[0] == pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize("task", ["se", "sid", "asr", "ss"])
def test_plan_times_every_task_on_the_device(device, corpora, tmp_path, capsys, task):
    if task == "ss":
        installed("asteroid")
    line = ["plan", "--upstream", "daisy", "--task", task, "--data", str(corpora[task])]
    line += ["--protocol", "mini", "--device", device, "--results", str(tmp_path)]
    assert main([*line, *(["--set", "batch=4", "bucket=0"] if task == "asr" else [])]) == 0
    assert "heads" in capsys.readouterr().out


def test_probes_of_single_depths(device, corpora, tmp_path, capsys):
    installed("lightning_fabric")
    line = ["probe", "--upstream", "hubert", "--task", "sid", "--data", str(corpora["sid"])]
    line += ["--depths", "0", "12", "--seed", "0", "--device", device, "--protocol", "mini"]
    line += ["--results", str(tmp_path), "--set", "steps=6", "eval_every=3", "batch=8"]
    assert main(line) == 0
    assert len(pd.read_csv(capsys.readouterr().err.split()[-1])) >= 2
