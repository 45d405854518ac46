"""Tensors that a shipped file holds for another one come back, whatever the bits of a zero."""

from pathlib import Path

import pytest
import torch
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.upstreams.backbones import shared_tensors

SHIPPED = {"same": torch.tensor([0.0, 1.0]).half(), "other": torch.tensor([2.0]).half()}


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch):
    (tmp_path / "some.tiny.safetensors").touch()
    monkeypatch.setattr(shared_tensors, "SHIPPED", tmp_path)


def read(path, what):
    assert path.name == "some.tiny.safetensors"
    return SHIPPED, {}


def test_a_negative_zero_is_a_zero():
    ours = {"same": torch.tensor([-0.0, 1.0]).half(), "other": torch.tensor([3.0]).half()}
    left, said = shared_tensors.without_shared(ours, "some.tiny", read)
    assert list(left) == ["other"]
    whole = shared_tensors.with_shared(left, said, Path("mine"), read)
    assert all(torch.equal(whole[name], ours[name]) for name in ours)


def test_of_other_weights_nothing_is_taken(monkeypatch):
    _, said = shared_tensors.without_shared(SHIPPED, "some.tiny", read)
    monkeypatch.setitem(SHIPPED, "other", torch.tensor([5.0]).half())
    with pytest.raises(UsageError, match=r"mine was made from other weights than some\.tiny"):
        shared_tensors.with_shared({}, said, Path("mine"), read)
