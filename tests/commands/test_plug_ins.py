"""What a plug-in may do to a command: one sentence, the right exit status, results alone on stdout.

Each command runs in this process; what must not end a process ends a process of its own.
"""

import json
import os
import subprocess
import sys
import threading

import pytest
from earlyexit_superb.benchmark import foreign, heartbeat
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import UsageError
from helpers import ROOT, command
from toys import rude

FILE = ROOT / "tests" / "toys" / "rude.py"
TASK = """
import sys
sys.path.insert(0, {tests!r})
from dataclasses import replace
from toys.task import KEYWORDS

def score(*given):
    {does}

MINE = replace(KEYWORDS, name="mine", score=score)
"""


def line(name, corpus, results, *more):
    words = command(corpus, results, *more)
    words[words.index("--upstream") + 1] = f"{FILE}:{name}"
    return words


def last(text):
    return [said for said in text.splitlines() if said.startswith("error: ")][-1]


@pytest.mark.parametrize("liar", rude.CALLED)
def test_whatever_a_plug_in_raises_is_one_sentence(liar, corpus, tmp_path, shared_cache, capsys):
    status = main(line(liar.__name__, corpus, tmp_path))
    out, err = capsys.readouterr()
    told = last(err)
    assert liar.said in told and "Traceback" not in err and out == ""
    assert status == (3 if liar is rude.TakesTooMuch else 2)
    assert ("rude.py line " in told) == (status == 2)
    assert not list(tmp_path.glob("se/*/*/adaptive*/*.json"))


def test_the_traceback_is_to_be_had(corpus, tmp_path, shared_cache, monkeypatch):
    monkeypatch.setenv(foreign.TRACEBACK, "1")
    with pytest.raises(RuntimeError, match="out of tune"):
        main(line("Raises", corpus, tmp_path))


def test_a_program_that_uses_the_library_is_not_ended(corpus, tmp_path, shared_cache):
    import earlyexit_superb

    with pytest.raises(UsageError, match=r"sys\.exit\(0\)"):
        earlyexit_superb.run(f"{FILE}:Leaves", "se", data=corpus, results=tmp_path, protocol="mini")


@pytest.mark.parametrize("does", ["raise KeyError('tone')", "sys.exit(0)", "sys.exit('bye')"])
def test_a_task_is_a_plug_in_too(does, tmp_path, capsys):
    file = tmp_path / "own_task.py"
    file.write_text(TASK.format(tests=str(ROOT / "tests"), does=does))
    with pytest.raises((KeyError, SystemExit)) as raised:
        from earlyexit_superb.benchmark.registry import from_file

        from_file(f"{file}:score")()
    told = foreign.as_sentence(raised.value)
    assert told.code == 2 and "own_task.py line 8 " in str(told)


def test_what_is_raised_here_is_no_plug_in_s_fault():
    with pytest.raises(SystemExit) as raised:
        main(["run", "--help"])
    assert foreign.as_sentence(raised.value.with_traceback(None)) is None


@pytest.mark.parametrize("name", ["function", "built"])
def test_what_is_no_class_is_refused(name, corpus, tmp_path, capsys):
    assert main(line(name, corpus, tmp_path)) == 2
    assert name in last(capsys.readouterr().err)


def test_what_a_plug_in_prints_is_no_result(corpus, tmp_path, shared_cache, capsys):
    assert main(line("Chatty", corpus, tmp_path, "--json", "--span", "mean")) == 0
    out, err = capsys.readouterr()
    assert len([json.loads(text) for text in out.splitlines()]) > 3
    assert "hello from states" in err and "counting" in err
    assert main(["check", f"{FILE}:Chatty"]) == 0
    out, err = capsys.readouterr()
    assert "hello" not in out and "hello from states" in err


def test_an_endless_step_shows_signs_of_life_and_has_a_limit(corpus, tmp_path, shared_cache):
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import run_benchmark\n"
        "from earlyexit_superb.benchmark import heartbeat\n"
        "heartbeat.Heartbeat.__init__.__defaults__ = (0.4,)\n"
        "sys.exit(run_benchmark.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT), *line("Endless", corpus, tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "EARLYEXIT_SUPERB_LIMIT": "1", "PYTHONPATH": str(ROOT / "tests")},
    )
    assert done.returncode == 3 and done.stdout == ""
    assert "notice: se train: endless has been at" in done.stderr
    assert "the limit of one step" in last(done.stderr)


def test_steps_that_end_in_time_need_no_sign_of_life(capfd):
    with heartbeat.Heartbeat("a test", beat=0.2) as alive:
        for number in range(20):
            alive.step(f"step {number}")
            threading.Event().wait(0.03)
    assert "notice" not in capfd.readouterr().err


def test_a_process_that_was_stopped_has_not_worked(monkeypatch):
    """Ctrl-Z and an hour later: the clock went on, the step did not."""
    clock = iter([0.0, 0.0, 0.1, 4000.0, 4000.1])
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: next(clock, 4000.2))
    monkeypatch.setattr(heartbeat.os, "_exit", lambda code: pytest.fail("it was ended"))
    alive = heartbeat.Heartbeat("a test", beat=0.01)
    with alive:
        alive.step("sleeping")
        threading.Event().wait(0.1)
    assert alive._taken < 1
