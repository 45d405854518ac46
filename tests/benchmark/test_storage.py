"""Files and folders appear whole or not at all, and what killed processes left is found."""

import multiprocessing
import os
import resource
import signal
import time

import pytest
import torch
from earlyexit_superb.benchmark import resume_points, storage
from earlyexit_superb.benchmark.errors import MachineError

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def small_disk():
    """No file of this process may grow beyond 64 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_reader_never_meets_half_a_file(tmp_path):
    path = tmp_path / "new folder" / "a.txt"
    storage.write_text(path, "old\n")
    with storage.atomic(path, durable=True) as beside:
        beside.write_text("new")
        assert beside.parent == path.parent and beside.name.startswith(".a.txt.")
        assert path.read_text() == "old\n" and storage.TEMPORARY.fullmatch(beside.name)
    assert path.read_text() == "new" and names(path.parent) == ["a.txt"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_two_writers_of_one_file_share_nothing(tmp_path):
    with storage.atomic(tmp_path / "a") as first, storage.atomic(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first" and names(tmp_path) == ["a"]


def test_what_goes_wrong_inside_leaves_the_old_file(tmp_path):
    storage.write_text(tmp_path / "a", "old")
    for failure in (KeyError("k"), KeyboardInterrupt(), RuntimeError("no disk error")):
        with pytest.raises(type(failure)), storage.atomic(tmp_path / "a") as beside:
            beside.write_text("half")
            raise failure
        assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == ["a"]


def test_a_full_disk_is_one_sentence(tmp_path, small_disk):
    state = {"weights": torch.zeros(2**16)}
    with pytest.raises(
        MachineError, match=r"last.ckpt cannot be written \(File too large\).*resumes from the last"
    ):
        resume_points.save(state, tmp_path / "last.ckpt")
    with pytest.raises(
        MachineError, match=r"a.txt cannot be written \(File too large\); free some"
    ):
        storage.write_text(tmp_path / "a.txt", "x" * 2**17)
    assert not names(tmp_path)


def killed_while_writing(folder):
    with storage.atomic(folder / "a") as beside, storage.whole(folder / "corpus", "README") as made:
        beside.write_text("half")
        (made / "half").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_left_is_removed_when_it_is_old(tmp_path):
    process = FORK.Process(target=killed_while_writing, args=(tmp_path,))
    process.start()
    process.join()
    (tmp_path / ".theirs.part").touch()
    left = [p for p in tmp_path.iterdir() if p.name != ".theirs.part"]
    assert len(left) == 2
    storage.clear_stale(tmp_path)
    assert all(p.exists() for p in left)  # somebody may be writing them
    old = time.time() - storage.STALE - 1
    for path in (tmp_path / ".theirs.part", *left, *(p for f in left for p in f.rglob("*"))):
        os.utime(path, (old, old))
    storage.writable(tmp_path)
    assert names(tmp_path) == [".theirs.part"]


def test_a_folder_is_there_whole_or_not(tmp_path):
    out = tmp_path / "corpus"
    with pytest.raises(KeyError), storage.whole(out, "README") as folder:
        (folder / "README").write_text("half")
        raise KeyError
    assert not names(tmp_path)
    with storage.whole(out, "README") as slower:
        (slower / "README").write_text("slower")
        with storage.whole(out, "README") as faster:
            (faster / "README").write_text("faster")
    assert (out / "README").read_text() == "faster" and names(tmp_path) == ["corpus"]


def test_locks_and_probes_of_killed_processes_are_removed_when_they_are_old(tmp_path):
    """And nobody else's: a lock that is held, a package manager's, one that is not empty."""
    old = time.time() - storage.STALE - 1
    ours = [tmp_path / "heads" / f"{'a' * 16}.lock", tmp_path / ".probe.0123abcd"]
    held, theirs = tmp_path / "heads" / f"{'b' * 16}.lock", tmp_path / "uv.lock"
    written = tmp_path / f"{'c' * 16}.lock"
    held.parent.mkdir()
    written.write_text("something")
    for path in (*ours, theirs):
        path.touch()
    with storage.locked(held):
        for path in (*ours, held, theirs, written):
            os.utime(path, (old, old))
        process = FORK.Process(target=storage.writable, args=(tmp_path,))
        process.start()
        process.join()
        assert not any(path.exists() for path in ours)
        assert held.exists() and theirs.exists() and written.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_lock_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(MachineError, match="cannot be written"),
        storage.locked(tmp_path / "file" / "a.lock"),
    ):
        pass
