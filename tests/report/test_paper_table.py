"""A paper's table from rows and printed numbers: what stands beside what, thresholds, claims."""

from dataclasses import replace

import pandas as pd
import pytest
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.report import paper_claims, paper_table
from earlyexit_superb.benchmark.report.figures import paper_cost, paper_exits, paper_shares
from earlyexit_superb.benchmark.report.paired import difference
from earlyexit_superb.benchmark.report.paper_table import Made, published
from earlyexit_superb.benchmark.report.paper_text import About, of_claims, texts
from earlyexit_superb.benchmark.report.papers import PAPERS, zaiem
from helpers import ROOT, papers

RESULTS = ROOT / "results"
NAMED = [
    (paper, kind, number)
    for paper in PAPERS.values()
    for kind, known in (("table", paper.tables), ("figure", paper.figures))
    for number in known
]
PRINTED = pd.DataFrame(
    [["", "whole", "", "3.9", "p. 3"], ["Exits", "S=0.1", "", "5.00", "p. 3"]],
    columns=["group", "line", "arm", "wer", "source"],
)


def numbers_of(paper, kind, number):
    return published(RESULTS, paper_table.name_of(paper.name, kind, number))


@pytest.mark.parametrize("paper, kind, number", NAMED, ids=lambda x: getattr(x, "name", x))
def test_what_is_printed_stands_in_a_line(paper, kind, number):
    """And every line of a table that is no control and can be made is printed somewhere."""
    known = numbers_of(paper, kind, number)
    of = (paper.tables if kind == "table" else paper.figures)[number]
    printed = set(known[["group", "line", "arm"]].itertuples(index=False, name=None))
    lines = {(line.group, line.label, line.arm): line for line in of.lines}
    assert printed <= set(lines)
    if kind == "table":
        assert len(lines) == len(of.lines)
        missing = [key for key, line in lines.items() if key not in printed and not line.control]
        assert all(group.startswith("Layer removal") for group, *_ in missing)


def test_printed_numbers_are_the_papers():
    """Spot checks, as the tables have them."""
    one = numbers_of(PAPERS["hubert-ee"], "table", "1").set_index("line")
    assert one.loc["Entropy Thres.=0.0025", ["wer", "rtf"]].tolist() == ["4.17", "3.312"]
    two = numbers_of(PAPERS["hubert-ee"], "table", "2").set_index(["line", "arm"])["wer"]
    assert (two["5", "Joint Training"], two["5", "Two-stage Training"]) == ("21.11", "37.36")
    exits = numbers_of(PAPERS["early-exit-asr"], "table", "2").set_index(["group", "line", "arm"])
    assert exits.loc[("Wav2Vec2-CTC", "12", "EE"), ["wer", "wer_other"]].tolist() == ["4.3", "12.2"]
    poster = numbers_of(PAPERS["zaiem"], "table", "1").set_index("line")
    assert poster.loc["0.955", ["depth", "wer", "gpu_s", "cpu_s"]].tolist() == [
        *("13.97", "25.29", "95", "798")
    ]
    words = numbers_of(PAPERS["zaiem"], "table", "1").set_index(["group", "line"])["wer"]
    both = [words[group, "CL3"] for group in ("Downsampling", zaiem.WITH_LM)]
    assert both == ["5.47", "4.12"] and words[zaiem.WITH_LM, "Full Model"] == "3.31"


def test_a_published_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "published_x_table1.csv").write_text("group,line,wer,source\n")
    with pytest.raises(UsageError, match="has no column arm"):
        published(tmp_path, "x_table1")
    PRINTED.loc[[0, 0]].to_csv(tmp_path / "published_x_table1.csv", index=False)
    with pytest.raises(UsageError, match="two lines of whole"):
        published(tmp_path, "x_table1")
    assert published(tmp_path, "other").empty and published(None, "other").empty
    broken = tmp_path / "published_x_table1.csv"
    broken.write_text("group,line,arm,wer,source\n,whole,,3.9,p. 3, column 2\n")
    with pytest.raises(UsageError, match="line 2, has other columns than its first line; put quot"):
        published(tmp_path, "x_table1")
    many = PRINTED.loc[[0, 0]].assign(depth=["5", "8"])  # of a figure every depth has a line
    many.to_csv(tmp_path / "published_x_figure4.csv", index=False)
    assert len(published(tmp_path, "x_figure4")) == 2


@pytest.fixture
def made(tmp_path):
    """Two seeds of the lines of a table, the last of which has no rows."""
    whole, early, sure, absent = papers.TABLE.lines
    tau = {"tau": 6.4, "exit": "tau 6.4"}
    return [
        Made(whole, _seeds(tmp_path, "two", [10, 10, 20, 20], depth=3)),
        Made(early, _seeds(tmp_path, "one", [20, 20, 40, 20], **tau), (32.0, 0.0)),
        Made(sure, _seeds(tmp_path, "sure", [20, 20, 40, 40], tau=0.2, exit="tau 0.2"), (-1, 1)),
        Made(absent, lacking=absent.lacking),
    ]


def _seeds(folder, upstream, wers, **more):
    more["depth"] = more.get("depth", 2)
    both = (wers, [wer + 10 for wer in wers])
    return tuple(
        papers.row(folder, of, upstream, seed=seed, **more) for seed, of in enumerate(both)
    )


def test_numbers_are_means_over_seeds_with_thresholds_in_both_units(made):
    table = paper_table.numbers(made, PRINTED)
    assert list(table["source"]) == ["paper", "ours", "paper", "ours", "ours", paper_table.NONE]
    ours = table[table["source"] == "ours"].set_index("line")
    assert ours.loc["whole", ["wer", "wer_sd", "rtf"]].tolist() == [20, round(50**0.5, 4), 20]
    assert ours.loc["S=0.1", ["threshold", "tau"]].tolist() == [0.2, 6.4]
    assert ours.loc["C=0.9", ["threshold", "tau"]].tolist() == [0.8, 0.2]
    assert ours.loc["whole", ["threshold", "tau"]].isna().all()
    assert ours["at_one_depth"].tolist() == [False, True, True]


def test_the_table_that_is_read_has_what_is_printed_beside_ours(made):
    about = About(papers.PAPER, "1", ["Absent: no recipe makes it"], {"joint": "x"}, "tiny", True)
    claims = paper_claims.claims(made, papers.TABLE, [row for one in made for row in one.rows])
    markdown, tex = texts(about, paper_table.numbers(made, PRINTED), claims)
    line = next(line for line in markdown.splitlines() if "| S=0.1 |" in line)
    assert "| 5.00 | 30.00 [25.00, " in line and "2.00†" in line
    assert "| absent | -- |" in markdown.replace("Others | ", "")
    assert "Upstreams tuned on labelled data" in markdown and "some transcripts" in markdown
    assert "* Absent: no recipe makes it." in markdown and "* As an example." in markdown
    assert tex.count(r"\begin{table*}") == 1 + bool(len(claims))


def test_claims_are_paired_differences(tmp_path):
    shallow = _seeds(tmp_path, "a", [40, 40, 60, 60], exit="depth 1")
    deep, last = (_seeds(tmp_path, u, w) for u, w in (("a", [0, 0, 10, 20]), ("b", [5] * 4)))
    others = _seeds(tmp_path, "b", [50] * 4, exit="depth 1"), last
    at = {(line.label, line.arm): line for line in papers.BESIDE.lines}
    made = [
        Made(at["1", "one"], shallow),
        Made(at["1", "other"], others[0]),
        Made(at["3", "one"], deep),
        Made(at["3", "other"], others[1]),
    ]
    told = paper_claims.claims(made, papers.BESIDE, []).set_index(["claim", "line"])
    expected = difference(shallow, others[0], "wer")
    found = told.loc[("one minus other", "1")]
    assert found["value"] == pytest.approx(expected.value) and found["seeds"] == 2
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert told.loc[("one, minus the exit before it", "3"), "value"] == pytest.approx(-42.5)
    named = replace(papers.BESIDE, minus=(), pairs=(("called so", made[2].line, made[1].line),))
    [line] = paper_claims.claims(made[1:3], named, []).to_dict("records")
    assert line["claim"] == "called so" and line["value"] == pytest.approx(-42.5)
    assert paper_claims.claims(made[:2], named, []).empty
    text = paper_claims.read(told.reset_index())
    assert text["difference of WER %"].iloc[0].startswith("+0.00 [")


def test_a_row_that_leaves_by_itself_is_held_against_its_own_fixed_exits(tmp_path):
    early = papers.TABLE.lines[1]
    fixed = [
        papers.row(tmp_path, wers, exit=exit, depth=depth)
        for wers, exit, depth in (([40] * 4, "depth 1", 1), ([10] * 4, "full", 3))
    ]
    row = papers.row(tmp_path, [15, 15, 25, 25], exit="tau 3.2", depth=2, tau=3.2)
    [told] = paper_claims.claims([Made(early, (row,))], papers.TABLE, [*fixed, row]).to_dict(
        "records"
    )
    assert told["claim"] == "minus fixed exits" and told["value"] == pytest.approx(-5)


def test_a_row_that_is_dearer_than_no_exit_is_not_left_out(tmp_path):
    early = papers.TABLE.lines[1]
    exits = (("depth 1", 1), ("depth 2", 2))
    fixed = [papers.row(tmp_path, [40] * 4, exit=exit, depth=k) for exit, k in exits]
    row = papers.row(tmp_path, [15] * 4, exit="tau 3.2", depth=3, tau=3.2)
    told = paper_claims.claims([Made(early, (row,))], papers.TABLE, [*fixed, row])
    assert told["claim"].tolist() == ["minus fixed exits"] and told["value"].isna().all()
    shown = paper_claims.read(told)
    assert shown["difference of WER %"].tolist() == shown["p"].tolist() == ["--"]
    assert "costs more than its last fixed exit" in of_claims(told)


def test_times_of_two_devices_are_not_one_curve(made):
    pytest.importorskip("matplotlib")
    table = paper_cost.frame(made, PRINTED)
    table.loc[table.index[-1], ["device", "rtf"]] = ["another", 0.2]
    figure = paper_cost.draw(table)
    assert figure.axes[0].get_title(loc="left").endswith("1 points of other devices left out")


def test_figures_draw_what_their_tables_say(made):
    matplotlib = pytest.importorskip("matplotlib.figure")
    fixed = papers.FIGURES["1"].lines[-1]
    made = [*made, Made(fixed, made[0].rows)]
    for module in (paper_cost, paper_exits):
        table = module.frame(made, PRINTED)
        assert list(table["label"]) == ["whole", "S=0.1", "C=0.9", "1"]
        assert list(table["kind"]) == ["whole model", "threshold", "threshold", "fixed exit"]
        assert isinstance(module.draw(table), matplotlib.Figure)
    printed = PRINTED.assign(depth="2", share="94")
    table = paper_shares.frame(made[1:2], printed)
    assert table[["depth", "share", "printed"]].to_numpy().tolist() == [[2, 100.0, "94"]]
    assert isinstance(paper_shares.draw(table), matplotlib.Figure)
