"""Trainings on a device: cut short and gone on, run to the end, shared over nccl, and read back on
a CPU.
"""

import json
import os
import subprocess
import sys

import pytest
import torch
from earlyexit_superb.benchmark import resume_points, trainer
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.registry import build_upstream
from helpers import ROOT, TOY, installed, wav

pytestmark = pytest.mark.gpu
BACKBONE = ["front_steps=3", "mfcc_steps=3", "block_steps=3", "mfcc_units=5", "block_units=8"]
BACKBONE += ["block_layer=1", "batch=2", "every=2"]
BRANCHES = ["steps=3", "batch=2", "every=2", "heard=2", "frames=64"]
NCCL = """
import sys; sys.path[:0] = sys.argv[1:2]
import run_benchmark
import torch
from earlyexit_superb.benchmark import distributed
torch.cuda.set_device(0)
torch.distributed.init_process_group("nccl")
alone, distributed.rank_and_size = distributed.rank_and_size, lambda: (0, 2)  # as one of two
given = torch.arange(4.0, device="cuda")
assert distributed.mean(given).tolist() == [0, 0.5, 1, 1.5] and given.tolist() == [0, 1, 2, 3]
weight = torch.nn.Parameter(torch.ones(2, 3, device="cuda"))
weight.sum().backward()
distributed.average_gradients([weight])
assert weight.grad.unique().tolist() == [0.5]
with distributed.in_turn():
    pass
distributed.rank_and_size = alone
assert distributed.rank_and_size() == (0, 1)
code = run_benchmark.main(sys.argv[2:])
torch.distributed.destroy_process_group()
sys.exit(code)
"""


def toy_training(folder, device, die_at=None):
    installed("lightning_fabric")
    torch.manual_seed(0)
    layers = torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.LSTM(8, 8)
    model = torch.nn.ModuleList(layers).to(device)
    linear, dropout, lstm = model

    def loss(i):
        if i == die_at:
            raise RuntimeError("killed")
        x = torch.randn(8, 4, device=device)
        return (lstm(dropout(linear(x)))[0].sum(1) - x.sum(1)).square().mean()

    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    schedule = trainer.Schedule(13, every=5, accumulate=2, clip=1.0)
    given = {"folder": folder, "seed": 3, "what": "toy", "device": device}
    more = {"validate": lambda: {"error": float(loss(-1))}, "save_best": {"error": False}}
    return model, trainer.train(model, loss, optimiser, schedule, **given, **more)


@pytest.mark.parametrize("die_at", [1, 10, 19])
def test_a_training_cut_short_goes_on_to_the_same_weights(device, tmp_path, die_at):
    """Dropout, a recurrent layer and the optimiser's moments included."""
    straight, _ = toy_training(tmp_path / "a", device)
    with pytest.raises(RuntimeError, match="killed"):
        toy_training(tmp_path / "b", device, die_at)
    resumed, done = toy_training(tmp_path / "b", device)
    assert done.resumed == die_at // 10 * 5 and done.skipped == (0,)
    assert {p.device.type for p in resumed.parameters()} == {device}
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert {p.device.type for p in resume_points.best(tmp_path / "b", "error").values()} == {"cpu"}


@pytest.mark.parametrize("warm", [(), ("warm", "level=1")], ids=["new", "warm"])
def test_a_backbone_is_trained_once(device, speech, tmp_path, monkeypatch, warm):
    installed("lightning_fabric", "torchaudio", "sklearn")
    shipped = f"warm={ROOT / 'upstreams' / 'hubert.tiny.safetensors'}"
    settings = [*BACKBONE, *(shipped if word == "warm" else word for word in warm)]
    line = ["train", "hubert.tiny", "--data", str(speech / "clips"), "--noise"]
    line += [str(speech / "noise"), "--out", str(tmp_path), "--device", device, "--set", *settings]
    kept = once(line, tmp_path / "hubert.tiny.safetensors", monkeypatch)
    stages = {"block"} if warm else {"front", "mfcc", "block"}
    assert set(kept["last_look"]) == stages
    assert all(look["skipped"] == 0 for look in kept["last_look"].values())
    loaded = build_upstream(
        "hubert.tiny", {"weights": str(tmp_path / "hubert.tiny.safetensors")}
    ).requires_grad_(False)
    states = list(loaded.states(wav(16_000)[None], torch.tensor([16_000])))
    assert len(states) == 13 and all(bool(state.isfinite().all()) for state in states)


@pytest.mark.parametrize(
    ("preset", "settings", "said"),
    [
        ("tiny", BRANCHES, "argmax"),
        ("paper", ["steps=3", "lr=0.01", "batch=2", "every=2"], "argmax"),
        ("tiny", [*BRANCHES, f"backbone={TOY}", "fallback_block=2", "fallback_units=9"], "k-means"),
    ],
    ids=["crops", "whole utterances", "another backbone"],
)
def test_branches_are_trained_once(device, speech, tmp_path, monkeypatch, preset, settings, said):
    installed("lightning_fabric", "sklearn")
    line = ["train", "daisy.tiny", "--preset", preset, "--data", str(speech / "clips"), "--out"]
    line += [str(tmp_path), "--device", device, "--set", *settings]
    kept = once(line, tmp_path / "daisy.tiny.safetensors", monkeypatch)
    assert said in kept["targets"]
    look = kept["held_out_clean"]
    assert look["skipped"] == 0 and 0 < look["entropy@1"] < 7 and 0 <= look["agreement@3"] <= 1


def once(line, weights, monkeypatch):
    """Train, and ask for the same again: the card."""
    assert main(line) == 0
    first = weights.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "train", None)  # would raise if called
        assert main(line) == 0
    assert weights.read_bytes() == first
    return json.loads(weights.with_suffix(".json").read_text())


def test_one_process_of_torchrun_trains_over_nccl(device, speech, tmp_path):
    if device != "cuda":
        pytest.skip("nccl needs a GPU")
    (tmp_path / "nccl.py").write_text(NCCL)
    words = ["train", "daisy.tiny", "--data", str(speech / "clips"), "--out", str(tmp_path)]
    words += ["--device", device, "--set", *BRANCHES]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "1"]
    torchrun += ["--master-addr", "127.0.0.1", "--master-port", "29511"]
    done = subprocess.run(
        [*torchrun, str(tmp_path / "nccl.py"), str(ROOT), *words],
        capture_output=True,
        text=True,
        timeout=90,
        env=os.environ | {"OMP_NUM_THREADS": "2", "NCCL_SOCKET_IFNAME": "lo"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1:] == [str(tmp_path / "daisy.tiny.safetensors")]
