"""A results folder in which one JSON or one utterances' table is damaged at random: the same board,
or the board without that row and a notice; never a traceback, never another number.
"""

import io
import json
import random
import shutil

import numpy as np
import pandas as pd
import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.report import folder as rows
from helpers import ROOT
from helpers.rows import kept
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

QUICK = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
LETTERS = list(b'"{}[],:-0159eE.\n\r\0\xff\xe2 ntN')
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.sampled_from(["", "..", "a/b", "<script>|\n\u2028", "x" * 2000, "\ud800", "nan"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)


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
    rows._said.clear()
    assert main(["leaderboard", str(root)]) == 0
    return (root / "leaderboard_se.csv").read_text()


def judged(sound, tmp, path, content, capsys):
    """Damage one file of a copy: the board is as if nothing was, or the row is named and missing.

    A row without digests may have other costs than it had, which nobody can know.
    """
    root, whole, without = sound
    shutil.rmtree(tmp, ignore_errors=True)
    shutil.copytree(root, tmp)
    (tmp / path.relative_to(root)).write_bytes(content)
    capsys.readouterr()
    found, said = board(tmp), capsys.readouterr().err
    row = path.name.removesuffix(".json").removesuffix(".utterances.csv")
    assert found == whole or (found == without[row] and "notice: left out: " in said)


def spots(raw, at=()):
    """Every place of a JSON's fields."""
    inner = {}
    if isinstance(raw, dict | list):
        inner = raw.items() if isinstance(raw, dict) else enumerate(raw)
    return [at] * bool(at) + [spot for key, of in inner for spot in spots(of, (*at, key))]


def files(root):
    return sorted(p for p in root.glob("*/*/*/*/*.*"))


def changed(path, data, value):
    """A row's fields, one of them another value."""
    raw = json.loads(path.read_text())
    *way, last = data.draw(st.sampled_from([s for s in spots(raw) if "digests" not in s]))
    of = raw
    for key in way:
        of = of[key]
    of[last] = value
    return raw


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
    """It may be another number that nothing contradicts; the scores are those of the table."""
    path, tmp = files(sound[0])[2 * number], tmp_path / "r"
    raw = changed(path, data, value)
    if isinstance(raw["detail"], dict):
        raw["detail"].pop("digests", None)
    shutil.rmtree(tmp, ignore_errors=True)
    shutil.copytree(sound[0], tmp)
    (tmp / path.relative_to(sound[0])).write_text(json.dumps(raw))
    found, whole = (pd.read_csv(io.StringIO(text)) for text in (board(tmp), sound[1]))
    assert len(found) in (2, 3) and set(found["pesq"]) <= set(whole["pesq"])
    for verb in (["compare", "exit=adaptive", "curve", "--results"], ["figure", "3", "--results"]):
        assert main([*verb, str(tmp)]) in (0, 2, 3)
    capsys.readouterr()


def bitten(content, seed):
    """Some bytes changed, removed, repeated or cut off."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 3)):
        at, to = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        to = min(to, at + rng.choice((1, 1, 8, 500)))
        kind, other = rng.randrange(4), bytes([rng.choice(LETTERS)])
        middle = (other, b"", content[at:to] * 2, other * (to - at))[kind]
        content = content[:at] + middle + content[to:]
    return content if rng.random() < 0.8 else content[: rng.randrange(len(content) + 1)]


@settings(max_examples=20, **QUICK)
@given(number=st.integers(0, 5), seed=st.integers(0, 10**9))
def test_any_bytes_in_any_file(number, seed, sound, tmp_path, capsys):
    path = files(sound[0])[number]
    judged(sound, tmp_path / "r", path, bitten(path.read_bytes(), seed), capsys)


@pytest.mark.slow
def test_two_hundred_damaged_files_among_the_committed_ones(tmp_path, capsys):
    """All at once: no table but of rows that are sound."""
    root = tmp_path / "r"
    shutil.copytree(ROOT / "results" / "sid", root / "sid")
    capsys.readouterr()
    there = rows.files(root)
    for n, path in enumerate(there):
        for copy in range(1 + 200 // len(there)):
            place = path.with_name(f"fuzzed-{n}-{copy}.json")
            place.write_bytes(bitten(path.read_bytes(), n + 1000 * copy))
    assert main(["leaderboard", str(root)]) == 0
    name = "leaderboard_sid.csv"
    assert (root / name).read_bytes() == (ROOT / "results" / name).read_bytes()
