"""Figures of the noise study: what they show is what the exits and the rows are."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from earlyexit_superb.benchmark.audio import read
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.exiting import Exit, run_until_exit
from earlyexit_superb.benchmark.report.figures import exit_depths_by_snr as depths
from earlyexit_superb.tasks.corpora import manifest
from earlyexit_superb.tasks.corpora.make_snr import make_snr
from helpers import TOY
from helpers.sounds import spoken_list, tree
from toys.toy import Toy


@pytest.fixture
def speech(tmp_path, own_cache):
    return spoken_list(tmp_path / "speech")


def numbers(path):
    return pd.read_csv(path, dtype={"snr": str})


def test_exit_depths_are_those_of_live_runs(speech, tmp_path, own_cache, capsys):
    flags = ["figure", "4", "--upstream", TOY, "--speech", str(speech), "--utterances", "3"]
    flags += ["--kinds", "noise", "music", "--rho", "1.0", "--out", str(tmp_path / "out")]
    assert main(flags) == 0
    paths = capsys.readouterr().out.split()
    assert [p.rpartition("_snr")[2] for p in paths] == [".csv", "_summary.csv", ".png", ".svg"]
    table = numbers(paths[0])
    assert len(table) == 3 * (1 + 2 * 3)
    [listed] = own_cache.glob("noisy/*/manifest.csv")
    heard = {entry.id: entry.path for entry in manifest.read(listed)}
    toy = Toy()
    for line in table.itertuples():
        end = "" if line.kind == "clean" else f".{line.kind}"
        wav = torch.from_numpy(read(heard[f"{line.utterance}{end}.{line.snr}"]))[None]
        live = run_until_exit(toy, wav, torch.tensor([wav.shape[1]]), Exit((1, 2, 3), line.tau))
        assert live.depth.tolist() == [line.depth]
    made = {p: p.stat().st_mtime_ns for p in own_cache.rglob("*") if p.is_file()}
    before = tree(tmp_path / "out")
    assert main(flags) == 0 and tree(tmp_path / "out") == before
    assert made == {p: p.stat().st_mtime_ns for p in own_cache.rglob("*") if p.is_file()}
    assert main([*flags, "--upstream", "hubert"]) == 2
    assert "does not exit by itself" in capsys.readouterr().err


def test_differences_to_clean_are_of_the_same_utterances():
    lines = [
        {"utterance": f"u{u}", "speaker": f"s{u // 5}", "kind": kind, "snr": snr, "depth": depth}
        for u in range(20)
        for kind, snr, depth in (("clean", "clean", 1 + u % 4), ("noise", "0", 3 + u % 4))
    ]
    table = pd.DataFrame(lines).assign(knob="rho", value=1.0)
    shuffled = table.sample(frac=1, random_state=0).sort_values("kind", kind="stable")
    clean, noisy = depths.summary(shuffled).to_dict("records")
    assert (clean["mean"], clean["difference"], clean["p"]) == (2.5, 0, 1)
    assert (noisy["difference"], noisy["difference_low"], noisy["difference_high"]) == (2, 2, 2)
    assert noisy["low"] < noisy["mean"] == 4.5 < noisy["high"] and noisy["speakers"] == 4
    assert (noisy["minimum"], noisy["maximum"], noisy["n"]) == (3, 6, 20)


def test_word_errors_by_ratio_add_up_to_the_rows(speech, tmp_path, capsys):
    data, out = tmp_path / "noisy", tmp_path / "results"
    make_snr(speech, data)
    flags = ["figure", "5", "--upstream", TOY, "--data", str(data), "--results", str(out)]
    flags += ["--rho", "0.98", "--span", "all", "--seed", "0", "1", "--set", "hidden=8"]
    flags += ["steps=2", "eval_every=2", "batch=3", "bucket=0"]
    assert main(flags) == 0
    paths = capsys.readouterr().out.split()
    assert [p.rpartition("_snr")[2] for p in paths] == [".csv", ".png", ".svg"]
    table = numbers(paths[0])
    rows = [json.loads(p.read_text()) for p in out.glob("asr/*/*/*/*.json")]
    for keys, of in table.fillna("").groupby(["exit", "value", "span"]):
        mine = [
            row
            for row in rows
            if tuple(row["cell"][k] or "" for k in ("exit", "value", "span")) == keys
            and row["cell"]["layer_norm"]
        ]
        [total] = of[of["snr"] == "all"].to_dict("records")
        parts = of[of["snr"] != "all"]
        assert list(parts["snr"]) == ["clean", "10", "5", "0"] and total["seeds"] == len(mine) == 2
        assert list(parts["n"]) == [4, 3, 2, 1] and parts["words"].sum() == total["words"]
        wer = np.mean([row["scores"]["wer"]["mean"] for row in mine])
        assert total["wer"] == pytest.approx(wer)
        assert (parts["wer"] * parts["words"]).sum() / total["words"] == pytest.approx(wer)
    costs = {r["cell"]["exit"]: r["cost"]["gmacs_per_s"] for r in rows if not r["cell"]["knob"]}
    fixed = {exit: cost for exit, cost in costs.items() if exit == "full" or "depth" in exit}
    mean = dict(list(table[table["snr"] == "all"].groupby("exit")))
    for line in mean["adaptive"].to_dict("records"):
        apart = {exit: abs(cost - line["gmacs_per_s"]) for exit, cost in fixed.items()}
        assert apart[line["equal"]] == min(apart.values()) and line["fixed"] == "depth 1"
        other = mean[line["fixed"]]["wer"].item()
        assert line["fixed_difference"] == pytest.approx(line["wer"] - other)
    assert mean["depth 1"]["fixed"].isna().all() and mean["full"]["equal"].isna().all()
    before = {p: p.stat().st_mtime_ns for p in out.glob("asr/*/*/*/*")}
    assert main(flags) == 0
    assert before == {p: p.stat().st_mtime_ns for p in out.glob("asr/*/*/*/*")}


def test_a_corpus_that_does_not_tell_its_ratios(speech, tmp_path, capsys):
    flags = ["figure", "5", "--upstream", TOY, "--data", str(speech), "--rho", "1"]
    assert main([*flags, "--results", str(tmp_path / "r")]) == 2
    assert "does not say how noisy an utterance is" in capsys.readouterr().err
