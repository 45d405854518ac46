"""What `run` takes, `sweep` takes, too: every option reaches the cells as a run would read it."""

import json

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.commands import parser, sweep
from earlyexit_superb.benchmark.commands.config_file import with_config
from earlyexit_superb.benchmark.engine import sweep_grid, sweep_local
from earlyexit_superb.benchmark.report.board_lines import row
from helpers.rows import result

LINE = ["--upstream", "daisy", "--task", "se"]
# of an option that is not named here: a number
VALUES = {
    "--upstream": "layer_similarity",
    "--task": "sid",
    "--knob": "rho=0.5",
    "--test-knob": "rho=0.5",
    "--span": "mean",
    "--protocol": "superb-v1",
    "--precision": "bf16",
    "--seed": "3",
    "--device": "cuda:3",
    "--set": "steps=3",
    "--delta": "0.2",
}
NOT_OF_A_CELL = {"--help", "--version", "--reference", "--json", "--force"}
OPTIONS = {action.option_strings[-1]: action for action in parser.run_parser()._actions}


def configs(*words):
    return parser.requested(with_config(parser.run_parser(), words))


@pytest.mark.parametrize("flag", sorted(OPTIONS.keys() - NOT_OF_A_CELL))
def test_an_option_of_run_reaches_every_cell(flag, tmp_path, monkeypatch):
    monkeypatch.setattr(parser, "check_device", lambda name: None)  # there are no such GPUs here
    (tmp_path / "more.yaml").write_text("lr: 0.5\nbudget: 30%\ntest_rho: [0.5, 1]\n")
    paths = {"--data": tmp_path, "--results": tmp_path, "--config": tmp_path / "more.yaml"}
    value = [] if OPTIONS[flag].nargs == 0 else [str((VALUES | paths).get(flag, "0.5"))]
    line = [*LINE, flag, *value]
    [cell] = sweep_grid.grid(sweep.parsed(line))
    assert configs(*cell.argv) == configs(*line) != configs(*LINE)


def test_all_anytime_options_at_once():
    words = ["--rho", "0.7", "1", "--test-rho", "0.5", "1", "--budget", "5%", "10%", "--max-loss"]
    words += ["0.1", "0.2", "--delta", "0.05", "--loss-bound", "2"]
    [cell] = sweep_grid.grid(sweep.parsed([*LINE, *words]))
    assert configs(*cell.argv) == configs(*LINE, *words)


def test_an_upstream_without_a_knob_is_not_asked_for_thresholds():
    words = ["--task", "se", "--test-rho", "0.5", "--budget", "30%", "--max-loss", "0.1"]
    cells = sweep_grid.grid(sweep.parsed(["--upstream", "daisy", "hubert", *words]))
    daisy, hubert = (configs(*cell.argv) for cell in cells)
    assert daisy[0].anytime.budgets == (0.3,) and daisy[0].test_knobs == {"rho": (0.5,)}
    assert hubert == configs("--upstream", "hubert", "--task", "se")


@pytest.mark.parametrize(
    "words, said",
    [
        (["--force"], "--force is for single runs"),
        (["--delta", "2"], "--delta is a probability below 1"),
        (["--budget", "30"], "such as 30% or 0.3"),
        (["--test-knob", "rho"], "--test-knob takes NAME=VALUE"),
        (["--knob", "rh=0.5"], "--knob rh: none of daisy has a knob of that name"),
        (["--test-knob", "rh=0.5"], "--test-knob rh: none of daisy has a knob of that name"),
        (["--upstream", "hubert", "--budget", "30%"], "--budget: none of hubert exits by itself"),
    ],
)
def test_a_mistake_is_one_sentence_before_any_cell_starts(words, said, capsys):
    assert main(["sweep", *LINE, *words]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("error:") == 1


def test_savings_are_printed_against_a_reference(tmp_path, monkeypatch, capsys):
    lines = json.dumps(row(result("u"))), json.dumps(row(result("v", "depth 6")))
    code = f"print({chr(10).join(lines)!r})"
    monkeypatch.setattr(sweep_local, "words", lambda cell: ["-c", code])
    line = ["sweep", *LINE, "--results", str(tmp_path), "--reference"]
    assert main([*line, "u", "--json"]) == 0
    printed = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [(one["reference"], one["macs_saved"]) for one in printed] == [("u", 0.0)] * 2
    assert main([*line, "w"]) == 2
    assert "there is no full-depth row of it" in capsys.readouterr().err
