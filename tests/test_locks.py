"""Several processes in one folder: one works, the others wait or do something else, and the dead leave nothing behind."""
import multiprocessing
import os
import signal
import time

from earlyexit_superb.benchmark.paths import locked

SPAWN = multiprocessing.get_context("fork")


def add_one(folder, times):
    for _ in range(times):
        with locked(folder / "counter.lock"):
            number = int((folder / "counter").read_text())
            time.sleep(0.001)
            (folder / "counter").write_text(str(number + 1))


def hold(path, ready):
    with locked(path):
        ready.set()
        time.sleep(60)


def test_nobody_gets_in_between(tmp_path):
    (tmp_path / "counter").write_text("0")
    processes = [SPAWN.Process(target=add_one, args=(tmp_path, 40)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "counter").read_text() == "160" and sorted(p.name for p in tmp_path.iterdir()) == ["counter"]


def test_a_killed_holder_lets_go(tmp_path):
    ready = SPAWN.Event()
    holder = SPAWN.Process(target=hold, args=(tmp_path / "a.lock", ready))
    holder.start()
    assert ready.wait(20)
    with locked(tmp_path / "a.lock", wait=False) as held:
        assert not held
    os.kill(holder.pid, signal.SIGKILL)
    with locked(tmp_path / "a.lock") as held:
        assert held
    holder.join()
    assert not list(tmp_path.iterdir())


def test_an_error_inside_lets_go_too(tmp_path):
    try:
        with locked(tmp_path / "a.lock"):
            raise KeyError
    except KeyError:
        pass
    with locked(tmp_path / "a.lock", wait=False) as held:
        assert held
