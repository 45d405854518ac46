"""Fine-tuning by several processes, and by the verb."""

import json
import os
import subprocess
import sys

import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.upstreams.hubert_ee import HubertEE
from helpers import ROOT
from safetensors.torch import load_file

TRAIN = """
import sys; sys.path[:0] = sys.argv[1:3]
import run_benchmark
from dataclasses import replace
from pathlib import Path
import torch
from earlyexit_superb.benchmark import distributed
from earlyexit_superb.upstreams.conformer_ctc import ConformerCTC
from earlyexit_superb.upstreams.training import recognition
from helpers.conformer import SMALL
from helpers.spelling import RECIPE, run_in, transcribed, tune
torch.set_num_threads(1)
class Conformer(ConformerCTC):  # its batch norm hears the rows of both
    shapes = {"small": replace(SMALL, depth=4, dim=24, ffn=48, dropout=0.0)}
plain = replace(RECIPE, steps=4, every=2, batch=3, layerdrop=0.4, precision="full")
with distributed.joined("cpu"):
    # 7 utterances in batches of 3: the last one of an epoch is too small for two processes
    data = transcribed(train=7)
    tune(Path(sys.argv[3]) / "joint", data, plain)
    two = replace(plain, strategy="two_stage", schedule="newbob", improvement=0.9, per="symbol")
    tune(Path(sys.argv[3]) / "two", data, two)
    run = run_in(Path(sys.argv[3]) / "conformer")
    recognition.train(replace(plain, layerdrop=0.0), data, run, Conformer, "random")
"""
TRAINED = ("joint", "two", "conformer")


def trained(folder, *torchrun):
    words = [str(ROOT), str(ROOT / "tests"), str(folder)]
    script = folder / "train.py"
    script.parent.mkdir(parents=True)
    script.write_text(TRAIN)
    launcher = [sys.executable, *torchrun, str(script), *words]
    subprocess.run(
        launcher, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return {name: load_file(folder / name / "small.safetensors") for name in TRAINED}


@pytest.mark.slow
def test_two_processes_end_as_one(tmp_path):
    alone = trained(tmp_path / "alone")
    two = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    together = trained(tmp_path / "together", *two)
    for name, tensors in alone.items():
        for key, value in tensors.items():
            if key.endswith("conv_module.sequential.2.bias"):
                continue  # the batch norm behind takes it away: its gradient is what rounding left
            torch.testing.assert_close(value, together[name][key], atol=2e-3, rtol=0)


@pytest.mark.slow
def test_the_verb_tunes_and_the_system_answers_with_what_it_wrote(small_builtins, tmp_path, capsys):
    words = ["train", "hubert_ee.tiny", "--task", "asr", "--out", str(tmp_path), "--set"]
    few = ["steps=1", "every=1", "batch=2", "dev_limit=2", "branch=linear"]
    assert main([*words, *few]) == 0
    weights = tmp_path / "hubert_ee.tiny.safetensors"
    assert str(weights) in capsys.readouterr().out
    before = weights.stat().st_mtime_ns
    assert main([*words, *few]) == 0 and weights.stat().st_mtime_ns == before
    assert main([*words, *few, "lr=1"]) == 2
    assert "differs in lr" in capsys.readouterr().err
    built = HubertEE("tiny", str(weights), branch="linear")
    card = json.loads(weights.with_suffix(".json").read_text())
    assert built.card.revision == card["revision"] and "mini" in built.card.tuned_on
    assert card["options"] == {"branch": "linear"} and "given here" in card["recipe"]["source"]
    # the frozen convolutions are those of the shipped model, which the file names instead
    assert not any("feature_extractor" in name for name in load_file(weights))
