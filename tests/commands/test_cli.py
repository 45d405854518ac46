"""The command line: its flags, its defaults, and one sentence for bad input."""

import re
import subprocess
import sys

import pytest
from earlyexit_superb.benchmark import cli
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.commands.parser import run_parser
from helpers import ROOT, TOY


@pytest.fixture(autouse=True)
def own_folder(own_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_flags_of_run_are_frozen():
    flags = {o for a in run_parser()._actions for o in a.option_strings if o.startswith("--")} - {
        "--help",
        "--version",
    }
    assert flags == {
        "--upstream",
        "--task",
        "--rho",
        "--knob",
        "--test-rho",
        "--test-knob",
        "--budget",
        "--max-loss",
        "--delta",
        "--loss-bound",
        "--reference",
        "--span",
        "--data",
        "--protocol",
        "--seed",
        "--device",
        "--results",
        "--config",
        "--set",
        "--force",
        "--json",
        "--lr",
        "--precision",
    }
    assert set(cli.VERBS) == {
        "run",
        "plan",
        "train",
        "data",
        "check",
        "ls",
        "doctor",
        "leaderboard",
        "cache",
        "sweep",
        "speed",
        "table1",
        "probe",
        "figure",
        "compare",
        "midpoints",
        "paper",
    }


DAISY = "--upstream daisy --task se"


@pytest.mark.parametrize(
    "line, status, said",
    [
        (
            "",
            2,
            (
                "--upstream is missing; for example: run_benchmark.py --upstream daisy --task se "
                "--rho 0.7"
            ),
        ),
        ("--upstream dasy --task se", 2, "no upstream is called 'dasy': did you mean daisy?"),
        ("--upstream daisy --task si", 2, "no task is called 'si': did you mean sid"),
        ("--upstream daisy.huge --task se", 2, "hubert has no tag 'huge'"),
        (f"{DAISY} --rho -0.1", 2, "rho is a ratio from 0"),
        (f"{DAISY} --rho much", 2, "--rho is a number such as 0.7, not 'much'"),
        (f"{DAISY} --rho nan", 2, "--rho is a number"),
        (f"{DAISY} --span median", 2, "no span 'median'"),
        (f"{DAISY} --protocol superb", 2, "has no protocol 'superb': did you mean superb-v1"),
        (
            f"{DAISY} --set lrr=1",
            2,
            "--set lrr: neither daisy nor a protocol of se has it; did you mean lr",
        ),
        (f"{DAISY} --set lr", 2, "--set takes key=value"),
        (f"{DAISY} --set steps=many", 2, "steps is a number like"),
        (f"{DAISY} --data nowhere", 2, "nowhere"),
        (
            f"{DAISY} --lr fast",
            2,
            "--lr (unless it is the word sweep) is a number such as 0.7, not 'fast'",
        ),
        (f"{DAISY} --lr 0", 2, "a learning rate is above 0"),
        (f"{DAISY} --lr 1e-3 --set lr=1e-3", 2, "both name the learning rate"),
        (f"plan {DAISY} --protocol superb", 2, "has no protocol 'superb'"),
        ("data verify nowhere", 2, "there is no nowhere"),
        ("data prepare --from nowhere --out x", 2, "there is no nowhere"),
        (
            "data prepare --from . --out x",
            2,
            ". is in none of the layouts (manifest, VoiceBank-DEMAND, ",
        ),
        ("data prepare --layout timit --from . --out x", 2, "invalid choice: 'timit'"),
        (f"{DAISY} --device tpu9", 2, "--device is cpu"),
        (f"{DAISY} --roh 0.7", 2, "did you mean --rho"),
        (
            "--upstream hubert --task se --rho 0.7",
            2,
            "hubert has no rho: it does not exit by itself",
        ),
        (
            f"{DAISY} --rho 0.7 --set rho=1.0",
            2,
            "--set rho=1.0 and --knob (or --rho) both turn the knob rho",
        ),
        (
            "--upstream layer_similarity --task se --rho 0.7",
            2,
            "turn its own knob with --knob target_depth=VALUE",
        ),
        (
            "--upstream daisy.base --task se --set branches=none.safetensors weights=random",
            2,
            "there are no trained branches at none.safetensors",
        ),
        ("--upstream none.py:Mine --task se", 2, "there is no file"),
        ("runn --upstream daisy", 2, "there is no verb 'runn': did you mean run"),
        ("check nobody", 2, "no upstream and no task is called 'nobody'"),
        (
            "train layer_similarity --data x --out y",
            2,
            "layer_similarity has nothing to train; upstreams with a recipe: conformer_aed, "
            "conformer_ctc, daisy, ",
        ),
        ("train hubert.tiny --data nowhere --out y", 2, "there is no folder nowhere"),
        ("data noisy --speech nowhere --noise nowhere --out x", 2, "nowhere"),
        ("leaderboard nowhere", 2, "there is no results folder nowhere"),
        ("run --upstream daisy --task se --config none.yaml", 2, "none.yaml"),
        (f"{DAISY} --set exits=13", 2, "--set exits=13: a depth (0, 1, 2"),
        ("sweep --upstream daisy", 2, "sweep: --task is missing"),
        ("sweep --upstream dasy --task se", 2, "no upstream is called 'dasy': did you mean daisy?"),
        ("sweep --upstream daisy --task si", 2, "no task is called 'si'"),
        (
            "sweep --upstream daisy --task se --protocol mni",
            2,
            "task se has no protocol 'mni': did you mean mini",
        ),
        (
            "sweep --upstream daisy --task se --seed x",
            2,
            "--seed takes whole numbers from 0 to 4294967295, not 'x'",
        ),
        (
            "sweep --upstream daisy --task se --workers 0",
            2,
            "sweep: --workers is a whole number from 1, not 0",
        ),
        (
            "sweep --upstream daisy --task se --shard 0/3",
            2,
            "sweep: --shard is I/N with I from 1 to N, such as 1/4, not '0/3'",
        ),
        ("sweep --upstream daisy --task se --data asr=x", 2, "task 'asr' is not among those"),
        (
            "sweep --upstream daisy --task se --data nowhere",
            2,
            "--data nowhere: there is no such folder",
        ),
    ],
)
def test_bad_input_is_one_sentence(line, status, said, capsys):
    assert main(line.split()) == status
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err
    assert re.fullmatch(r"error: [^\n]+\n", err.split("error: ", 1)[1].join(["error: ", ""]))


def test_an_unknown_yaml_key_is_named(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("upstream: daisy\ntsk: se\n")
    assert main(["--config", "c.yaml"]) == 2
    assert "there is no option 'tsk'; did you mean task" in capsys.readouterr().err


def test_yaml_gives_defaults_and_the_command_line_wins(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("upstream: daisy\ntask: se\nrho: -3\nset: {lr: 1e-4}\n")
    assert main(["--config", "c.yaml"]) == 2 and "not -3" in capsys.readouterr().err
    assert main(["--config", "c.yaml", "--rho", "-4"]) == 2 and "not -4" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "--upstream daisy --task se --rho 0.7",
        "ls",
        "leaderboard results",
        "plan se",
        "check daisy",
        "data verify x",
    ],
)
def test_without_its_packages_a_verb_says_so_in_one_sentence(line):
    bare = subprocess.run(
        [sys.executable, "-S", "run_benchmark.py", *line.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (
        bare.returncode == 3
        and bare.stderr.count("\n") == 1
        and ", torch, not installed for" in bare.stderr
        and "make demo" in bare.stderr
    )


def test_a_results_folder_that_cannot_be_written_fails_before_any_training(
    tmp_path, capsys, monkeypatch
):
    (tmp_path / "file").write_text("")
    from earlyexit_superb.benchmark.engine import run

    monkeypatch.setattr(run, "_make", None)
    root = tmp_path / "corpus"
    import numpy as np
    from earlyexit_superb.benchmark import audio

    for part in ("trainset_28spk", "testset"):
        for side in ("clean", "noisy"):
            for i in range(6):
                wav = np.random.default_rng(i).standard_normal(8000).astype(np.float32) / 9
                audio.write(root / f"{side}_{part}_wav_16k" / f"p{300 + i}_001.wav", wav)
    assert (
        main(
            [
                "--upstream",
                TOY,
                "--task",
                "se",
                "--data",
                str(root),
                "--results",
                str(tmp_path / "file" / "x"),
            ]
        )
        == 3
    )
    assert "cannot be written" in capsys.readouterr().err


def test_ls_lists_what_there_is(capsys):
    assert main(["ls"]) == 0
    out = capsys.readouterr().out
    for line in (
        "upstream  daisy",
        "upstream  hubert",
        "upstream  layer_similarity",
        "task      se",
        "corpus    mini (se)",
    ):
        assert line in out
    assert (
        "superb-v1, s3prl-v2, daisy, minisuperb, mini (mini on built-in data, " in out
        and "superb-v1 on yours)" in out
        and "made on first use in" in out
    )
