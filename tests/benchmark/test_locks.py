"""Several processes in one folder: one works, the others wait or do something else."""

import errno
import fcntl
import logging
import multiprocessing
import os
import signal
import time

import pytest
from earlyexit_superb.benchmark.storage import atomic, clear_abandoned, locked

FORK = multiprocessing.get_context("fork")


def add_one(folder, times):
    for _ in range(times):
        with locked(folder / "counter.lock"):
            number = int((folder / "counter").read_text())
            (folder / "counter").write_text(str(number + 1))


def hold(path, ready, seconds):
    with locked(path):
        ready.set()
        time.sleep(seconds)
        path.with_suffix(".done").touch()


@pytest.fixture
def holder(tmp_path):
    """Starts another process that holds a.lock for so many seconds, and ends it afterwards."""
    started = []

    def start(seconds=60):
        ready = FORK.Event()
        started.append(FORK.Process(target=hold, args=(tmp_path / "a.lock", ready, seconds)))
        started[-1].start()
        assert ready.wait(20)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.mark.parametrize("times", [100, pytest.param(4000, marks=pytest.mark.slow)])
def test_nobody_gets_in_between(times, tmp_path):
    (tmp_path / "counter").write_text("0")
    processes = [FORK.Process(target=add_one, args=(tmp_path, times)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "counter").read_text() == str(4 * times)
    assert [p.name for p in tmp_path.iterdir()] == ["counter"]


def test_a_killed_holder_lets_go(tmp_path, holder):
    process = holder()
    with locked(tmp_path / "a.lock", wait=False) as held:
        assert not held
    os.kill(process.pid, signal.SIGKILL)
    with locked(tmp_path / "a.lock") as held:
        assert held
    assert not list(tmp_path.iterdir())


def test_who_waits_says_for_what_and_finds_the_work_done(tmp_path, holder, caplog):
    holder(seconds=0.3)
    caplog.set_level(logging.INFO, "earlyexit_superb")
    with locked(tmp_path / "a.lock", "the head rho 0.7") as held:
        assert held and (tmp_path / "a.done").exists()
    assert "at work on the head rho 0.7: waiting for it" in caplog.text


def test_an_error_inside_lets_go_too(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "a.lock"):
        raise KeyError
    with locked(tmp_path / "a.lock", wait=False) as held:
        assert held


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_costs_a_notice(tmp_path, code, monkeypatch, caplog):
    def refused(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refused)
    for _ in range(2):
        with locked(tmp_path / "a.lock") as held:
            assert held
    said = [r.message for r in caplog.records if "may repeat each other's work" in r.message]
    assert len(said) == 1 and os.strerror(code) in said[0]
    assert not list(tmp_path.iterdir())
    with atomic(tmp_path / "theirs") as beside:
        beside.touch()
        clear_abandoned(tmp_path, tmp_path / "a.lock")  # another process may be writing it


def test_the_next_holder_clears_away_what_a_killed_one_was_writing(tmp_path):
    (tmp_path / "work").mkdir()
    with atomic(tmp_path / "work" / "shard") as beside, locked(tmp_path / "work.lock"):
        beside.with_name(f".shard.{'0' * 8}.part").touch()
        beside.touch()
        clear_abandoned(tmp_path / "work", tmp_path / "work.lock")
        assert not list((tmp_path / "work").iterdir())
        beside.touch()
