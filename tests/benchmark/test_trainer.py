"""The training loop: killed anywhere, it ends with the numbers of an undisturbed run."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from earlyexit_superb.benchmark import resume_points, trainer
from helpers import ROOT

SLOW = """
import importlib, sys, time
sys.path[:0] = sys.argv[1:4]
import run_benchmark
import torch
from pathlib import Path
fast = torch.randn
def randn(*a, **k): time.sleep(0.05); return fast(*a, **k)
torch.randn = randn
importlib.import_module(sys.argv[4]).toy_training(Path(sys.argv[5]))
"""


def toy_training(folder, die_at=None, steps=23, poison=(), annealed=None, rates=None):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    seen = []

    def loss(i):
        if i == die_at:
            raise RuntimeError("killed")
        seen.append(i)
        if rates is not None:
            rates[i // 2] = optimiser.param_groups[0]["lr"]
        x = torch.randn(8, 4)
        return (model(x) - x.sum(1, keepdim=True)).square().mean() * (
            float("nan") if i in poison else 1.0
        )

    def validate():
        x = torch.linspace(-1, 1, 32).reshape(8, 4)
        return {"error": float((model(x) - x.sum(1, keepdim=True)).square().mean())}

    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    warm = (lambda s: 1.0) if annealed else (lambda s: min(1.0, (s + 1) / 10))
    schedule = trainer.Schedule(
        steps, every=5, accumulate=2, clip=1.0, factor=warm, annealed=annealed
    )
    done = trainer.train(
        model,
        loss,
        optimiser,
        schedule,
        folder=folder,
        seed=3,
        what="toy",
        validate=validate,
        save_best={"error": False},
    )
    return model, seen, done


@pytest.mark.parametrize("die_at", [1, 9, 10, 27, 45])
def test_resumed_equals_undisturbed(tmp_path, die_at):
    straight, seen, _ = toy_training(tmp_path / "a")
    assert seen == list(range(46))
    with pytest.raises(RuntimeError, match="killed"):
        toy_training(tmp_path / "b", die_at)
    resumed, again, done = toy_training(tmp_path / "b")
    assert done.resumed == die_at // 10 * 5 and again[0] == die_at // 10 * 10
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    a, b = resume_points.best(tmp_path / "a", "error"), resume_points.best(tmp_path / "b", "error")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_finished_training_is_not_repeated(tmp_path):
    toy_training(tmp_path)
    _, seen, done = toy_training(tmp_path)
    assert seen == [] and done.resumed == 23


def test_the_best_model_is_the_lowest_error_of_the_log(tmp_path):
    toy_training(tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [5, 10, 15, 20, 23]
    assert resume_points.load(tmp_path / "last.ckpt")["best"]["error"][1] == pytest.approx(
        min(line["error"] for line in log), abs=1e-5
    )


def test_a_gradient_that_is_not_finite_skips_its_update_and_is_counted(tmp_path):
    model, _, done = toy_training(tmp_path, poison=(6,))
    assert done.skipped == (1,) and all(bool(torch.isfinite(p).all()) for p in model.parameters())


def test_no_half_written_checkpoint_is_left(tmp_path):
    toy_training(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "best-error.ckpt",
        "last.ckpt",
        "log.jsonl",
    ]


def test_rates_follow_the_log_after_a_kill_too(tmp_path):
    def annealed(log):
        return [0.5 ** len(log)]

    straight, resumed = {}, {}
    first = toy_training(tmp_path / "a", annealed=annealed, rates=straight)[0]
    with pytest.raises(RuntimeError, match="killed"):
        toy_training(tmp_path / "b", die_at=27, annealed=annealed, rates=resumed)
    second = toy_training(tmp_path / "b", annealed=annealed, rates=resumed)[0]
    assert straight == {step: 1e-2 * 0.5 ** (step // 5) for step in range(23)} == resumed
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_kill_minus_nine(tmp_path):
    """A real process, really killed, at a moment nobody chose."""
    words = [
        str(ROOT),
        str(ROOT / "tests"),
        str(Path(__file__).parent),
        Path(__file__).stem,
        str(tmp_path / "b"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "b" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    straight, resumed = toy_training(tmp_path / "a")[0], toy_training(tmp_path / "b")[0]
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_training_tells_how_far_it_is_between_two_looks(tmp_path, monkeypatch):
    monkeypatch.setattr(resume_points, "TELL", -1.0)
    with pytest.raises(RuntimeError, match="killed"):
        toy_training(tmp_path / "stages" / "one", die_at=2 * 8)  # its last look was at 5
    assert resume_points.told(tmp_path) == 8
    toy_training(tmp_path / "stages" / "two", steps=7)
    assert resume_points.told(tmp_path) == 8 + 7
    (tmp_path / "stages" / "one" / resume_points.STEP).write_text("half a numb")
    assert resume_points.told(tmp_path) == 5 + 7 and resume_points.told(tmp_path / "none") == 0
