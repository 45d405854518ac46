"""Where results are printed: any encoding, a full disk, a reader that goes away, a folder that
cannot be written. As a user has them: in a process of its own.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import MachineError
from earlyexit_superb.benchmark.report.result import FIX
from earlyexit_superb.benchmark.storage import writable
from helpers import ROOT
from helpers.rows import kept

RUN = [sys.executable, str(ROOT / "run_benchmark.py")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("rows"), np.random.default_rng(0)
    for exit in ("depth 6", "full"):
        kept(root, 2 + rng.random(20), exit=exit, upstream="ü↑")
    return root


def ran(*words, encoding="utf-8", **more):
    told = os.environ | {"PYTHONIOENCODING": encoding}
    return subprocess.run([*RUN, *map(str, words)], env=told, stderr=subprocess.PIPE, **more)


def test_ascii_ends_no_finished_run(folder):
    words = ("compare", "exit=full + layer-norm", "exit=depth 6 + layer-norm", "--results", folder)
    done = ran(*words, encoding="ascii", stdout=subprocess.PIPE)
    assert done.returncode == 0 and done.stderr == b""
    assert rb"upstream=\xfc^" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is always full")
@pytest.mark.parametrize("verb", [("leaderboard",), ("ls", "tasks")])
def test_output_that_cannot_be_written_is_one_sentence(verb, folder):
    words = [*verb, folder] if verb == ("leaderboard",) else verb
    with open("/dev/full", "w") as full:
        done = ran(*words, stdout=full)
    assert done.returncode == 3
    [line] = done.stderr.decode().splitlines()
    assert line.startswith("error: the output cannot be written (No space left on device); ")


def test_a_reader_that_goes_away_is_no_error(folder):
    read, write = os.pipe()
    os.close(read)
    done = ran("leaderboard", folder, stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_without_a_stdout_there_is_nothing_to_say():
    program = f"{sys.executable} {ROOT / 'run_benchmark.py'} ls tasks >&-"
    done = subprocess.run(["sh", "-c", program], stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "verb", [["leaderboard", "{}"], ["compare", "a=b", "curve", "--results", "{}"]]
)
def test_a_name_that_no_file_system_takes_is_no_folder(verb, capsys):
    assert main([word.format("x" * 300) for word in verb]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: there is no results folder xxx") and len(line) < 400


def test_results_cannot_go_below_such_a_name(tmp_path):
    with pytest.raises(MachineError, match="cannot be written .File name too long.; .*--results"):
        writable(tmp_path / ("x" * 300), FIX)


def test_a_folder_that_cannot_be_written_is_one_sentence(folder, capsys):
    board = folder / "leaderboard_se.csv"
    kept = board.read_bytes() if board.is_file() else None
    board.unlink(missing_ok=True)
    board.mkdir()
    assert main(["leaderboard", str(folder)]) == 3
    board.rmdir()
    if kept is not None:
        board.write_bytes(kept)
    assert (
        "cannot be written (Is a directory); free some space or choose another"
        in capsys.readouterr().err
    )
