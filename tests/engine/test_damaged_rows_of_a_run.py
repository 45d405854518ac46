"""A run that finds its rows damaged at random: the same rows, or made again; never a traceback."""

import json
import shutil

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.migration import SCHEMA
from helpers import command, jsons, numbers
from helpers.row_damage import QUICK, bitten, changed, files, unsealed, values
from hypothesis import assume, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("shared_cache")


def again(finished, corpus, tmp, path, content, capsys):
    """Damage one file of a copy and repeat the command: the copy, and what the command said."""
    shutil.rmtree(tmp, ignore_errors=True)
    shutil.copytree(finished, tmp)
    (tmp / path.relative_to(finished)).write_bytes(content)
    capsys.readouterr()
    status = main(command(corpus, tmp, "--rho", "1.0"))
    said = capsys.readouterr()
    assert status == 0 and "unprocessed" in said.out
    return tmp, said.err


def any_bytes(number, seed, finished, corpus, tmp_path, capsys):
    there = files(finished)
    path = there[number % len(there)]
    content = bitten(path.read_bytes(), seed)
    tmp, said = again(finished, corpus, tmp_path / "r", path, content, capsys)
    assert numbers(tmp) == numbers(finished)
    damaged = list(tmp.rglob("*.damaged"))
    assert len(damaged) == said.count("set aside as") <= 1


def any_value(data, number, value, seal, finished, corpus, tmp_path, capsys):
    there = [path for path in files(finished) if path.suffix == ".json"]
    path = there[number % len(there)]
    raw = changed(path, data, value)
    assume(not (type(raw["schema"]) is int and raw["schema"] > SCHEMA))  # which is left alone
    content = json.dumps(raw if seal else unsealed(raw)).encode()
    tmp, _ = again(finished, corpus, tmp_path / "r", path, content, capsys)
    if seal:
        assert numbers(tmp) == numbers(finished)
    means = [{n: of_the_table(row) for n, row in jsons(root).items()} for root in (tmp, finished)]
    assert means[0] == means[1]


def of_the_table(row):
    """What a row without digests cannot have otherwise."""
    means = {name: (of["mean"], of["n"], of["failed"]) for name, of in row["scores"].items()}
    return means, row["depth"], row["exit_histogram"]


numbered, seeded = st.integers(0, 99), st.integers(0, 10**9)


@settings(max_examples=4, **QUICK)
@given(number=numbered, seed=seeded)
def test_any_bytes(number, seed, finished, corpus, tmp_path, capsys):
    any_bytes(number, seed, finished, corpus, tmp_path, capsys)


@settings(max_examples=4, **QUICK)
@given(data=st.data(), number=numbered, value=values, seal=st.booleans())
def test_any_value(data, number, value, seal, finished, corpus, tmp_path, capsys):
    any_value(data, number, value, seal, finished, corpus, tmp_path, capsys)


@pytest.mark.slow
@settings(max_examples=40, **QUICK)
@given(number=numbered, seed=seeded)
def test_any_bytes_forty_times(number, seed, finished, corpus, tmp_path, capsys):
    any_bytes(number, seed, finished, corpus, tmp_path, capsys)


@pytest.mark.slow
@settings(max_examples=80, **QUICK)
@given(data=st.data(), number=numbered, value=values, seal=st.booleans())
def test_any_value_eighty_times(data, number, value, seal, finished, corpus, tmp_path, capsys):
    any_value(data, number, value, seal, finished, corpus, tmp_path, capsys)
