"""Odd machines: no home, no name, no memory, a stdout that takes nothing or no letters."""

import getpass
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from earlyexit_superb.benchmark import storage
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import MachineError
from helpers import ROOT, TOY

RUN = [sys.executable, str(ROOT / "run_benchmark.py")]


def ran(*words, **more):
    more = {"stdout": subprocess.PIPE, "text": True, "timeout": 120} | more
    return subprocess.run([*RUN, *words], stderr=subprocess.PIPE, **more)


def said(done):
    [line] = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert "Traceback" not in done.stderr
    return line


def nobody(*_):
    raise KeyError("getpwuid(): uid not found: 54321")


@pytest.fixture
def nameless(monkeypatch):
    """As in a container whose user is a number."""
    import pwd

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)


def test_who_has_no_home_is_asked_for_a_cache(nameless, tmp_path, monkeypatch):
    monkeypatch.delenv(storage.CACHE, raising=False)
    with pytest.raises(MachineError, match=f"no home folder.*export {storage.CACHE}="):
        storage.cache_dir()
    monkeypatch.setenv(storage.CACHE, str(tmp_path / "c"))
    assert storage.cache_dir() == tmp_path / "c"


def test_who_has_no_name_is_given_one(nameless, capsys):
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    assert main(["ls"]) == 0 and getpass.getuser() == "nobody"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_stdout_that_takes_nothing_is_said():
    with open("/dev/full", "w") as full:
        done = ran("ls", stdout=full)
    assert done.returncode == 3 and "stdout takes no more (No space left" in said(done)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of address space")
def test_too_little_memory_is_said():
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (600 * 2**20, 600 * 2**20))

    done = ran("--upstream", TOY, "--task", "se", preexec_fn=limit)
    assert done.returncode == 3 and "not enough memory" in said(done)


def test_letters_that_a_terminal_lacks_are_spelled(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = ran("ls", "--config", "ü", env=environment)
    assert done.returncode == 2 and "\\xfc" in said(done)
