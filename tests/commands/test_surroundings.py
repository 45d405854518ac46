"""Odd machines: a user without a home or a name, too little memory."""

import getpass
import resource
import subprocess
import sys

import pytest
from earlyexit_superb.benchmark import storage
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import MachineError
from helpers import ROOT, TOY


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


def test_who_has_no_name_is_given_one(nameless, own_cache, capsys):
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    assert main(["ls"]) == 0 and getpass.getuser() == "nobody"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of address space")
def test_too_little_memory_is_said():
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (600 * 2**20, 600 * 2**20))

    words = [sys.executable, str(ROOT / "run_benchmark.py"), "--upstream", TOY, "--task", "se"]
    done = subprocess.run(words, preexec_fn=limit, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert "error: this machine has not enough memory for it" in done.stderr
