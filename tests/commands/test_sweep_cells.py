"""A cell of a sweep may print anything, says nothing wrongly, and does not outlive the sweep."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import sweep_local
from helpers import ROOT, TOY

ROW = {"task": "se", "upstream": "toy"}


def swept(monkeypatch, tmp_path, code):
    """The exit status of a sweep of one cell that runs that code."""
    monkeypatch.setattr(sweep_local, "words", lambda cell: ["-c", code])
    line = ["sweep", "--upstream", TOY, "--task", "se", "--results", str(tmp_path), "--json"]
    return main(line)


@pytest.mark.parametrize("noise", ["hello", "{", "[1]", "3", "{}", "[" * 5000, "\\xff\\udc80"])
def test_what_else_a_cell_prints_is_no_row(noise, monkeypatch, tmp_path, capsys):
    code = f"import os; os.write(1, {noise!r}.encode('utf-8', 'replace') + b'\\n\\xff\\n')\n"
    assert swept(monkeypatch, tmp_path, f"{code}print({json.dumps(ROW)!r})") == 0
    said = capsys.readouterr()
    assert [json.loads(text) for text in said.out.splitlines()] == [ROW]
    [log] = tmp_path.glob("sweep/*.log")
    assert (
        log.read_text().count("on stdout: ") == 2 and f"; what else it printed: {log}" in said.err
    )


def test_a_cell_that_prints_nothing_else_leaves_no_log(monkeypatch, tmp_path, capsys):
    assert swept(monkeypatch, tmp_path, f"print({json.dumps(ROW)!r})") == 0
    assert not list(tmp_path.glob("sweep/*.log"))


@pytest.mark.parametrize("code", ["pass", "raise SystemExit(0)", "import os; os._exit(0)"])
def test_a_cell_without_a_row_has_failed(code, monkeypatch, tmp_path, capsys):
    assert swept(monkeypatch, tmp_path, code) == 1
    err = capsys.readouterr().err
    assert "exit status 0: it printed no row" in err and "1 of 1 cells failed" in err


def test_a_cell_ends_when_its_sweep_is_killed(tmp_path):
    """kill -9 of the sweep; the cell is at an endless loop, and its process is gone soon after."""
    cell = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import run_benchmark, pathlib\n"
        "from earlyexit_superb.benchmark.orphan import end_with_sweep\n"
        "end_with_sweep(); pathlib.Path(sys.argv[2]).write_text(str(os.getpid()))\n"
        "while True: pass"
    )
    parent = (
        "import sys; sys.path.insert(0, sys.argv[1]); import run_benchmark\n"
        "from earlyexit_superb.benchmark.engine.sweep_local import attempt\n"
        "attempt(['-c', *sys.argv[2:4], sys.argv[4]], sys.argv[5], {}, '.', 0)"
    )
    pid, log = tmp_path / "pid", tmp_path / "log"
    words = [str(ROOT), cell, str(ROOT), str(pid), str(log)]
    sweep = subprocess.Popen([sys.executable, "-c", parent, *words])
    wait(lambda: pid.exists() and pid.read_text())
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.wait()
    wait(lambda: not alive(int(pid.read_text())))
    assert "the sweep that started this cell has ended" in log.read_text()


def wait(until, seconds=60):
    ends = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < ends
        time.sleep(0.05)


def alive(pid):
    try:
        os.kill(pid, 0)
        # nobody waits for an orphan where there is no init
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
