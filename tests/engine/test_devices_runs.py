"""Whole commands on the second of two pretended GPUs (helpers/gpus.py), and whose rows and heads a
table shows that were made on several devices.
"""

import json

import numpy as np
import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import timing
from earlyexit_superb.upstreams.training import heard, masked_crops
from helpers import ROOT, STEPS, TASKS, TOY, command, fit, installed, installed_for, jsons, sounds

AT = "cuda:1"
MAKE = {"sid": sounds.people, "asr": sounds.spoken_list, "ss": sounds.mixed}
FEW = [word.replace("steps=6", "steps=2").replace("eval_every=3", "eval_every=2") for word in STEPS]


SLOW = {"asr", "ss"}  # se and sid take both ways through a device


@pytest.mark.parametrize(
    "task", [pytest.param(t, marks=[pytest.mark.slow] * (t in SLOW)) for t in TASKS]
)
def test_a_run_of_every_task(task, gpus, corpus, tmp_path, own_cache, capsys):
    """Everything is computed there; what a CPU would say, up to the order of its sums."""
    installed_for(task)
    data = MAKE[task](tmp_path / "data") if task in MAKE else corpus
    line = ["--upstream", TOY, "--task", task, "--data", str(data), "--protocol", "mini", *FEW]
    line += ["bucket=0"] * (task == "asr") + ["--span", "mean", "--results"]
    assert main([*line, str(tmp_path / "there"), "--device", AT]) == 0
    assert set(gpus.used) == {AT} and gpus.early == 0 and set(gpus.asked) == {1}
    rows = [json.loads(p.read_text()) for p in (tmp_path / "there").glob(f"{task}/*/*/*/*.json")]
    made = [row for row in rows if row["device"]]
    assert len(made) >= 4 and {row["device"] for row in made} == {"GPU 1"}
    assert {row["detail"]["training"]["device"] for row in made} == {"GPU 1"}
    assert "made earlier" not in capsys.readouterr().err


def train_line(speech, out, name, *settings):
    return [
        *["train", name, "--data", str(speech / "clips"), "--noise", str(speech / "noise")],
        *["--out", str(out), "--device", AT, "--set", *settings],
    ]


def test_a_backbone_is_trained(gpus, speech, tmp_path, monkeypatch):
    """All stages, where the front-end's frames have no room on the GPU."""
    installed("lightning_fabric", "torchaudio", "sklearn")
    monkeypatch.setattr(masked_crops, "LOOKS", 1)
    gpus.free = 2**10
    path = fit(speech, tmp_path, AT, front_steps=1, mfcc_steps=1, block_steps=1)
    assert set(gpus.used) == {AT} and path.with_suffix(".json").exists()


@pytest.mark.parametrize(("free", "where"), [(199, "cpu"), (200, AT)])
def test_heard_frames_leave_half_of_the_memory_free(gpus, tmp_path, free, where):
    gpus.free = free
    for kind in ("clean", "noisy"):
        np.save(tmp_path / f"{kind}.npy", np.arange(25, dtype=np.float16))
    kept = heard.kept(tmp_path, ("clean", "noisy"), AT)
    assert {str(frames.device) for frames in kept} == {where}
    assert all(frames.tolist() == list(range(25)) for frames in kept)


@pytest.mark.parametrize(
    "preset", [["tiny", "heard=2", "frames=64"], ["paper"]], ids=lambda p: p[0]
)
def test_branches_are_trained(gpus, speech, tmp_path, preset):
    installed("lightning_fabric")
    words = ["weights=random", "steps=1", "batch=2", "every=1", *preset[1:]]
    line = train_line(speech, tmp_path, "daisy.tiny", *words)
    assert main([*line, "--preset", preset[0]]) == 0
    assert set(gpus.used) == {AT} and (tmp_path / "daisy.tiny.safetensors").exists()


@pytest.mark.parametrize("teacher", [[], ["--teacher", "hubert.tiny"]], ids=["alone", "taught"])
def test_an_upstream_of_a_users_is_trained(gpus, speech, tmp_path, teacher):
    installed("lightning_fabric")
    name = f"{ROOT / 'tests' / 'toys' / 'student.py'}:Student"
    assert main([*train_line(speech, tmp_path, name, "steps=2", "every=1"), *teacher]) == 0
    assert set(gpus.used) == {AT}


# ---- several devices in one folder ---------------------------------------------------------------


def test_rows_of_another_device_are_named(gpus, corpus, tmp_path, shared_cache, capsys):
    """On a GPU after a CPU: the rows are there, with a word about whose seconds they show; made
    anew, they are of heads trained there.
    """
    installed_for("se")
    line = command(corpus, tmp_path, "--span", "mean")
    assert main(line) == 0
    assert "made earlier" not in capsys.readouterr().err
    before = jsons(tmp_path)
    assert main([*line, "--device", AT]) == 0
    told = capsys.readouterr().err
    assert f"rows: made earlier on {timing.hardware('cpu')}, not on GPU 1 (--device {AT})" in told
    assert jsons(tmp_path) == before
    for path in tmp_path.glob("se/*/*/*/adaptive*.json"):
        path.unlink()
    assert main([*line, "--device", AT]) == 0
    told = capsys.readouterr().err
    assert f" rows: their heads were trained on {timing.hardware('cpu')} and are used" in told
    [row] = [row for name, row in jsons(tmp_path).items() if name.startswith("adaptive")]
    assert row["device"] == "GPU 1"
    assert row["detail"]["training"]["device"] == timing.hardware("cpu")


def test_threads_are_no_other_device():
    named = timing.machine("cpu")
    assert (
        timing.hardware_of(named)
        == timing.hardware("cpu")
        == timing.hardware_of(named.replace("cpu, ", "cpu, 1", 1))
    )
