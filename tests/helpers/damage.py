"""What happens to files between two commands."""

import builtins
import io
import os
import shutil
from pathlib import Path

import numpy as np
import torch


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path):
    path.write_bytes(b"")


def zeroed(path):
    """The middle third."""
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = bytes(third)
    path.write_bytes(data)


def rolled(path):
    """The second half by sixteen bytes; an array, by one row."""
    if path.suffix == ".npy":
        return np.save(path, np.roll(np.load(path), 1, 0))
    data, half = path.read_bytes(), path.stat().st_size // 2
    return path.write_bytes(data[:half] + data[-16:] + data[half:-16])


def folder(path):
    path.unlink()
    (path / "inside").mkdir(parents=True)


def pipe(path):
    """Whoever opens it waits for ever."""
    path.unlink()
    os.mkfifo(path)


def other_version(path):
    """A well-formed file that says something else."""
    if path.suffix == ".npy":
        np.save(path, np.zeros((3, 5)))
    elif path.suffix == ".ckpt":
        torch.save({"version": 0, "step": 1}, path)
    else:
        path.write_text("{}\n")


def deleted(path):
    path.unlink()


KINDS = (
    truncated,
    emptied,
    zeroed,
    rolled,
    folder,
    pipe,
    other_version,
    deleted,
)


def failing(monkeypatch, path, error):
    """Not damage: the machine fails whenever `path` is opened."""
    opened = io.open

    def opening(file, *args, **more):
        if not isinstance(file, int) and os.fspath(file) == os.fspath(path):
            raise error
        return opened(file, *args, **more)

    monkeypatch.setattr(io, "open", opening)
    monkeypatch.setattr(builtins, "open", opening)
    monkeypatch.setattr(Path, "open", opening)


def copied(template, to):
    """A copy of a cache and results that may be damaged; times stay."""
    for name in ("cache", "results"):
        shutil.copytree(template / name, to / name)
    return to / "results"
