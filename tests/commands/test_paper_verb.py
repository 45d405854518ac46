"""The verb paper: what there is, mistakes, and a second call that only prints."""

from dataclasses import replace
from pathlib import Path

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import cost, run
from earlyexit_superb.benchmark.report import papers, row_notes
from earlyexit_superb.benchmark.report.papers.shape import Figure, Line
from earlyexit_superb.upstreams.training import recognition
from helpers import papers as toys
from helpers.sounds import spoken_list


def test_it_says_what_there_is(capsys):
    assert main(["paper"]) == 0
    said = capsys.readouterr().out
    for name, paper in papers.PAPERS.items():
        assert f"{name}: {paper.reference}" in said
    assert "  --table 2  WER on test-clean at each exit, by fine-tuning strategy" in said
    assert main(["paper", "zaiem"]) == 0
    said = capsys.readouterr().out
    assert "first-22-blocks: zaiem.tiny single=11, or zaiem.large single=22 by preset" in said
    assert "shorten=conv3 per_frame=2 single=24 by preset paper-downsampling" in said
    assert main(["paper", "hubert-ee"]) == 0
    said = capsys.readouterr().out
    assert "distilled-8-blocks: distilhubert.tiny8, or distilhubert.base8 by preset paper" in said
    assert "single=8 by preset paper, from distilled-8-blocks" in said


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("hubertee", "there is no paper 'hubertee': did you mean hubert-ee"),
        ("zaiem --table 2", "paper zaiem has no table 2 here; it has: 1"),
        ("zaiem --figure 2", "it has: no figure"),
        ("hubert-ee --table 1 --figure 2", "one of them at a time"),
        (
            "hubert-ee --table 1 --only nothing",
            "is called so; its parts: HuBERT-base",
        ),
        ("hubert-ee --table 1 --data nowhere", "--data nowhere: there is no such folder"),
        ("hubert-ee --table 1 --preset paper", "name a corpus: --data LibriSpeech"),
        ("hubert-ee --table 1 --batch 1", "--batch is a number of utterances from 2"),
        ("hubert-ee --table 1 --weights joint", "--weights takes key=value"),
        ("hubert-ee --table 2 --weights jont=x", "did you mean joint"),
        ("hubert-ee --table 2 --train stesp=1", "has no option 'stesp': did you mean steps"),
        ("hubert-ee --table 2 --train weights=x", "has no option 'weights'"),
        ("early-exit-asr --table 2 --train head=tied", "train one of your own, run_benchmark.py"),
        ("hubert-ee --table 2 --train strategy=joint", "told apart by it (joint: joint)"),
        ("hubert-ee --table 3 --train layerdrop=0.05", "told apart by it (layerdrop-0.1: 0.1)"),
        ("zaiem --table 1 --only similarity", "with a language model: none is named; name a"),
        ("zaiem --table 1 --published nowhere", "there is no published_*.csv in it"),
        # before any training
        ("hubert-ee --table 2 --set tset_limit=4", "did you mean test_limit"),
        ("hubert-ee --table 2 --set test_limit=-4", "--set test_limit is above 0, not -4"),
        ("hubert-ee --table 2 --set criterion=margin", "no protocol of asr has it"),
        ("zaiem --table 1 --set lm=none.arpa", "--set lm=none.arpa: there is no such file"),
    ],
)
def test_bad_input_is_one_sentence(line, sentence, tmp_path, capsys):
    assert main(["paper", *line.split(), "--results", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert sentence in err and "Traceback" not in err


def test_a_figure_without_rows_is_one_sentence(tmp_path, capsys, monkeypatch):
    absent = Figure("exits", "paper_exits", (Line("absent", lacking="Absent: no recipe makes it"),))
    paper = replace(toys.PAPER, figures={"2": absent})
    monkeypatch.setitem(papers.PAPERS, "toy", paper)
    assert main(["paper", "toy", "--figure", "2", "--results", str(tmp_path)]) == 2
    told = "paper toy: --figure 2 has nothing to draw: Absent: no recipe makes it"
    assert told in capsys.readouterr().err


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(papers.PAPERS, "toy", toys.PAPER)


def twice(line, monkeypatch, capsys):
    """stdout of a command; a second call prints the same, writes the same, trains and makes
    nothing."""
    monkeypatch.setattr(row_notes, "one_sided", lambda rows: [f"of {len(rows) > 0} rows"])
    assert main(line) == 0
    first = capsys.readouterr()
    assert "warning: of True rows" in first.err
    paths = [Path(line) for line in first.err.splitlines()[-4:]]
    files = {path: path.read_bytes() for path in paths}
    with monkeypatch.context() as nothing:
        nothing.setattr(recognition, "train", None)
        nothing.setattr(run, "_make", lambda exp, missing, *rest: [] if not missing else 1 / 0)
        assert main(line) == 0
    again = capsys.readouterr()
    assert again.out == first.out and "rows to make" not in again.err
    assert {path: path.read_bytes() for path in paths} == files
    return first.out


@pytest.mark.slow
def test_a_second_call_makes_nothing_and_gives_the_same_files(
    toy, tmp_path, shared_cache, capsys, monkeypatch
):
    about = ["--data", str(spoken_list(tmp_path / "spoken")), "--results", str(tmp_path)]
    said = twice(["paper", "toy", "--table", "1", *about], monkeypatch, capsys)
    assert "Table 1 of a paper of tests" in said and "minus fixed exits" in said
    assert "Absent: no recipe makes it." in said and "threshold ours" in said
    said = twice(["paper", "toy", "--table", "2", *about], monkeypatch, capsys)
    assert "one minus other" in said and "minus the exit before it" in said
    for number in toys.FIGURES:
        assert main(["paper", "toy", "--figure", number, *about]) == 0
        assert (tmp_path / f"paper_toy_figure{number}.png").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "hubert-ee --table 1",
        "hubert-ee --table 3",
        "early-exit-asr --table 2 --only wav2vec2",
        "zaiem --table 1 --only exit baseline cl3 sd2",
    ],
)
def test_papers_tables_of_two_steps(line, small_builtins, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cost, "TIMED", 1)
    few = ["steps=2", "every=2", "batch=2", "dev_limit=2"]
    words = ["paper", *line.split(), "--train", *few, "--results", str(tmp_path)]
    said = twice(words, monkeypatch, capsys)
    assert " ours |" in said.splitlines()[4] and "Differences" in said
