"""DAISY's Table 1 from rows and published files: numbers, the table that is read, LaTeX."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from earlyexit_superb.benchmark.contract import Metric
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.report import table1
from earlyexit_superb.benchmark.report.latex import ESCAPED, escaped, latex
from earlyexit_superb.benchmark.report.result import Cost
from helpers import ROOT
from helpers.rows import kept, result

SHOWN = {"se": [Metric("pesq", True, "MOS-LQO, wide-band"), Metric("stoi", True)]}
KNOWN = table1.published(ROOT / "results", ["se", "keywords"])


def daisy(value, span, **more):
    about = {"exit": "adaptive", "knob": "rho", "value": value, "span": span}
    return result("daisy.tiny", **about | more)


def other(row, **fields):
    """The row of another cell."""
    return replace(row, cell=replace(row.cell, **fields))


def read(results, known=KNOWN):
    numbers = table1.lines({"se": results}, known)
    wide = table1.wide(numbers, SHOWN)
    flat = wide.set_axis([" ".join(filter(None, name)) for name in wide.columns], axis=1)
    return numbers, wide, flat


def test_published_numbers_stand_under_the_rows_they_belong_to_as_they_are_printed():
    rows = [daisy(0.7, "min-max"), daisy(1.0, "mean"), daisy(0.76, "mean"), result("hubert.tiny")]
    _, _, flat = read(rows)
    printed = pd.read_csv(ROOT / "results" / "published_se.csv", dtype=str)
    paper = flat[flat["source"] == "paper"]
    assert list(paper["SE PESQ ↑"]) == [*printed["pesq"][1:], printed["pesq"][0]]
    assert list(paper["SE time saved %"]) == [*printed["time_saved"][1:], printed["time_saved"][0]]
    told = [tuple(line) for line in flat[["source", "upstream", "rho", "span"]].to_numpy()]
    at = told.index(("ours", "daisy.tiny", "1.00", "mean"))
    assert told[at + 1] == ("paper", "DAISY", "1.00", "mean")
    assert told.index(("ours", "daisy.tiny", "0.76", "mean")) < told.index(
        ("ours", "daisy.tiny", "0.70", "min-max")
    )
    assert told[-2:] == [("ours", "hubert.tiny", "", ""), ("paper", "HuBERT Base", "", "")]


def test_what_is_not_there_is_said_to_be_missing():
    """No published MACs, no rho 0.76 in the paper, no published file for a task of one's own."""
    assert set(KNOWN) == {"se"}
    _, _, flat = read([daisy(0.76, "mean"), result("unprocessed", "unprocessed", seed=None)])
    assert set(flat[flat["source"] == "paper"]["SE MACs saved %"]) == {table1.NONE}
    assert (flat[flat["rho"] == "0.76"]["source"] == "ours").all()
    both = {
        "se": [daisy(1.0, "mean"), daisy(1.0, "threshold")],
        "other": [daisy(1.0, "mean", pesq=3.0)],
    }
    numbers = table1.lines(both, {})
    numbers.loc[2, "task"] = "other"
    wide = table1.wide(numbers, {"se": SHOWN["se"][:1], "other": SHOWN["se"][:1]})
    assert list(wide["OTHER", "PESQ ↑"]) == ["3.000 ±0.100", table1.NONE]


def test_seeds_are_one_line_and_one_seed_has_its_interval():
    numbers, _, flat = read([daisy(1.0, "mean", seed=s, pesq=p) for s, p in ((0, 2.0), (1, 2.5))])
    [line] = numbers[numbers["source"] == "ours"].to_dict("records")
    assert line["seed"] == "mean of 2" and line["pesq"] == 2.25
    assert flat["SE PESQ ↑"].iloc[0] == "2.250 ±0.354"
    _, _, flat = read([daisy(1.0, "mean")])
    assert flat["SE PESQ ↑"].iloc[0] == "2.000 ±0.100"


def test_a_span_of_one_depth_is_marked():
    marked = [
        daisy(1.0, span, detail={"exit": {"depths": depths, "tau": 0.5}})
        for span, depths in (("mean", [3, 4]), ("threshold", [3]))
    ]
    numbers, _, flat = read(marked, {})
    assert list(flat["SE PESQ ↑"].str.endswith(table1.ONE_DEPTH)) == [False, True]
    assert "nothing is tested" in table1.caption(numbers)


def test_no_row_stands_in_the_place_of_another():
    """Tested at another rho, of other weights, of another knob's values: with numbers of their
    own, in both tables; and with columns that say so only where there are such rows.
    """
    plain, knob = daisy(0.7, "mean", pesq=2.0), {"knob": "target_depth", "exit": "adaptive"}
    rows = [
        plain,
        other(daisy(0.7, "mean", pesq=2.1), test_value=0.9),
        other(daisy(0.7, "mean", pesq=2.2), test_value=0.5),
        other(daisy(0.7, "mean", pesq=2.3), revision="def"),
        other(daisy(0.7, "mean", pesq=2.4), upstream="daisy.tiny(bf16)"),
        other(daisy(0.7, "mean", pesq=2.5), upstream="daisy.tiny(tap=ffn)"),
        daisy(0.7, "mean", exit="budget 30%", pesq=2.6),
        daisy(0.7, "mean", exit="max loss 0.1", pesq=2.7),
        result("b", **knob, value=4.0, span="mean", pesq=2.8),
        result("b", **knob, value=6.0, span="mean", pesq=2.9),
    ]
    numbers, wide, flat = read(rows, {})
    read_of = [float(text.split()[0]) for text in flat["SE PESQ ↑"]]
    assert sorted(read_of) == [2.0 + n / 10 for n in range(10)] and len(wide) == 10
    told = dict(zip(read_of, zip(flat["at test"], flat["knob"], strict=True), strict=True))
    assert told[2.0] == ("", "") and told[2.1] == ("0.9", "") and told[2.2] == ("0.5", "")
    assert told[2.8] == ("", "target_depth 4") and told[2.9] == ("", "target_depth 6")
    assert read_of.index(2.1) < read_of.index(2.0) < read_of.index(2.2)
    assert len(table1.against(numbers, SHOWN)) == 8
    assert dict(zip(read_of, flat["revision"], strict=True))[2.3] == "def"
    assert not {"at test", "knob", "revision"} & set(read([plain], KNOWN)[2])


def test_adaptive_rows_are_held_against_fixed_exits_at_equal_macs(tmp_path):
    """Halfway between two depths, that scores a quarter more than their mean, everywhere."""
    cost, rows = Cost(reference="hubert.tiny"), []
    for seed in (0, 1):
        shallow, deep = np.random.default_rng(seed).random((2, 40))
        better = (shallow + deep) / 2 + 0.25
        fixed = {"upstream": "hubert.tiny", "cost": cost, "seed": seed}
        rows += [
            kept(tmp_path, shallow, gmacs=2.0, exit="depth 0", **fixed),
            kept(tmp_path, deep, gmacs=6.0, exit="full", **fixed),
        ]
        at = {"upstream": "daisy.tiny", "exit": "adaptive", "knob": "rho", "value": 1.0}
        at |= {"cost": cost, "seed": seed}
        one = {"exit": {"depths": [3]}}
        rows += [
            kept(tmp_path, better, gmacs=4.0, span="mean", **at),
            kept(tmp_path, better, gmacs=1.0, span="all", **at),  # cheaper than any fixed exit
            kept(tmp_path, better, gmacs=4.0, span="min-max", **at, detail=one),
        ]
    metrics = {"se": [Metric("pesq", True)]}
    table = table1.against(table1.lines({"se": rows}, {}), metrics)
    told = table["SE", "minus fixed exits"].tolist()
    assert told == ["+0.250 [+0.250, +0.250]*", table1.ONE_DEPTH, table1.NONE]
    assert table["SE", "minus random exits"].tolist() == ["--", table1.ONE_DEPTH, "--"]


def test_the_caption_says_that_small_models_and_the_paper_are_not_comparable():
    numbers, _, _ = read([daisy(1.0, "mean")])
    said = table1.caption(numbers)
    assert "not comparable" in said and "arXiv:2406.05464" in said and "mini@ffff" in said


def test_the_numbers_survive_a_csv():
    numbers, wide, _ = read([daisy(1.0, "mean"), daisy(0.7, "mean"), result("hubert.tiny")])
    again = pd.read_csv(io.StringIO(numbers.to_csv(index=False)))
    ours, same = (of[of["source"] == "ours"] for of in (numbers, again))
    assert list(ours["pesq"]) == list(same["pesq"]) and len(again) == len(numbers) == len(wide)


def test_latex_is_safe_whatever_the_names():
    _, wide, _ = read([result("a_b&c%{$#~^\\}<x>", pesq=2.0)])
    text = latex(wide, "50 % of _x_", "tab:daisy")
    body = text[text.index(r"\midrule") :].partition(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == len(wide)
    for line in rows:
        bare = line
        for safe in ESCAPED.values():
            bare = bare.replace(safe, "")
        # only the column separators are left of what LaTeX reads as commands
        assert bare.removesuffix(r"\\").count("&") == wide.shape[1] - 1
        assert not set("_%$#~^{}\\") & set(bare.removesuffix(r"\\"))
    assert r"\caption{50 \% of \_x\_}" in text and text.isascii()
    assert text.count(r"\begin") == text.count(r"\end") == 2
    # a rule between DAISY's published rows and those of full depth
    assert text.count(r"\midrule") == 2


def test_every_character_is_escaped_once():
    assert escaped("\\{}") == r"\textbackslash{}\{\}"


def test_a_table_of_published_numbers_without_its_columns_is_refused(tmp_path):
    (tmp_path / "published_se.csv").write_text("upstream,pesq\nx,1\n")
    with pytest.raises(UsageError, match=r"published_se.csv is no table .*exit, rho, source, span"):
        table1.published(tmp_path, ["se"])
    line = "x,adaptive,1.0,mean,paper\n"
    (tmp_path / "published_se.csv").write_text(f"upstream,exit,rho,span,source\n{line}{line}")
    with pytest.raises(UsageError, match="has two lines of x adaptive 1.0 mean; keep one"):
        table1.published(tmp_path, ["se"])
