"""Folders of resume points go when their heads are finished, however often that is cut short."""

import pytest
from earlyexit_superb.benchmark.engine import head_files

KEYS = ["a" * 16, "b" * 16]


class Killed(BaseException):
    pass


def begun(folder):
    work = head_files.begin(folder, KEYS)
    for name in ("last.ckpt", "best-x.ckpt", "log.jsonl"):
        (work / name).write_text("of a training")
    return work


def test_what_is_not_finished_stays(tmp_path, monkeypatch):
    work = begun(tmp_path)
    monkeypatch.setattr(head_files, "finished", lambda folder, key: key == KEYS[0])
    head_files.clear_finished(tmp_path)
    assert len(list(work.iterdir())) == 4


@pytest.mark.parametrize("kept", range(5))
def test_a_removal_that_was_killed_is_taken_up(kept, tmp_path, monkeypatch):
    """`kept`: how many files it gets to."""
    work, usual = begun(tmp_path), head_files.remove
    monkeypatch.setattr(head_files, "finished", lambda folder, key: True)
    left = [None] * kept

    def remove(path):
        if not left:
            raise Killed
        left.pop()
        usual(path)

    with monkeypatch.context() as dying:
        dying.setattr(head_files, "remove", remove)
        dying.setattr(type(work), "rmdir", lambda path: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            head_files.clear_finished(tmp_path)
    assert len(list(work.iterdir())) == 4 - kept
    head_files.clear_finished(tmp_path)
    assert list(tmp_path.iterdir()) == []
