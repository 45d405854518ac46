"""What a training left in its folder, damaged between two commands: the same weights, one sentence
of what was made again.
"""

import os

import pytest
import torch
from earlyexit_superb.benchmark import resume_points, trainer
from earlyexit_superb.benchmark.errors import MachineError
from helpers import TOY, damage
from helpers.students import errors, train
from safetensors.torch import load_file

STEPS, RECORD = "student/steps", "student/training.json"
FILES = (f"{STEPS}/last.ckpt", f"{STEPS}/log.jsonl", RECORD)
FEW = [
    (FILES[0], damage.truncated),
    (FILES[0], damage.zeroed),
    (FILES[1], damage.deleted),
    (RECORD, damage.emptied),
    (RECORD, damage.deleted),
]
ALL = [(file, how) for file in FILES for how in damage.KINDS]
step_seed = trainer.step_seed


def stopped(speech, out, monkeypatch):
    """A training that was stopped behind its second look."""

    def stopping(seed, i):
        if i == 5:
            raise KeyboardInterrupt
        return step_seed(seed, i)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "step_seed", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(speech, out, teacher=TOY)
    assert len(errors(out)) == 2


def check(case, speech, out, straight, monkeypatch, capsys):
    name, how = case
    stopped(speech, out, monkeypatch)
    how(out / name)
    ours, theirs = load_file(train(speech, out, teacher=TOY)), load_file(straight)
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    assert errors(out) == errors(straight.parent)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("notice: ")]
    loud = name == FILES[0] and how is not damage.deleted
    assert not loud or any("last.ckpt" in line for line in told)


@pytest.mark.parametrize("case", FEW, ids=lambda case: f"{case[0][8:]}-{case[1].__name__}")
def test_weights_are_those_of_an_undamaged_training(
    case, speech, tmp_path, straight, monkeypatch, capsys
):
    check(case, speech, tmp_path, straight, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case[0][8:]}-{case[1].__name__}")
def test_weights_are_those_of_an_undamaged_training_whatever_is_damaged(
    case, speech, tmp_path, straight, monkeypatch, capsys
):
    check(case, speech, tmp_path, straight, monkeypatch, capsys)


@pytest.mark.parametrize("how", [damage.truncated, damage.zeroed, damage.folder])
def test_finished_weights_that_were_damaged_are_made_again(speech, tmp_path, how, capsys):
    weights = train(speech, tmp_path)
    whole = weights.read_bytes()
    how(weights)
    assert train(speech, tmp_path).read_bytes() == whole
    assert "student.safetensors is not what the training wrote" in capsys.readouterr().err


def test_without_its_record_no_other_training_goes_on_in_a_folder(
    speech, tmp_path, straight, monkeypatch, capsys
):
    """Resume points alone do not say what data and settings they are of."""
    stopped(speech, tmp_path, monkeypatch)
    (tmp_path / RECORD).unlink()
    other = load_file(train(speech, tmp_path, teacher=TOY, settings={"lr": "0.02"}))
    assert any(not torch.equal(other[k], v) for k, v in load_file(straight).items())
    fresh = load_file(train(speech, tmp_path / "new", teacher=TOY, settings={"lr": "0.02"}))
    assert all(torch.equal(other[k], v) for k, v in fresh.items())
    assert "steps belongs to a training of which training.json" in capsys.readouterr().err


def test_a_full_disk_is_told_by_its_name(tmp_path, monkeypatch):
    """A device that never has room; torch would say "unexpected pos"."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    full = os.open("/dev/full", os.O_WRONLY)
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", lambda path, mode: os.fdopen(full, mode))
        with pytest.raises(MachineError, match=r"point cannot be written \(No space left on dev"):
            resume_points.save({"weights": torch.zeros(2**16)}, tmp_path / "point")
    assert not list(tmp_path.iterdir())
