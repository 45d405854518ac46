"""The whole way, small: one command's rows, what each says, and those beside the usual ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.contract import Item
from earlyexit_superb.benchmark.engine import cost
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.exiting import Exit, run_until_exit
from helpers import TOY, command, jsons

pytestmark = pytest.mark.usefixtures("shared_cache")


def test_one_command_gives_the_promised_rows(finished):
    board = pd.read_csv(finished / "leaderboard_se.csv")
    rows = sorted(zip(board["exit"], board["span"].fillna(""), strict=True))
    assert rows == sorted(
        [
            ("unprocessed", ""),
            ("full + layer-norm", ""),
            ("full", ""),
            ("depth 0 + layer-norm", ""),
            ("depth 1 + layer-norm", ""),
            ("adaptive", "mean"),
            ("adaptive", "min-max"),
        ]
    )
    # a tone is not always an utterance to PESQ: that is a failure, counted
    assert (board["n"] + board["failed"] == 5).all()
    assert all(
        sum(s["reasons"].values()) == s["failed"]
        for r in jsons(finished).values()
        for s in r["scores"].values()
    )
    assert len({tuple(r["exit_histogram"]) for r in jsons(finished).values()}) >= 3
    assert (board["pesq_low"] <= board["pesq"]).all() and (
        board["pesq"] <= board["pesq_high"]
    ).all()
    assert board.set_index("exit").loc["unprocessed", "si_sdr_improvement"] == 0
    assert set(board["protocol"].str[:7]) == {"custom-"}  # six steps are nobody's recipe
    assert all(sum(r["exit_histogram"]) in (0, 5) for r in jsons(finished).values())


def test_each_row_says_how_it_came_about(finished):
    adaptive = next(r for n, r in jsons(finished).items() if "rho-1-mean" in n)
    detail, c = adaptive["detail"], adaptive["detail"]["calibration"]
    assert (
        c["tau"] == pytest.approx(1.0 * (max(c["depth_means"]) + min(c["depth_means"])) / 2)
        and c["n"] == 12
        and c["split"] == "train"
    )
    assert sum(detail["train_exit"]["histogram"]) == 12
    assert {k: v[1] for k, v in detail["protocol_differs"].items()} == {
        "steps": 6,
        "eval_every": 3,
        "batch": 3,
    }
    assert (
        detail["training"]["chosen_step"] in (3, 6) and len(detail["timing"]["passes_seconds"]) >= 3
    )


def test_each_row_stands_on_an_absolute_axis(finished):
    for result in jsons(finished).values():
        cost, timing = result["cost"], result["detail"].get("timing")
        if result["cell"]["exit"] == "unprocessed":
            assert set(cost.values()) == {None} and result["layer_weights"] == []
            continue
        assert (
            cost["gmacs_per_s"] > 0
            and 0 < cost["params_m"] <= cost["params_all_m"]
            and cost["reference"] == "toy"
        )
        assert cost["rtfx"] == pytest.approx(
            timing["audio_seconds"] / np.median(timing["passes_seconds"])
        )
        ratios = 100 * (
            1 - np.array(timing["passes_seconds"]) / np.array(timing["passes_seconds_full"])
        )
        assert (
            cost["time_saved"] == pytest.approx(np.median(ratios))
            and cost["time_saved_low"] <= cost["time_saved"] <= cost["time_saved_high"]
        )
        # all five are timed
        assert cost["timed"] == 5 and cost["timed_macs_saved"] == pytest.approx(cost["macs_saved"])
        weights, exit = result["layer_weights"], result["cell"]["exit"]
        seen = int(exit.removeprefix("depth ")) if exit.startswith("depth") else 3
        assert len(weights) == seen + 1 and sum(weights) == pytest.approx(1)


def test_several_seeds_have_a_row_each_and_one_for_all(corpus, tmp_path, capsys):
    flags = command(corpus, tmp_path, "--rho", "1.0", "--span", "mean", "--json")
    assert main([*flags, "--seed", "0", "1"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    full = {line["seed"]: line for line in lines if line["exit"] == "full"}
    assert set(full) == {"0", "1", "mean of 2"} and full["0"]["pesq"] != full["1"]["pesq"]
    assert full["mean of 2"]["pesq"] == pytest.approx(
        (full["0"]["pesq"] + full["1"]["pesq"]) / 2, abs=1e-4
    )
    assert sum(line["exit"] == "unprocessed" for line in lines) == 1
    adaptive = [line["rtfx"] for line in lines if line["exit"] == "adaptive"]
    assert len(adaptive) == 3 and len(set(adaptive[:2])) == 1  # the same exits, timed once
    assert (
        main(["leaderboard", str(tmp_path)]) == 0
        and "mean of 2" in (tmp_path / "leaderboard_se.csv").read_text()
    )


def test_the_rows_exits_are_the_live_runs(finished, corpus):
    run = resolve(
        RunConfig(
            TOY,
            "se",
            {"rho": (1.0,)},
            data=corpus,
            protocol="mini",
            settings={"steps": "6", "eval_every": "3", "batch": "3"},
            results=finished,
        )
    )
    for row in run.rows:
        if row.cell.exit != "adaptive":
            continue
        kept = json.loads(row.path.read_text())
        exit, histogram = (
            Exit(tuple(kept["detail"]["exit"]["depths"]), kept["detail"]["exit"]["tau"]),
            [0] * 4,
        )
        for item in run.splits["test"]:
            wav = run.task.load(item).wav[None]
            histogram[
                int(run_until_exit(run.upstream, wav, torch.tensor([wav.shape[1]]), exit).depth)
            ] += 1
        assert histogram == kept["exit_histogram"]


def test_what_is_timed_is_everything_or_of_every_length():
    items = [
        Item(str(i), Path("x"), samples)
        for i, samples in enumerate(np.random.default_rng(0).permutation(1000) + 1)
    ]
    chosen = cost.timed(items)
    assert len(chosen) == cost.TIMED == len({i.id for i in chosen}) and chosen == sorted(
        chosen, key=lambda i: int(i.id)
    )
    assert np.diff(sorted(i.samples for i in chosen)).max() <= 1000 // cost.TIMED + 1
    assert cost.timed(items[:5]) == items[:5]


def test_rho_zero_is_the_full_model(finished, corpus, tmp_path):
    shutil.copytree(finished, tmp_path / "r")
    assert main(command(corpus, tmp_path / "r", "--rho", "0", "--span", "all")) == 0
    by = {
        (r["cell"]["exit"], r["cell"]["value"], r["cell"]["layer_norm"]): r
        for r in jsons(tmp_path / "r").values()
    }
    assert by["adaptive", 0.0, True]["scores"] == by["full", None, True]["scores"]
    # the branches that never fired are paid for
    assert by["adaptive", 0.0, True]["cost"]["macs_saved"] < 0


def test_rows_beside_the_usual_ones(finished, corpus, tmp_path, capsys):
    """Controls come from the adaptive rows' own heads: no training, the same histogram, or a
    better score at no more depth.
    """
    shutil.copytree(finished, tmp_path / "r")
    heads_before = sorted(p.name for p in (tmp_path / "r" / "heads").iterdir())
    assert (
        main(command(corpus, tmp_path / "r", "--rho", "1.0", "--set", "exits=oracle,random")) == 0
    )
    assert sorted(p.name for p in (tmp_path / "r" / "heads").iterdir()) == heads_before
    assert "exits by depth, random toy rho 1 mean" in capsys.readouterr().out
    by = {(r["cell"]["exit"], r["cell"]["span"]): r for r in jsons(tmp_path / "r").values()}
    for span in ("mean", "min-max"):
        control, adaptive = by["random", span], by["adaptive", span]
        assert (
            control["exit_histogram"] == adaptive["exit_histogram"]
            and control["cost"]["time_saved"] is None
            and control["detail"]["exit"] is None
        )
        # nobody asked a branch
        assert control["cost"]["macs_saved"] > adaptive["cost"]["macs_saved"]
        bound = by["oracle", span]
        assert sum(bound["exit_histogram"]) == 5 and bound["depth"] <= adaptive["depth"]
        assert bound["detail"]["control"]["depths"] == [1, 2, 3]
        assert bound["scores"]["pesq"]["mean"] >= adaptive["scores"]["pesq"]["mean"] - 1e-6
    assert (
        main(
            command(
                corpus,
                tmp_path / "r",
                "--rho",
                "0",
                "--span",
                "all",
                "--set",
                "exits=tau:-1,tau:9/9/9",
            )
        )
        == 0
    )
    by = {(r["cell"]["exit"], r["cell"]["value"]): r for r in jsons(tmp_path / "r").values()}
    # nothing is as sure as that
    assert by["tau -1.0", None]["scores"] == by["adaptive", 0.0]["scores"]
    assert by["tau 9.0/9.0/9.0", None]["scores"] == by["depth 1", None]["scores"]  # everything is
    assert by["tau 9.0/9.0/9.0", None]["detail"]["exit"] == {
        "depths": [1, 2, 3],
        "tau": [9.0, 9.0, 9.0],
    }


def test_utterances_say_who_speaks_in_what_and_controls_are_compared(finished, corpus, tmp_path):
    shutil.copytree(finished, tmp_path / "r")
    flags = command(corpus, tmp_path / "r", "--rho", "1.0", "--set", "exits=random,oracle")
    assert main(flags) == 0
    tables = {p.name: pd.read_csv(p) for p in (tmp_path / "r").rglob("*.utterances.csv")}
    for table in tables.values():
        assert set(table["speaker"]) == {"test0", "test1"} and set(table["noise"]) == {"white"}
        assert set(table["snr"]) == {5}
    [dealt] = [t for name, t in tables.items() if name.startswith("random-rho-1-min-max")]
    [own] = [t for name, t in tables.items() if name.startswith("adaptive-rho-1-min-max")]
    assert set(dealt["depth"]) == {own["depth"].mean()}
    board = pd.read_csv(tmp_path / "r" / "leaderboard_se.csv").set_index(["exit", "span"])
    row, control = board.loc[("adaptive", "min-max")], board.loc[("random", "min-max")]
    assert row["vs_random"] == pytest.approx(row["pesq"] - control["pesq"], abs=2e-4)
    assert row["speakers"] == 2 and row["vs_random_low"] <= row["vs_random"]


def test_json_lines_are_the_table(finished, corpus, capsys):
    assert main(command(corpus, finished, "--rho", "1.0", "--json")) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 7 and lines[0]["upstream"] == "unprocessed" and lines[-1]["exit_histogram"]


def test_limits_draw_the_same_utterances_every_time():
    from earlyexit_superb.benchmark.engine.resolve import limited

    items = list(range(100))
    assert (
        limited(items, 10, 8830) == limited(items, 10, 8830) == sorted(limited(items, 10, 8830))
        and limited(items, None, 0) is items
    )
    assert limited(items, 10, 1) != limited(items, 10, 2)
