"""Checkpoints as trainers leave them; files that hold no weights are one sentence, by name."""

import struct

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones import entropy_branches
from earlyexit_superb.upstreams.backbones.hubert_weights import content_hash, load
from helpers.hubert import SMALL
from safetensors.torch import load_file, save_file

BRANCHES = entropy_branches.__file__.replace("backbones/entropy_branches.py", "")


@pytest.fixture(scope="module")
def net():
    return load("random", SMALL, seed=3)[0]


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "model.module.", "upstream.net."])
@pytest.mark.parametrize("under", ["state_dict", "model", ""])
def test_what_trainers_put_around_the_weights_changes_nothing(tmp_path, net, prefix, under):
    """Lightning: under `state_dict`, beside numpy scalars; DataParallel: `module.`."""
    tensors = {prefix + k: v for k, v in net.state_dict().items() if not k.startswith("head.")}
    blob = {under: tensors, "best": np.float32(0.5), "at": np.int64(7)} if under else tensors
    torch.save(blob, tmp_path / "last.ckpt")
    loaded, revision = load(str(tmp_path / "last.ckpt"), SMALL)
    net.head, head = None, net.head
    assert revision == content_hash(net) == content_hash(loaded)
    net.head = head


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_found_when_it_is_loaded(tmp_path, net, value):
    state = {k: v.clone() for k, v in net.state_dict().items()}
    name = "encoder.layers.1.attention.k_proj.bias"
    state[name][2] = value
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(UsageError, match=f"nan or infinity in {name}"):
        load(str(tmp_path / "w.pt"), SMALL)


def test_tensors_of_no_hubert_are_one_sentence(tmp_path, net):
    whole, conv = net.state_dict(), "encoder.pos_conv_embed.conv.weight"
    ffn = "encoder.layers.0.feed_forward.intermediate_dense.weight"
    two = {
        f"{conv[:-7]}.weight_g": torch.zeros(3, 1, 1),
        f"{conv[:-7]}.weight_v": torch.zeros(4, 2),
    }
    for changed in (
        {conv: torch.zeros(4, 0, 3)},
        {conv: torch.tensor(1.0)},
        {ffn: torch.tensor(1.0)},
        {"encoder.layers.x.y": torch.zeros(1)},
        {ffn: whole[ffn].long()},
        two,
    ):
        torch.save({**whole, **changed}, tmp_path / "w.pt")
        with pytest.raises(UsageError, match="w.pt"):
            load(str(tmp_path / "w.pt"), SMALL)


def damaged_branches(folder, how):
    """A copy of the shipped branches that will not do, and what is said of it."""
    file = folder / "b.safetensors"
    state, backbone = load_file(f"{BRANCHES}daisy.tiny.safetensors"), build_upstream("hubert.tiny")
    told = {"backbone": backbone.card.revision}
    if how == "header":
        file.write_bytes(struct.pack("<Q", 2**62) + b"{}")
        return file, "cannot be read"
    if how == "pickle":
        torch.save(state, file)
        return file, "cannot be read"
    if how == "renamed":
        state["0.wait"] = state.pop("0.weight")
    elif how == "size":
        state["3.weight"] = state["3.weight"][:, :-1].clone()
    elif how == "nan":
        state["2.bias"][0] = float("nan")
    elif how == "nothing":
        state = {"x": torch.zeros(1)}
    save_file(state, file, told)
    said = {"renamed": "0.weight", "size": "3.weight", "nan": "2.bias", "nothing": "0.bias"}
    return file, said[how]


@pytest.mark.parametrize("how", ["header", "pickle", "renamed", "size", "nan", "nothing"])
def test_branches_are_guarded_as_weights_are(tmp_path, how):
    file, said = damaged_branches(tmp_path, how)
    with pytest.raises(UsageError, match=said):
        build_upstream("daisy.tiny", {"branches": str(file)})
