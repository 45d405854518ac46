"""`compare`: rows by name, all seeds of both, and one sentence for what cannot be compared."""

import json
import re

import numpy as np
import pytest
from earlyexit_superb.benchmark.cli import main
from helpers.rows import kept

X = np.random.default_rng(0).normal(2, 0.5, 60)
RHO = {"exit": "adaptive", "knob": "rho", "detail": {"exit": {"depths": [3, 6], "tau": 0.5}}}


@pytest.fixture
def folder(tmp_path):
    for seed in (0, 1):
        kept(tmp_path, X, seed=seed, exit="depth 6", gmacs=4.0)
        kept(tmp_path, X + 0.5, seed=seed, exit="full", gmacs=6.0)
        for span in ("mean", "all"):
            kept(tmp_path, X + 0.125, seed=seed, value=0.7, span=span, gmacs=5.0, **RHO)
    return tmp_path


def compare(folder, *words):
    return main(["compare", *words, "--results", str(folder)])


def test_a_difference_over_seeds_is_printed(folder, capsys):
    a, b = "rho=0.7 exit=adaptive span=mean", "task=se exit=depth 6 + layer-norm corpus=mini"
    assert compare(folder, a, b, "--json") == 0
    [line] = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert line["metric"] == "pesq" and line["value"] == pytest.approx(0.125)
    assert (line["n"], line["seeds"], line["speakers"]) == (60, 2, 6)
    assert compare(folder, a, "curve") == 0
    out = capsys.readouterr().out
    assert "-0.1250" in out and "B: curve" in out and "A: upstream=u " in out


def test_a_row_may_be_a_path(folder, capsys):
    paths = [str(next(folder.rglob(f"{name}*.json"))) for name in ("depth-6", "full")]
    assert compare(folder, *paths) == 0 and "-0.5000" in capsys.readouterr().out


def test_an_upstream_is_named_with_its_options(folder, capsys):
    for seed in (0, 1):
        kept(folder, X, seed=seed, exit="full", upstream="u(weights=random, front=x)")
    name = "exit=full + layer-norm upstream=u(weights=random, front=x)"
    assert compare(folder, name, "exit=depth 6 + layer-norm") == 0
    assert "A: upstream=u(weights=random, front=x)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "a, b, said",
    [
        ("rho=0.7", "exit=full", "names 2 rows; say which: span=all | span=mean"),
        ("rho=0.8", "curve", "no row has rho=0.8 there; .*0.7"),
        ("exit=adaptve", "curve", "did you mean adaptive"),
        ("adaptive", "curve", "names no row; give a JSON, or columns"),
        ("spam=mean", "curve", "not named by spam; did you mean span"),
        ("gone.json", "curve", "there is no row gone.json"),
        ("rho=0.7 span=all", "random", "A has no random row .*--set exits=random .seed 0, 1"),
    ],
)
def test_what_is_not_one_row_is_one_sentence(folder, capsys, a, b, said):
    assert compare(folder, a, b) == 2
    assert re.search(said, capsys.readouterr().err)


def test_rows_of_two_corpora_are_refused(folder, tmp_path, capsys):
    one = next(folder.rglob("full*.json"))
    other = tmp_path / "other.json"
    raw = json.loads(one.read_text().replace("ffff", "eeee"))
    del raw["detail"]["digests"]  # changed on purpose
    other.write_text(json.dumps(raw))
    assert compare(folder, str(one), str(other)) == 2
    assert "A and B have another corpus_hash (ffff and eeee)" in capsys.readouterr().err
