"""A results folder in which one JSON or one utterances' table is damaged at random: the same board,
or the board without that row and a notice; never a traceback, never another number.
"""

import json
import random
import shutil
from functools import cache

import numpy as np
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
    """Rows of a backbone and an adaptive one; their board; their board without each."""
    root, rng = tmp_path_factory.mktemp("sound"), np.random.default_rng(0)
    for exit, gmacs in (("depth 6", 4.0), ("full", 6.0)):
        kept(root, 2 + rng.random(20), exit=exit, gmacs=gmacs)
    of = {"exit": {"depths": [6, 12], "tau": 0.5}}
    left = [0] * 6 + [10] + [0] * 5 + [10]
    more = {"exit": "adaptive", "knob": "rho", "value": 0.7, "span": "mean", "detail": of}
    kept(root, 2 + rng.random(20), gmacs=5.0, exit_histogram=left, **more)
    return root


def board(root):
    """What `leaderboard` writes of a folder."""
    rows._said.clear()
    assert main(["leaderboard", str(root)]) == 0
    return (root / "leaderboard_se.csv").read_text()


def outcome(root, damaged):
    """The damaged file makes no difference, or its row is named and is not there."""

    @cache
    def without(name):
        copy = root.parent / f"without-{name}"
        shutil.copytree(root, copy, dirs_exist_ok=True)
        next(copy.rglob(name)).unlink()
        return board(copy)

    return board(root), without(
        f"{damaged.name.partition('.utterances')[0].removesuffix('.json')}.json"
    )


def judged(sound, tmp, path, content, capsys):
    """Damage a copy; both boards as they should be, and a notice where one row is left out."""
    whole = board(sound)
    shutil.rmtree(tmp, ignore_errors=True)
    shutil.copytree(sound, tmp)
    damaged = tmp / path.relative_to(sound)
    damaged.write_bytes(content)
    capsys.readouterr()
    found, without = outcome(tmp, damaged)
    said = capsys.readouterr().err
    assert found == whole or (found == without and "notice: left out: " in said)


def spots(raw, at=()):
    """Every place of a JSON's fields."""
    found = [at] if at else []
    inner = (
        raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    )
    return found + [spot for key, value in inner for spot in spots(value, (*at, key))]


def files(sound):
    return sorted(p for p in sound.rglob("*/*") if p.is_file() and p.suffix in (".json", ".csv"))


@settings(max_examples=30, **QUICK)
@given(data=st.data(), value=values, seal=st.booleans())
def test_any_value_in_any_field(data, value, seal, sound, tmp_path, capsys):
    path = data.draw(st.sampled_from([p for p in files(sound) if p.suffix == ".json"]))
    raw = json.loads(path.read_text())
    *way, last = data.draw(st.sampled_from([s for s in spots(raw) if "digests" not in s]))
    of = raw
    for key in way:
        of = of[key]
    of[last] = value
    judged(sound, tmp_path / "r", path, json.dumps(raw).encode(), capsys)


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


@settings(max_examples=30, **QUICK)
@given(number=st.integers(0, 100), seed=st.integers(0, 10**9))
def test_any_bytes_in_any_file(number, seed, sound, tmp_path, capsys):
    there = files(sound)
    path = there[number % len(there)]
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
