"""A machine that fails to read is told from a file that is damaged or not there."""

import errno
import os

import pytest
import torch
from earlyexit_superb.benchmark import resume_points
from earlyexit_superb.benchmark.engine import head_files
from earlyexit_superb.benchmark.errors import MachineError
from earlyexit_superb.benchmark.soundness import (
    file_digest,
    is_whole_zip,
    read_object,
    sealed,
    unsealed,
)
from helpers import damage

READERS = (file_digest, read_object, unsealed, is_whole_zip, resume_points.load)
FAILURES = [OSError(n, os.strerror(n)) for n in (errno.EIO, errno.ESTALE, errno.EACCES)]
NO_ROOM = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")


@pytest.fixture(params=READERS, ids=lambda reader: reader.__name__)
def reader(request, tmp_path):
    """A function that reads a file that was written before, and a sound one."""
    path = tmp_path / "file"
    if request.param in (is_whole_zip, resume_points.load):
        resume_points.save({"step": 3}, path)
    else:
        path.write_text(sealed({"step": 3}))
    assert request.param(path)
    return request.param, path


@pytest.mark.parametrize("failure", [*FAILURES, MemoryError()], ids=repr)
def test_what_cannot_be_read_is_not_called_damaged(reader, failure, monkeypatch):
    read, path = reader
    damage.failing(monkeypatch, path, failure)
    with pytest.raises(MachineError, match=r"cannot be read .*may be whole"):
        read(path)


def test_what_is_not_there_is_not_there(reader):
    read, path = reader
    (path.parent / "link").symlink_to("nowhere")
    os.mkfifo(path.parent / "pipe")
    for other in (path.parent, path.parent / "gone", path / "below", path.parent / "link"):
        assert not read(other)
    assert not read(path.parent / "pipe")


def test_an_archive_that_sends_its_reader_anywhere_is_damaged(tmp_path):
    """In Python, a seek to before the beginning is an OSError, too."""
    path = tmp_path / "last.ckpt"
    resume_points.save({"step": 3}, path)
    whole = path.read_bytes()
    for at in range(len(whole) - 54, len(whole) - 42):  # where its directory lies
        hurt = bytearray(whole)
        hurt[at] = 0xFF
        path.write_bytes(hurt)
        assert not is_whole_zip(path)


def test_a_checkpoint_that_does_not_fit_into_the_memory_stays(tmp_path, monkeypatch):
    model = torch.nn.Linear(2, 2)
    optimiser = torch.optim.Adam(model.parameters())
    point = {"made_of": {}, "model": model.state_dict(), "optimiser": optimiser.state_dict()}
    path = tmp_path / "last.ckpt"
    resume_points.save({**point, "best": {}}, path)
    asked = (tmp_path, {}, model, optimiser, (), "the toy")
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", raising(NO_ROOM))
        with pytest.raises(MachineError, match=r"last.ckpt cannot be read \(not enough memory"):
            resume_points.last(*asked)
    assert resume_points.last(*asked) is not None


def test_an_older_versions_resume_point_is_called_one(tmp_path, capsys):
    model = torch.nn.Linear(2, 2)
    optimiser = torch.optim.Adam(model.parameters())
    resume_points.save({"step": 3, "model": model.state_dict()}, tmp_path / "last.ckpt")
    assert resume_points.last(tmp_path, {}, model, optimiser, (), "the toy") is None
    assert "last.ckpt is of an older version" in capsys.readouterr().err


def test_a_head_that_cannot_be_read_now_is_not_trained_again(tmp_path, monkeypatch):
    head_files._save(head_files.parameters_path(tmp_path, "key"), {"a": torch.ones(2)})
    path = head_files.parameters_path(tmp_path, "key")
    about = {head_files.PARAMETERS: file_digest(path)}
    head_files.about_path(tmp_path, "key").write_text(sealed(about))
    for hurt in (path, head_files.about_path(tmp_path, "key")):
        with monkeypatch.context() as patch:
            damage.failing(patch, hurt, FAILURES[1])
            for ask in (head_files.finished, head_files.set_damaged_aside):
                with pytest.raises(MachineError, match="may be whole"):
                    ask(tmp_path, "key")
    assert head_files.finished(tmp_path, "key") and len(list(tmp_path.iterdir())) == 2


def raising(error):
    def function(*_, **__):
        raise error

    return function
