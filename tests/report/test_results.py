"""Results as files: what was written is read, at a path of its own, or refused by name."""

import json
import math

import pytest
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.benchmark.metrics import Failure
from earlyexit_superb.benchmark.report import board_lines
from earlyexit_superb.benchmark.report.result import FIX, Result, Score, slug
from earlyexit_superb.benchmark.storage import writable
from helpers import ROOT
from helpers.rows import left_at, result
from hypothesis import given, settings
from hypothesis import strategies as st

text = st.text("abcdefghij.+()=, -", min_size=1, max_size=12)


@settings(max_examples=50, deadline=None)
@given(
    upstream=text,
    pesq=st.floats(1.1, 4.8),
    seed=st.integers(0, 99),
    value=st.none() | st.floats(0, 1),
    depth=st.none() | st.integers(0, 12).map(float),
)
def test_round_trip(tmp_path_factory, upstream, pesq, seed, value, depth):
    root = tmp_path_factory.mktemp("r")
    saved = result(
        upstream,
        seed=seed,
        pesq=pesq,
        knob=None if value is None else "rho",
        value=value,
        span="mean",
        depth=depth,
        exit_histogram=left_at(depth, 5),
    )
    assert Result.load(saved.save(root)) == saved


def test_different_cells_have_different_paths(tmp_path):
    cells = [
        result(),
        result(seed=1),
        result(exit="depth 6"),
        result(exit="adaptive", knob="rho", value=0.7, span="mean"),
        result(exit="adaptive", knob="rho", value=0.7, span="min-max"),
        result(exit="adaptive", knob="rho", value=0.76, span="mean"),
    ]
    assert len({c.cell.path(tmp_path) for c in cells}) == len(cells)


def test_failures_are_counted_with_their_reason_and_stay_out_of_the_mean():
    score = Score.over([1.0, Failure("silent reference"), 3.0, Failure("silent reference")])
    assert (score.mean, score.n, score.failed, score.reasons) == (
        2.0,
        2,
        2,
        {"silent reference": 2},
    )
    assert score.low <= 2.0 <= score.high
    nothing = Score.over([Failure("too short")])
    assert nothing.mean is None and nothing.failed == 1


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        result(depth=math.nan).save(tmp_path)


def test_a_file_that_is_no_result_is_named(tmp_path):
    path = result().save(tmp_path)
    path.write_text(path.read_text()[:50])
    with pytest.raises(UsageError, match="is not a result"):
        Result.load(path)
    path.write_text(json.dumps({"schema": 99}))
    with pytest.raises(UsageError, match="schema 99"):
        Result.load(path)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"cannot be written .*--results"):
        writable(tmp_path / "file" / "below", FIX)


def test_nothing_is_left_of_an_interrupted_write(tmp_path):
    result().save(tmp_path, [{"id": "a", "pesq": 1.0}])
    assert sorted(p.suffix for p in tmp_path.rglob("*") if p.is_file()) == [".csv", ".json"]


GOLDEN = ROOT / "tests" / "golden"


def test_a_result_of_schema_1_is_read_with_what_it_holds():
    old, raw = (
        Result.load(GOLDEN / "result_schema1.json"),
        json.loads((GOLDEN / "result_schema1.json").read_text()),
    )
    was = raw["detail"]["cost"]
    assert (
        old.schema == 3
        and old.scores["pesq"].mean == raw["scores"]["pesq"]["mean"]
        and old.exit_histogram == raw["exit_histogram"]
    )
    assert (old.cost.macs_saved, old.cost.time_saved) == (raw["macs_saved"], raw["time_saved"])
    assert (
        old.cost.gmacs_per_s == was["macs"] / was["audio_seconds"] / 1e9
        and old.cost.rtfx is None
        and old.layer_weights == ()
    )
    assert (old.detail["calibration"]["knob"], old.detail["calibration"]["value"]) == ("rho", 0.7)
    assert board_lines.row(old)["gmacs_per_s"] == round(old.cost.gmacs_per_s, 4)


def test_a_schema_that_is_not_known_is_refused_with_what_to_do(tmp_path):
    raw = json.loads((GOLDEN / "result_schema1.json").read_text()) | {"schema": 99}
    (tmp_path / "new.json").write_text(json.dumps(raw))
    with pytest.raises(
        UsageError, match="result schema 99, this version reads 1 to 3; update the program"
    ):
        Result.load(tmp_path / "new.json")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_a_path_is_made_of_slugs(name):
    import re

    assert (
        re.fullmatch(r"[A-Za-z0-9.-]+", slug(name))
        and len(slug(name)) <= 80
        and slug(name) not in (".", "..")
    )
    path = result(upstream=name).cell.path(ROOT)
    assert all(re.fullmatch(r"[A-Za-z0-9.-]+", part) for part in path.relative_to(ROOT).parts)


def test_names_with_the_same_slug_have_different_paths(tmp_path):
    assert result("a(b)").cell.path(tmp_path) != result("a-b").cell.path(tmp_path)
