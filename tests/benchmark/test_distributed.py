"""Several processes, one training: the result is that of one process with the same batch."""

import os
import subprocess
import sys

import pytest
import torch
from earlyexit_superb.benchmark import distributed
from earlyexit_superb.benchmark.errors import UsageError
from helpers import ROOT
from safetensors.torch import load_file

TRAIN = """
import sys; sys.path[:0] = sys.argv[1:3]
import run_benchmark
from pathlib import Path
from earlyexit_superb.benchmark import distributed
from helpers import fit, fit_branches
import torch
torch.cpu.get_capabilities = lambda: {"avx512_bf16": False, "amx_bf16": False}      # bfloat16 \
rounds a half batch otherwise
root, ragged, out = map(Path, sys.argv[3:])
with distributed.joined("cpu"):
    fit(root, out / "backbone")
    fit_branches(root, out / "branches", steps=4, heard=4)
    fit_branches(ragged, out / "whole", "paper", steps=4, lr=0.01)
    print("led" if distributed.is_leader() else "followed")
"""


def test_alone_everything_is_mine():
    assert (
        distributed.rank_and_size() == (0, 1)
        and distributed.is_leader()
        and list(range(6))[distributed.share(6)] == list(range(6))
    )
    value = torch.randn(3)
    assert distributed.mean(value) is value


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_shares_cover_a_batch_once(size, monkeypatch):
    def rows(rank):
        monkeypatch.setattr(distributed, "rank_and_size", lambda: (rank, size))
        return list(range(12))[distributed.share(12)]

    shares = [rows(rank) for rank in range(size)]
    assert (
        sorted(row for share in shares for row in share) == list(range(12))
        and len({len(share) for share in shares}) == 1
    )


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "rank_and_size", lambda: (0, 4))
    with pytest.raises(
        UsageError,
        match=(
            r"4 processes cannot share a batch of 6 equally; choose one that 4 divides \(--set "
            r"batch=N\)"
        ),
    ):
        distributed.share(6)


@pytest.mark.slow
def test_two_processes_train_what_one_trains(speech, ragged, tmp_path):
    """Backbone and branches, these from crops and from whole utterances; from torchrun over gloo
    and from a plain process.
    """
    (tmp_path / "train.py").write_text(TRAIN)
    line = [str(tmp_path / "train.py"), str(ROOT / "tests"), str(ROOT), str(speech), str(ragged)]
    run = {
        "check": True,
        "capture_output": True,
        "text": True,
        "env": os.environ | {"OMP_NUM_THREADS": "1"},
    }
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    two = subprocess.run([*torchrun, *line, str(tmp_path / "two")], **run)
    one = subprocess.run([sys.executable, *line, str(tmp_path / "one")], **run)
    assert sorted(two.stdout.split()) == ["followed", "led"] and one.stdout.split() == ["led"]
    for name in ("backbone/hubert.small", "branches/daisy.tiny", "whole/daisy.tiny"):
        a, b = (load_file(tmp_path / n / f"{name}.safetensors") for n in ("one", "two"))
        assert a.keys() == b.keys()
        for key in a:
            # written as fp16
            torch.testing.assert_close(a[key].float(), b[key].float(), atol=2e-3, rtol=2e-3)
    logs = [
        (tmp_path / n / "branches" / "daisy.tiny" / "branches" / "log.jsonl")
        .read_text()
        .count("\n")
        for n in ("one", "two")
    ]
    assert logs == [2, 2]
