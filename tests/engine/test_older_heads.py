"""Heads that 0.2.0 finished, without digests: hours of training are not repeated for want of them,
and nothing is believed that does not fit.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark import trainer
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.engine import head_files, older_heads
from earlyexit_superb.benchmark.engine.head_files import PARAMETERS
from earlyexit_superb.benchmark.engine.heads import Downstream, Plan
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.benchmark.soundness import SEAL
from helpers import command, damage, numbers
from safetensors.torch import load_file, save_file
from toys.toy import at

TASK = tasks.get("se")
SETUP = at(TASK.protocols["mini"], 16)
PLAN = Plan("full", True, 0.1, np.array([3]), np.array([3]))


def believed(folder):
    older_heads.believe(folder, {"key": PLAN}, TASK, SETUP, 3, seed=0)
    return head_files.finished(folder, "key")


@pytest.fixture
def head(tmp_path):
    """The JSON and the parameters of a head as 0.2.0 left them."""
    state = Downstream(TASK, SETUP, 3, True).state_dict()
    head_files._save(tmp_path / "key.safetensors", state)
    about = {
        "name": "full",
        "chosen_step": 4,
        f"dev_{TASK.metrics[0].name}": 2.5,
        "dev_by_step": {"2": 2.1, "4": 2.5},
        "steps": SETUP.protocol.steps,
        "seed": 0,
        "updates_skipped": 0,
        "protocol": {},
    }
    (tmp_path / "key.json").write_text(json.dumps(about))
    return tmp_path


def changed(path, change):
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about, indent=1) + "\n")


def test_one_that_fits_is_believed_once(head, capsys):
    parameters = (head / "key.safetensors").read_bytes()
    assert not head_files.finished(head, "key") and believed(head)
    assert "1 heads of version 0.2.0" in capsys.readouterr().err
    sealed = (head / "key.json").read_bytes()
    assert believed(head) and capsys.readouterr().err == ""
    assert (head / "key.json").read_bytes() == sealed
    assert (head / "key.safetensors").read_bytes() == parameters
    damage.zeroed(head / "key.safetensors")
    assert not believed(head)


def not_finite(path):
    state = load_file(path)
    first = next(iter(state))
    save_file(state | {first: torch.full_like(state[first], torch.nan)}, path)


def of_another_shape(path):
    state = load_file(path)
    first = next(iter(state))
    save_file(state | {first: torch.zeros(3, 5, 7)}, path)


WRONG = [how for how in damage.KINDS if how not in (damage.zeroed, damage.rolled)]
WRONG += [not_finite, of_another_shape]


@pytest.mark.parametrize("how", WRONG, ids=lambda how: how.__name__)
def test_one_that_does_not_fit_is_set_aside(how, head, capsys):
    """Zeros and other finite numbers nobody can tell from parameters, without a digest."""
    how(head / "key.safetensors")
    assert not believed(head)
    head_files.set_damaged_aside(head, "key")
    said = capsys.readouterr().err
    assert "key.json is damaged, or is an older version's that does not fit" in said
    assert (head / "key.json.damaged").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.update({f"dev_{TASK.metrics[0].name}": 4.2}),
        lambda about: about.update({f"dev_{TASK.metrics[0].name}": None}),
        lambda about: about.update(seed=7),
        lambda about: about.update(steps=7),
        lambda about: about.update(chosen_step=2),
        lambda about: about.update(dev_by_step=[2.5]),
        lambda about: about.pop("updates_skipped"),
        lambda about: about.update({SEAL: "of something else"}),
        lambda about: about.update({PARAMETERS: "of something else"}),
    ],
)
def test_one_that_contradicts_itself_is_not_believed(change, head):
    changed(head / "key.json", change)
    assert not believed(head)


@pytest.mark.usefixtures("shared_cache")
def test_a_command_trains_none_of_them_again(finished, corpus, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished / "heads", tmp_path / "heads")
    for path in tmp_path.glob("heads/*.json"):
        changed(path, lambda about: [about.pop(name) for name in (PARAMETERS, SEAL, "device")])
    monkeypatch.setattr(trainer, "train", None)  # would raise if one were trained
    assert main(command(corpus, tmp_path, "--rho", "1.0", "--span", "mean")) == 0
    assert numbers(tmp_path).items() <= numbers(finished).items()
    assert "heads of version 0.2.0" in capsys.readouterr().err
