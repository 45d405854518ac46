"""Caches, heads and resume points that were damaged between two commands: the same rows, no
traceback, no wait, and a notice of what was made again.
"""

import json
import shutil
import signal

import pytest
from earlyexit_superb.benchmark import trainer
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import extract
from helpers import command, damage, jsons, numbers
from hypothesis import given, settings
from hypothesis import strategies as st

ASKED = ("--rho", "1.0", "--span", "mean")
LIMIT = 120  # seconds that a command may take
TRACES = [
    f"cache/traces/{{se {split}}}/{name}"
    for split in ("train", "test")
    for name in ("manifest.json", "index.npy", "evidence.npy", "0000.npy")
]
HEADS = ["results/heads/[0-9a-f]*.json", "results/heads/[0-9a-f]*.safetensors"]
POINTS = [
    f"results/heads/unfinished-*/{name}" for name in ("last.ckpt", "best-*.ckpt", "log.jsonl")
]
LIST = ["results/heads/unfinished-*/heads"]
SILENT = {"log.jsonl", "heads"}  # for people, or written anew by every command
FEW = [
    (TRACES[1], damage.rolled),
    (TRACES[3], damage.zeroed),
    (HEADS[1], damage.zeroed),
    (POINTS[0], damage.truncated),
    (POINTS[1], damage.zeroed),
    (POINTS[2], damage.deleted),
]
ALL = [(what, how) for what in (*TRACES, *HEADS, *POINTS, *LIST) for how in damage.KINDS]


def ids(case):
    return case.__name__ if callable(case) else case.rpartition("/")[2]


def run(folder, corpus, monkeypatch):
    """What one command says, once everything is there."""
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(folder / "cache"))
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(LIMIT)
    try:
        return main(command(corpus, folder / "results", *ASKED))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def found(results):
    """Every number of the rows, and how their heads came about."""
    training = {name: row["detail"].get("training") for name, row in jsons(results).items()}
    return numbers(results), training


@pytest.fixture(scope="module")
def templates(corpus, tmp_path_factory):
    """What an undisturbed command left, less its rows; what one left that was stopped behind its
    first validation; and the rows.
    """
    trained, stopped = tmp_path_factory.mktemp("trained"), tmp_path_factory.mktemp("stopped")
    seed = trainer.step_seed

    def stopping(seed_of_all, i):
        if i == 5:
            raise KeyboardInterrupt
        return seed(seed_of_all, i)

    with pytest.MonkeyPatch.context() as patch:
        assert run(trained, corpus, patch) == 0
        rows = found(trained / "results")
        shutil.rmtree(trained / "results" / "se")
        shutil.copytree(trained / "cache", stopped / "cache")
        patch.setattr(trainer, "step_seed", stopping)
        assert run(stopped, corpus, patch) == 130
    return trained, stopped, rows


def files(folder, pattern):
    """The files that a pattern stands for; {...} is the feature cache of these words."""
    if "{" in pattern:
        what = pattern[pattern.index("{") + 1 : pattern.index("}")]
        [of] = [
            path.parent.name
            for path in folder.glob("cache/traces/*/manifest.json")
            if json.loads(path.read_text())["what"] == what
        ]
        pattern = pattern.replace("{" + what + "}", of)
    return [path for path in sorted(folder.glob(pattern)) if path.suffix != ".damaged"]


def check(case, templates, corpus, tmp_path, monkeypatch, capsys):
    pattern, how = case
    trained, stopped, rows = templates
    finished = pattern in HEADS or "{se test}" in pattern
    damage.copied(trained if finished else stopped, tmp_path)
    hurt = files(tmp_path, pattern)[0]
    how(hurt)
    capsys.readouterr()
    assert run(tmp_path, corpus, monkeypatch) == 0
    assert found(tmp_path / "results") == rows
    said = capsys.readouterr().err.splitlines()
    told = [line for line in said if line.startswith("notice: ") and hurt.name in line]
    quiet = hurt.name in SILENT or how is damage.deleted
    assert told or quiet
    assert main(["cache", "ls", "--check"]) == 0
    assert not list((tmp_path / "results" / "heads").glob("unfinished-*/heads"))


@pytest.mark.parametrize("case", FEW, ids=lambda case: "-".join(map(ids, case)))
def test_rows_are_those_of_an_undamaged_run(case, templates, corpus, tmp_path, monkeypatch, capsys):
    check(case, templates, corpus, tmp_path, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=lambda case: "-".join(map(ids, case)))
def test_rows_are_those_of_an_undamaged_run_whatever_is_damaged(
    case, templates, corpus, tmp_path, monkeypatch, capsys
):
    check(case, templates, corpus, tmp_path, monkeypatch, capsys)


def fuzzed(templates, corpus, tmp_path_factory, draw):
    """Bytes of any one file of a cache, of heads or of a resume point, in any place, by others or
    by none.
    """
    trained, stopped, rows = templates
    to = tmp_path_factory.mktemp("fuzzed")
    damage.copied(draw(st.sampled_from([trained, stopped])), to)
    inside = [p for p in sorted(to.rglob("*")) if p.is_file() and p.suffix != ".lock"]
    hurt = draw(st.sampled_from(inside))
    content = hurt.read_bytes()
    at = draw(st.integers(0, max(0, len(content) - 1)))
    put = draw(st.one_of(st.binary(max_size=64), st.just(bytes(4096))))
    cut = draw(st.sampled_from([0, len(put), len(content)]))
    hurt.write_bytes(content[:at] + put + content[at + cut :])
    with pytest.MonkeyPatch.context() as patch:
        assert run(to, corpus, patch) == 0, hurt
    assert found(to / "results") == rows, hurt
    shutil.rmtree(to)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_bytes_anywhere(templates, corpus, tmp_path_factory, data):
    fuzzed(templates, corpus, tmp_path_factory, data.draw)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_anywhere_many_times(templates, corpus, tmp_path_factory, data):
    fuzzed(templates, corpus, tmp_path_factory, data.draw)


def test_free_disk_space_changes_no_row(templates, corpus, tmp_path, monkeypatch):
    """States that do not fit are recomputed, and rounded as stored ones are. Their batches differ,
    and so may the last bit of fp32 sums, which the row says.
    """
    monkeypatch.setattr(extract, "SPARE", 2**62)
    assert run(tmp_path, corpus, monkeypatch) == 0
    (recomputed, _), (stored, _) = found(tmp_path / "results"), templates[2]
    assert recomputed.keys() == stored.keys()
    for name, row in stored.items():
        again = recomputed[name]
        assert again[1:4] == row[1:4]  # depths and cost
        for metric, score in row[0].items():
            assert again[0][metric]["mean"] == pytest.approx(score["mean"], abs=1e-5), metric
    said = {row["detail"].get("states_recomputed") is not None for row in trained_rows(tmp_path)}
    assert said == {True}


def trained_rows(folder):
    return [row for row in jsons(folder / "results").values() if row["answered_by"] == "head"]
