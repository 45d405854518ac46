"""A results folder in which one JSON or one utterances' table is damaged at random: the same board,
or the board without that row and a notice; never a traceback, never another number.
"""

import io
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.report import notices, utterance_table
from helpers import ROOT
from helpers.row_damage import QUICK, bitten, changed, files, unsealed, values
from helpers.rows import kept
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder of three rows, its board, and its board without each of them."""
    root, rng = tmp_path_factory.mktemp("sound") / "r", np.random.default_rng(0)
    for exit, gmacs in (("depth 6", 4.0), ("full", 6.0)):
        kept(root, 2 + rng.random(20), exit=exit, gmacs=gmacs)
    of = {"exit": {"depths": [6, 12], "tau": 0.5}}
    left = [0] * 6 + [10] + [0] * 5 + [10]
    more = {"exit": "adaptive", "knob": "rho", "value": 0.7, "span": "mean", "detail": of}
    kept(root, 2 + rng.random(20), gmacs=5.0, exit_histogram=left, **more)
    without = {}
    for path in root.rglob("*.json"):
        copy = shutil.copytree(root, root.parent / path.stem)
        (copy / path.relative_to(root)).unlink()
        without[path.stem] = board(copy)
    return root, board(root), without


def board(root):
    """What `leaderboard` writes of a folder."""
    notices._said.clear()
    assert main(["leaderboard", str(root)]) == 0
    return (root / "leaderboard_se.csv").read_text()


def judged(sound, tmp, path, content, capsys):
    """Damage one file of a copy: the board is as before, or the row is named and missing."""
    root, whole, without = sound
    shutil.rmtree(tmp, ignore_errors=True)
    shutil.copytree(root, tmp)
    (tmp / path.relative_to(root)).write_bytes(content)
    capsys.readouterr()
    found, said = board(tmp), capsys.readouterr().err
    row = path.name.removesuffix(".json").removesuffix(".utterances.csv")
    assert found == whole or (found == without[row] and "notice: left out: " in said)


def of_its_table(line, true):
    """Whether a line says of the utterances what is true; draws of an interval may differ."""
    room = utterance_table.APART * (true["pesq_high"] - true["pesq_low"]) + 1e-3
    near = [abs(line[end] - true[end]) <= room for end in ("pesq_low", "pesq_high")]
    return all(near) and all(line[c] == true[c] for c in ("pesq", "n", "failed", "depth"))


@settings(max_examples=20, **QUICK)
@given(data=st.data(), number=st.integers(0, 2), value=values)
def test_any_value_in_any_field(data, number, value, sound, tmp_path, capsys):
    path = files(sound[0])[2 * number]
    text = json.dumps(changed(path, data, value))
    judged(sound, tmp_path / "r", path, text.encode(), capsys)


@settings(max_examples=20, **QUICK)
@given(data=st.data(), number=st.integers(0, 2), value=values)
def test_any_value_in_a_row_that_keeps_no_digest_stops_nothing(
    data, number, value, sound, tmp_path, capsys
):
    """Its costs may be other ones that nothing contradicts; its scores, intervals and exits are
    those of the table."""
    path, tmp = files(sound[0])[2 * number], tmp_path / "r"
    raw = unsealed(changed(path, data, value))
    shutil.rmtree(tmp, ignore_errors=True)
    shutil.copytree(sound[0], tmp)
    (tmp / path.relative_to(sound[0])).write_text(json.dumps(raw))
    found, whole = (pd.read_csv(io.StringIO(text)) for text in (board(tmp), sound[1]))
    assert len(found) in (2, 3)
    for line in found.to_dict("records"):
        assert any(of_its_table(line, true) for true in whole.to_dict("records"))
    for verb in (["compare", "exit=adaptive", "curve", "--results"], ["figure", "3", "--results"]):
        assert main([*verb, str(tmp)]) in (0, 2, 3)
    capsys.readouterr()


@settings(max_examples=20, **QUICK)
@given(number=st.integers(0, 5), seed=st.integers(0, 10**9))
def test_any_bytes_in_any_file(number, seed, sound, tmp_path, capsys):
    path = files(sound[0])[number]
    judged(sound, tmp_path / "r", path, bitten(path.read_bytes(), seed), capsys)


@pytest.mark.parametrize("field", ["mean", "low", "high", "depth", "n", "failed"])
@settings(max_examples=3, **QUICK)
@given(by=st.floats(0.01, 0.5) | st.floats(-0.5, -0.01))
def test_a_number_that_is_a_little_wrong(field, by, sound, tmp_path, capsys):
    """In a row without digests; an interval of other draws is a third of its width elsewhere."""
    path, tmp = next(sound[0].rglob("full*.json")), tmp_path / "r"
    raw = unsealed(json.loads(path.read_text()))
    score = raw["scores"]["pesq"]
    of = raw if field == "depth" else score
    if field in ("low", "high"):
        by += np.sign(by) * utterance_table.APART * (score["high"] - score["low"])
    of[field] += int(np.sign(by)) if field in ("n", "failed") else by
    shutil.rmtree(tmp, ignore_errors=True)
    shutil.copytree(sound[0], tmp)
    (tmp / path.relative_to(sound[0])).write_text(json.dumps(raw))
    assert board(tmp) == sound[2][path.stem]
    assert "notice: left out: " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_two_hundred_committed_files_damaged_in_place(seed, tmp_path, capsys):
    """All at once: the boards are those without the rows that are named, and no sound row is."""
    root, rng = tmp_path / "r", random.Random(seed)
    for task in ("asr", "se", "sid", "ss"):
        shutil.copytree(ROOT / "results" / task, root / task)
    without = shutil.copytree(root, tmp_path / "without")
    damaged = set()
    for path in rng.sample(files(root), 200):
        path.write_bytes(bitten(path.read_bytes(), rng.random()))
        damaged.add(row_of(path))
    notices._said.clear()
    assert main(["leaderboard", str(root)]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "left out: " in line]
    named = {row_of(Path(line.split("left out: ")[1].split()[0])) for line in said}
    assert named <= damaged and len(named) > len(damaged) // 2 and len(said) == len(named)
    for row in named:
        (without / row.relative_to(root)).unlink()
    assert main(["leaderboard", str(without)]) == 0
    boards = sorted(path.name for path in without.glob("*.*"))
    assert len(boards) == 12
    for name in boards:
        assert (root / name).read_bytes() == (without / name).read_bytes()


def row_of(path):
    """The JSON of a row, of which this file is one."""
    return path.with_name(path.name.removesuffix(".json").removesuffix(".utterances.csv") + ".json")
