"""What a run trains with: changed fields are named, and a sweep is the same heads at several
learning rates, side by side.
"""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import head_files, head_training, heads
from earlyexit_superb.benchmark.engine.protocols import run_protocol
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.benchmark.soundness import sealed
from helpers import command, jsons, numbers
from toys.toy import at

pytestmark = pytest.mark.usefixtures("shared_cache")
MINI = tasks.get("se").protocols["mini"]
SWEEP = ["--lr", "sweep", "--set", "lr_grid=1e-1,4e-3", "eval_every=6"]


def test_fields_keep_their_types_and_what_differs_is_told():
    assert run_protocol(MINI, {}).protocol == MINI and run_protocol(MINI, {}).name == "mini"
    changed = run_protocol(MINI, {"train_limit": "7", "steps": "6"})
    assert changed.protocol == replace(MINI, train_limit=7, steps=6) and changed.name == "custom"
    assert changed.sentence() == f"custom, not mini: steps {MINI.steps} -> 6, train_limit None -> 7"
    assert run_protocol(MINI, {"lr_grid": "1e-2,1e-3"}, "sweep").protocol.lr_grid == (0.01, 0.001)


def test_one_learning_rate_is_custom_unless_it_is_the_protocols():
    assert run_protocol(MINI, {}, "1e-3").differs == {"lr": [MINI.lr, 0.001]}
    assert run_protocol(MINI, {}, str(MINI.lr)) == run_protocol(MINI, {})
    for wrong, said in (("0", "above 0"), ("fast", "--lr")):
        with pytest.raises(UsageError, match=said):
            run_protocol(MINI, {}, wrong)
    with pytest.raises(UsageError, match="leave one of them out"):
        run_protocol(MINI, {"lr": "1e-3"}, "1e-3")


def test_a_sweep_is_part_of_the_protocol_and_stands_apart():
    swept, single = run_protocol(MINI, {}, "sweep"), run_protocol(MINI, {})
    assert swept.rates == MINI.lr_grid and swept.name == "mini+sweep" and not swept.differs
    assert swept.settings != single.settings and swept.head == single.head
    assert (
        run_protocol(MINI, {"lr_grid": "1e-2"}, "sweep").name == "custom"
        and run_protocol(MINI, {"lr_grid": "1e-2"}).name == "mini"
    )
    # a grid that is not swept moves no number
    assert run_protocol(replace(MINI, lr_grid=(1e-3,)), {}).settings == single.settings
    with pytest.raises(UsageError, match="no grid"):
        run_protocol(replace(MINI, lr_grid=()), {}, "sweep")


def test_superbs_grid_is_a_decade_a_step():
    for task in map(tasks.get, tasks.names()):
        assert task.protocols["superb-v1"].lr_grid == pytest.approx([10.0**-k for k in range(1, 8)])
        assert all(p.lr in p.lr_grid for p in task.protocols.values())


def lr(results):
    return {
        n: r["detail"].get("lr_sweep")
        for n, r in jsons(results).items()
        if r["cell"]["exit"] != "unprocessed"
    }


@pytest.fixture(scope="module")
def swept(corpus, tmp_path_factory):
    results = tmp_path_factory.mktemp("swept")
    patch = pytest.MonkeyPatch()
    patch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    assert main(command(corpus, results, "--rho", "1.0", *SWEEP)) == 0
    patch.undo()
    return results


def test_the_dev_split_chooses_and_the_row_says_so(swept):
    higher = tasks.get("se").metrics[0].higher_is_better
    for result in jsons(swept).values():
        if result["cell"]["exit"] == "unprocessed":
            assert "lr_sweep" not in result["detail"]
            continue
        sweep = result["detail"]["lr_sweep"]
        dev = {
            rate: value
            for rate, value in zip(sweep["grid"], sweep["dev"], strict=True)
            if value is not None
        }
        assert sweep["grid"] == [0.1, 0.004] and sweep["metric"] == "pesq" and higher
        assert dev[sweep["chosen"]] == max(dev.values()) == result["detail"]["training"]["dev_pesq"]
        assert (
            result["detail"]["training"]["protocol"]["lr"] == sweep["chosen"]
            and result["detail"]["protocol"]["lr"] == "sweep"
        )
    # full, full + layer-norm, depth 0, half, rho 1.0
    assert len(list((swept / "heads").glob("*.json"))) == 2 * 5
    assert set(pd.read_csv(swept / "leaderboard_se.csv")["protocol"].str[:6]) == {"custom"}


def test_a_heads_numbers_do_not_depend_on_its_neighbours(swept, corpus, tmp_path):
    """Every rate alone is the sweep's head of that rate, and the row of the chosen one is the
    sweep's row.
    """
    assert (
        main(command(corpus, tmp_path, "--rho", "1.0", "--lr", "4e-3", "--set", "eval_every=6"))
        == 0
    )
    for path in (tmp_path / "heads").glob("*.json"):
        alone, beside = (
            json.loads(path.read_text()),
            json.loads((swept / "heads" / path.name).read_text()),
        )
        for known in (alone, beside):
            known.pop("name"), known.pop("digest")
            known["protocol"].pop("lr_grid")
        assert alone == beside
        assert (
            path.with_suffix(".safetensors").read_bytes()
            == (swept / "heads" / path.name).with_suffix(".safetensors").read_bytes()
        )
    assert len(list((tmp_path / "heads").glob("*.json"))) == 5
    # a file's name ends with a hash of its settings, which differ
    single = {name.rpartition("-")[0]: row for name, row in numbers(tmp_path).items()}
    chosen = {name for name, sweep in lr(swept).items() if sweep["chosen"] == 0.004}
    assert all(numbers(swept)[name] == single[name.rpartition("-")[0]] for name in chosen)


def test_few_at_a_time_are_the_same_as_all_together(swept, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(head_training, "side_by_side", lambda *_: 5)
    assert main(command(corpus, tmp_path, "--rho", "1.0", *SWEEP)) == 0
    assert numbers(tmp_path) == numbers(swept) and lr(tmp_path) == lr(swept)


def test_a_rate_that_scores_nothing_is_left_out(tmp_path):
    task = tasks.get("se")
    for key, dev in (("a", None), ("b", 1.5), ("c", 1.2)):
        about = {"dev_pesq": dev, head_files.PARAMETERS: None}
        (tmp_path / f"{key}.json").write_text(sealed(about))
    assert head_files.choose(tmp_path, {1.0: "a", 0.1: "b", 0.01: "c"}, task) == (
        "b",
        {"metric": "pesq", "grid": [1.0, 0.1, 0.01], "dev": [None, 1.5, 1.2], "chosen": 0.1},
    )
    with pytest.raises(UsageError, match="no dev utterance could be scored"):
        head_files.choose(tmp_path, {1.0: "a"}, task)


def test_custom_is_said_in_one_line_and_kept_in_json(swept, corpus, capsys):
    assert main(command(corpus, swept, "--rho", "1.0", *SWEEP, "--json")) == 0
    said = capsys.readouterr()
    [line] = [line for line in said.err.splitlines() if "custom" in line]
    assert (
        line.startswith("notice: custom, not mini: ")
        and f"steps {MINI.steps} -> 6" in line
        and f"lr_grid {','.join(map(str, MINI.lr_grid))} -> 0.1,0.004" in line
    )
    rows = [json.loads(row) for row in said.out.splitlines()]
    assert all(
        row["protocol_differs"]["steps"] == [MINI.steps, 6] and row["protocol_based_on"] == "mini"
        for row in rows
    )
    assert sum("lr_sweep" in row for row in rows) == len(rows) - 1


def test_heads_are_counted_by_the_memory_they_take():
    se, setup = tasks.get("se"), at(MINI)
    readout = heads.Downstream(se, setup, 3, True)
    before = torch.random.get_rng_state()
    assert heads.side_by_side(se, setup, 3) == heads.MEMORY // (
        16 * sum(p.numel() for p in readout.parameters())
    )
    assert before.equal(torch.random.get_rng_state())
