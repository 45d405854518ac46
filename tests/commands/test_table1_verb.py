"""The verb table1: which runs it makes, that a second call only prints, and its three files."""

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.commands import table1
from earlyexit_superb.benchmark.engine import run
from earlyexit_superb.benchmark.report import row_notes
from helpers import STEPS, TOY


def wanted(*words):
    args = table1._parser().parse_args(["--task", "se", *words])
    args.set = {}
    table1._check(args)
    return table1.parts(args)


def test_every_seed_has_its_reference_and_on_request_random_weights():
    made = wanted("--seed", "0", "1", "--controls", "random-blocks", "oracle", "random-weights")
    settings = [part.config.settings for part in made]
    assert (
        settings[:4]
        == settings[4:]
        == [
            {"exits": "0,3,6,9,oracle"},
            {"front": "block_input"},
            {"weights": "random-blocks"},
            {"weights": "random"},
        ]
    )
    assert [part.config.seed for part in made] == [0] * 4 + [1] * 4
    assert made[0].config.knobs == {"rho": (1.0, 0.76, 0.7)}
    [all_rows, *_] = wanted("--seed", "0", "--depths", "5", "--controls")
    assert all_rows.config.settings == {"exits": "5"}


def test_a_corpus_for_one_task_leaves_the_others_alone(tmp_path):
    args = table1._parser().parse_args(["--task", "sid", "se", "--data", f"se={tmp_path}"])
    args.set = {}
    table1._check(args)
    data = {part.config.task: part.config.data for part in table1.parts(args)}
    assert data == {"sid": None, "se": tmp_path}


@pytest.mark.parametrize(
    "line, said",
    [
        ("table1 --controls randm", "--controls randm: did you mean"),
        ("table1 --task nothing", "no task is called 'nothing'"),
        ("table1 --task se --data nowhere", "--data nowhere: there is no such folder"),
        ("table1 --task se --upstream hubert", "does not exit by itself"),
        ("table1 --task se --published nowhere", "there is no published_*.csv in it"),
    ],
)
def test_bad_input_is_one_sentence(line, said, capsys):
    assert main(line.split()) == 2
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err


def test_a_second_call_makes_nothing_and_gives_the_same_files(
    corpus, tmp_path, shared_cache, capsys, monkeypatch
):
    line = ["table1", "--task", "se", "--upstream", TOY, "--data", str(corpus), "--rho", "1.0"]
    line += ["--protocol", "mini", "--span", "mean", "--seed", "0", "--results", str(tmp_path)]
    monkeypatch.setattr(row_notes, "one_sided", lambda rows: [f"{len(rows)} rows decide nothing"])
    assert main([*line, *STEPS]) == 0
    first = {name: (tmp_path / name).read_bytes() for name in table1.NAMES}
    said = capsys.readouterr()
    assert "warning: 7 rows decide nothing" in said.err
    assert "1 of 1, se, seed 0: 7 rows to make" in said.err and "DAISY's Table 1" in said.out
    monkeypatch.setattr(run, "_make", lambda exp, missing, *rest: [] if not missing else 1 / 0)
    assert main([*line, *STEPS]) == 0
    again = capsys.readouterr()
    assert again.out == said.out and "rows to make" not in again.err
    assert first == {name: (tmp_path / name).read_bytes() for name in table1.NAMES}
