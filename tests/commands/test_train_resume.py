"""Training cut short, finished before, asked for otherwise, and shared by processes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from earlyexit_superb.benchmark.engine import training_start
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.soundness import SEAL
from helpers import ROOT, TOY
from helpers.students import STUDENT, errors, train
from safetensors.torch import load_file

SLOW = """
import sys, time
sys.path[:0] = sys.argv[1:3]
import run_benchmark
from pathlib import Path
from earlyexit_superb.benchmark import trainer
step = trainer.step_seed
def slow(*a): time.sleep(0.3); return step(*a)
trainer.step_seed = slow
from helpers import TOY
from helpers.students import train
train(Path(sys.argv[3]), Path(sys.argv[4]), teacher=TOY)
"""


def test_a_killed_training_goes_on_to_the_same_weights(speech, tmp_path, straight):
    """A real process, really killed, at a moment nobody chose."""
    words = [str(ROOT), str(ROOT / "tests"), str(speech), str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *words], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(errors(tmp_path)) < 4 and not (tmp_path / "student.safetensors").exists()
    ours, theirs = load_file(train(speech, tmp_path, teacher=TOY)), load_file(straight)
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_a_finished_training_opens_no_audio(speech, tmp_path, monkeypatch):
    first = train(speech, tmp_path).read_bytes()
    plugin, training = training_start.trainable(STUDENT)
    monkeypatch.setattr(plugin, "trained_by", dataclasses.replace(training, train=None))
    assert train(speech, tmp_path).read_bytes() == first


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"seed": 1},
            "differs in seed (there 0, asked for 1; see --seed); choose another --out, or begin",
        ),
        ({"settings": {"steps": "3"}}, "differs in steps (there 2, asked for 3; see --set steps)"),
        (
            {"settings": {"steps": "2", "dim": "8"}},
            "differs in dim (there none, asked for 8; see --set dim)",
        ),
        (
            {"teacher": TOY},
            "differs in teacher (there none, asked for 'toy seed-0'; see --teacher)",
        ),
        ({"noise": "clips"}, "differs in noise (there none"),
        ({"data": "noise"}, "differs in speech (there '"),
    ],
)
def test_another_training_does_not_go_on_in_the_same_folder(speech, tmp_path, changes, sentence):
    train(speech, tmp_path, settings={"steps": "2"})
    asked = {"settings": {"steps": "2"}} | changes
    for kind in ("noise", "data"):
        if kind in changes:
            asked[kind] = (speech / changes[kind],)
    with pytest.raises(UsageError) as refused:
        train(speech, tmp_path, **asked)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_one_that_was_refused_before_it_made_anything_stands_in_no_others_way(
    speech, tmp_path, monkeypatch
):
    """A mended recipe or corpus begins in the same folder; what has begun stays."""
    plugin, training = training_start.trainable(STUDENT)

    def refuses(recipe, data, run):
        raise UsageError("mend the transcript")

    with monkeypatch.context() as patch:
        patch.setattr(plugin, "trained_by", dataclasses.replace(training, train=refuses))
        with pytest.raises(UsageError, match="mend the transcript"):
            train(speech, tmp_path, settings={"steps": "3"})
    path = train(speech, tmp_path, settings={"steps": "2"})
    record = json.loads((path.with_suffix("") / "training.json").read_text())
    assert record["settings"]["steps"] == 2 and record["finished"]
    path.unlink()  # its resume point is there
    with pytest.raises(UsageError, match="differs in steps"):
        train(speech, tmp_path, settings={"steps": "3"})


def test_files_named_by_settings_count_by_their_content(tmp_path):
    from earlyexit_superb.benchmark.engine.training_record import _identity

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "w").write_text("same")
    there, moved = (_identity(str(tmp_path / folder / "w")) for folder in ("a", "b"))
    assert there == moved and there.startswith("w sha256:")
    (tmp_path / "b" / "w").write_text("else")
    assert (
        _identity(str(tmp_path / "b" / "w")) != there and _identity("hubert.tiny") == "hubert.tiny"
    )


@pytest.mark.slow
def test_two_processes_train_what_one_trains(speech, tmp_path, straight):
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    words = [
        "train",
        STUDENT,
        "--data",
        str(speech / "clips"),
        "--teacher",
        TOY,
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*torchrun, str(ROOT / "run_benchmark.py"), *words],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "tests")},
    )
    assert done.stdout.split() == [str(tmp_path / "student.safetensors")]
    ours, theirs = load_file(tmp_path / "student.safetensors"), load_file(straight)
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], atol=1e-5, rtol=1e-4)


def test_a_training_of_a_version_that_had_fewer_fields_is_still_itself(speech, tmp_path):
    """And one of a version that wrote every field."""
    path = train(speech, tmp_path)
    file = path.with_suffix("") / "training.json"
    there = {k: v for k, v in json.loads(file.read_text()).items() if k != SEAL}
    assert "depth" not in there["settings"]  # as usual
    there["settings"] |= {"depth": 2, "every": 2}
    file.write_text(json.dumps(there))
    before = path.stat().st_mtime_ns
    assert train(speech, tmp_path) == path and path.stat().st_mtime_ns == before
    there["settings"]["depth"] = 1
    file.write_text(json.dumps(there))
    with pytest.raises(UsageError, match="differs in depth"):
        train(speech, tmp_path)
