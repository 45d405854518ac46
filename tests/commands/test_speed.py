"""The verb speed: its table, what a saving is compared with, and wrong requests."""

import csv
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.commands import speed
from earlyexit_superb.benchmark.engine import speed_bench, speed_exits
from earlyexit_superb.benchmark.errors import MachineError
from earlyexit_superb.benchmark.registry import upstream_class, upstreams
from helpers import TOY
from helpers.hubert import SMALL

TOYS = TOY.replace("toy.py:Toy", "contract.py:")


def args(**more):
    given = {"data": None, "utterances": 2, "rounds": 3, "device": "cpu", "precision": None}
    return SimpleNamespace(**given | {"only": "exits"} | more)


def test_what_a_saving_is_compared_with(monkeypatch):
    """Two utterances: a full pass takes 5 s, a block 0.25 s, a branch 0.0125 s. Leaving after 6
    took 3.65 s: 1.35 of 1.5 s."""

    def fixed(runners, units, rounds, device, what):
        taken = {"full": 5.0, "exit 6": 3.65, "daisy, two depths tested": 3.7}
        return {n: np.full((rounds, len(units)), taken.get(n, 2.5)) for n in runners}

    class Walks(speed_exits.Walks):
        def parts(self):
            a_pass = [2.0] + ([0.25, 0.0125] if self.tested else [0.25]) * 12
            return 2 * np.array(a_pass)

    monkeypatch.setattr(speed_bench, "paired", fixed)
    monkeypatch.setattr(speed_exits, "Walks", Walks)
    monkeypatch.setattr(speed_exits, "peak_memory", lambda *_: None)
    bench, _ = speed.prepared(args(), "daisy.tiny", {})
    made, _ = speed_exits.exits(bench)
    rows = {row["system"]: row for row in made}
    assert rows["exit 6"]["realised"] == pytest.approx(0.9)
    assert rows["exit 6"]["ideal_saving"] == pytest.approx(0.3)
    two, all_of_them = (rows[f"daisy, {n} depths tested"] for n in ("two", "all"))
    assert two["branches"] == 2 and two["realised"] == pytest.approx(1.3 / 1.5)
    assert all_of_them["branches"] == all_of_them["exit"] == 6
    assert rows["all branches, nobody leaves"]["time_saved"] == pytest.approx(-0.03)
    said = speed.goals(pd.DataFrame(made, columns=list(speed.COLUMNS)))
    said = {line.split(")  ")[1]: line for line in said}
    leaving = "of the ideal saving realised, exit 6 (left after 6, 0 branches)"
    assert "MISSED 0.900" in said[leaving]
    assert "met    0.030" in said["all branches, share of the full pass"]


def test_the_command_prints_and_keeps_a_table(tmp_path, capsys, monkeypatch):
    def none_here(shape, device):
        raise MachineError("it cannot be imported; run: pip install it")

    for name in ("of_transformers", "of_torchaudio", "of_s3prl"):
        monkeypatch.setattr(f"earlyexit_superb.benchmark.reference_models.{name}", none_here)
    folder = tmp_path / "wavs"
    for i in range(4):
        audio.write(folder / f"{i}.wav", np.full(8000 + 800 * i, 0.1, np.float32))
    few = ["--data", str(folder), "--utterances", "2", "--rounds", "1"]
    line = ["speed", "--upstream", "daisy.tiny", *few, "--csv", str(tmp_path / "speed.csv")]
    assert main(line) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader((tmp_path / "speed.csv").open()))
    assert tuple(rows[0]) == speed.COLUMNS and all(float(r["seconds"]) > 0 for r in rows)
    full = [r for r in rows if r["part"] == "full depth"]
    assert [r["system"] for r in full] == ["ours", "ours"] and full[0]["to_best_reference"] == ""
    early = [int(r["exit"]) for r in rows if r["system"].startswith("exit ")]
    assert early == list(range(1, 12))
    middle_of_each_half = (8800 + 10_400) / 16_000
    assert {float(r["audio_seconds"]) for r in rows} == {middle_of_each_half}
    assert "s3prl is unavailable" in err and "roofline" in out and "goal" in out
    assert "daisy.tiny(weights=random, branches=random), 12 blocks of 192" in out


def test_any_upstream_can_be_timed(tmp_path, capsys):
    """One that other libraries do not have, and one without exits."""
    few = ["--utterances", "1", "--rounds", "1"]
    assert main(["speed", "--upstream", TOY, *few]) == 0
    out, err = capsys.readouterr()
    assert "unavailable" not in err and "toy, all depths tested" in out
    audio.write(tmp_path / "a.wav", np.full(8000, 0.1, np.float32))
    few += ["--data", str(tmp_path)]
    assert main(["speed", "--upstream", "hubert.tiny", "--only", "exits", *few]) == 0
    out, _ = capsys.readouterr()
    assert main(["speed", "--upstream", TOYS + "SelfAnswering", "--only", "exits", *few]) == 0
    assert "selfanswering, two depths tested" in capsys.readouterr().out
    assert (
        "exit 11" in out and "branches, nobody leaves" not in out and "all branches take" not in out
    )


def test_what_speed_times_by_default_is_of_published_size():
    assert upstreams.full_size.partition(".")[0] in upstreams.names()
    assert upstream_class(upstreams.full_size).knob and upstream_class(upstreams.full_size).stand_in


@pytest.mark.parametrize(
    "wrong",
    [
        ["--rounds", "0"],
        ["--data", "{folder}", "--utterances", "1"],
        ["--data", "{folder}/nowhere"],
        ["--upstream", "daisy.huge"],
        ["--set", "weight=random"],
        ["--device", "tpu"],
    ],
    ids=str,
)
def test_wrong_requests_are_told(wrong, tmp_path):
    wrong = [word.format(folder=tmp_path) for word in wrong]
    assert main(["speed", "--upstream", "daisy.tiny", *wrong]) == 2


@pytest.mark.parametrize("name, states", [("transformers", 4), ("torchaudio", 3), ("s3prl", 4)])
def test_reference_models_run_as_they_should(name, states):
    from earlyexit_superb.benchmark import reference_models

    try:
        reference = getattr(reference_models, f"of_{name}")(SMALL, "cpu")
    except MachineError as error:
        pytest.skip(str(error))
    wavs = [0.1 * torch.randn(n) for n in (16_000, 8_000)]
    with torch.no_grad():
        for batch in (wavs, wavs[:1]):
            found = reference(batch)
            found = found.hidden_states if name == "transformers" else found
            found = found[0] if name == "torchaudio" else found
            assert len(found) == states and {s.shape[0] for s in found} == {len(batch)}
            assert {s.shape[2] for s in found} == {SMALL.dim}
