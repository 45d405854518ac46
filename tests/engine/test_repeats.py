"""Nothing is done twice, and no number depends on how the work was shared: repeated, in workers,
killed and gone on.
"""

import importlib
import operator
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import chain

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import head_batches, run, workers
from earlyexit_superb.benchmark.engine.scoring import score_utterances, train_heads
from earlyexit_superb.benchmark.report import utterance_table
from helpers import ROOT, command, jsons, numbers

pytestmark = pytest.mark.usefixtures("shared_cache")


def test_a_second_identical_command_does_no_work_and_prints_the_same(
    finished, corpus, capsys, monkeypatch
):
    stamps = {p: p.stat().st_mtime_ns for p in finished.rglob("*.json")}
    import earlyexit_superb.benchmark.engine.evaluation as running

    monkeypatch.setattr(running, "cached_features", None)  # would raise if any state were needed
    assert main(command(corpus, finished, "--rho", "1.0")) == 0
    first = capsys.readouterr().out
    assert main(command(corpus, finished, "--rho", "1.0")) == 0
    assert capsys.readouterr().out == first and "unprocessed" in first and "exits by depth" in first
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*.json")} == stamps


def test_the_end_of_a_run_reads_what_the_board_shows_once(finished, corpus, monkeypatch, capsys):
    """However many rows are there: its own were looked at when it began, too."""
    seen, read = Counter(), utterance_table.read
    monkeypatch.setattr(
        utterance_table, "read", lambda path, sealed: seen.update([path]) or read(path, sealed)
    )
    assert main(command(corpus, finished, "--rho", "1.0", "--span", "mean")) == 0
    assert len(seen) == len(jsons(finished)) and set(seen.values()) == {1, 2}


def test_a_head_does_not_depend_on_those_trained_beside_it(finished, corpus, tmp_path):
    assert main(command(corpus, tmp_path, "--rho", "1.0", "0.9", "--span", "mean")) == 0
    both, alone = numbers(tmp_path), numbers(finished)
    shared = both.keys() & alone.keys()
    assert len(shared) == 6 and all(both[n] == alone[n] for n in shared)


@pytest.mark.parametrize("killed", [False, True])
def test_workers_change_no_number_and_what_a_dead_one_left_is_done(
    killed, finished, corpus, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(run, "worker_count", lambda asked, missing, scores: 1)
    asked = []

    def ask(self, what, *arguments):
        asked.append(what)
        if killed:
            self.process.kill()
            self.process.join()
        told(self, what, *arguments)

    told = workers.Worker.ask
    monkeypatch.setattr(workers.Worker, "ask", ask)
    assert main(command(corpus, tmp_path, "--rho", "1.0")) == 0
    assert numbers(tmp_path).items() <= numbers(finished).items() and asked == [
        train_heads,
        score_utterances,
    ]
    assert capsys.readouterr().err.count("a worker process ended early") == 2 * killed


def test_a_worker_that_waits_ends_by_itself_and_one_at_work_is_stopped(monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 30.0)
    with workers.workers(1, importlib.import_module, "math") as [waits]:
        waits.ask(operator.methodcaller("sqrt", 9.0))
        assert waits.answer() == 3.0
    assert waits.process.exitcode == 0  # and so its semaphores are given back
    monkeypatch.setattr(workers, "PATIENCE", 0.1)
    with workers.workers(1, importlib.import_module, "time") as [works]:
        works.ask(operator.methodcaller("sleep", 600))
    assert works.process.exitcode == -signal.SIGTERM


@pytest.mark.slow
def test_killed_in_the_middle_of_training_it_goes_on_to_the_same_numbers(
    finished, corpus, tmp_path
):
    slow = ["--span", "mean", "--set", "steps=25", "eval_every=5"]
    start = [
        sys.executable,
        str(ROOT / "run_benchmark.py"),
        *command(corpus, tmp_path / "killed", "--rho", "1.0", *slow),
    ]
    process = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while (
        not list((tmp_path / "killed").glob("heads/unfinished-*/last.ckpt"))
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((tmp_path / "killed").glob("heads/unfinished-*/last.ckpt")), (
        "it was over before it could be killed"
    )
    assert main(command(corpus, tmp_path / "killed", "--rho", "1.0", *slow)) == 0
    assert main(command(corpus, tmp_path / "straight", "--rho", "1.0", *slow)) == 0
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "straight")
    assert not list((tmp_path / "killed").glob("heads/unfinished-*"))


def test_batches_are_a_function_of_seed_and_number():
    rows = [head_batches.batch_rows(10, 4, 0, i) for i in range(6)]
    assert (
        sorted(chain(*rows[:3])) == sorted(chain(*rows[3:])) == list(range(10))
        and rows[:3] != rows[3:]
    )
    assert rows == [head_batches.batch_rows(10, 4, 0, i) for i in range(6)] and rows != [
        head_batches.batch_rows(10, 4, 1, i) for i in range(6)
    ]


@pytest.mark.slow
def test_a_damaged_row_is_set_aside_and_made_again(finished, corpus, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "r")
    before = numbers(tmp_path / "r")
    first, second, *_ = sorted((tmp_path / "r" / "se").rglob("full*.json"))
    first.write_text(first.read_text()[:300])
    second.with_suffix(".utterances.csv").write_text("id\n")
    assert main(command(corpus, tmp_path / "r", "--rho", "1.0")) == 0
    said = capsys.readouterr().err
    assert said.count("and made again") == 2 and first.with_name(f"{first.name}.damaged").exists()
    assert numbers(tmp_path / "r") == before
