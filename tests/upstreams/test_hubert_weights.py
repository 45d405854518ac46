"""Weights: random, our own files, and files that will not do."""

import itertools
import json
import pickle
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones.hubert import HubertNet
from earlyexit_superb.upstreams.backbones.hubert_shape import HubertShape
from earlyexit_superb.upstreams.backbones.hubert_weights import content_hash, load, save, write
from helpers.hubert import BASE, SMALL, SMALL_LARGE, states
from helpers.libraries import library, of_transformers, unlike_new
from torch import nn


def test_random_weights_come_from_their_seed_alone(clips):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, revision = load("random", SMALL, seed=7)
    assert torch.equal(torch.rand(3), expected) and revision == "random-7" and not first.training
    again, other = (content_hash(load("random", SMALL, seed=seed)[0]) for seed in (7, 8))
    assert again == content_hash(first) != other
    for shape in (SMALL, SMALL_LARGE):
        x = states(load("random", shape)[0], clips)
        assert all(s.isfinite().all() for s in x)
        assert all((b - a).norm() > 0.05 * a.norm() for a, b in itertools.pairwise(x)), (
            "depths differ"
        )
        assert all(s[:, :20].std(1).mean() > 0.05 for s in x), "frames differ"


def test_random_blocks_keep_the_front_end_and_nothing_else(clips):
    model = build_upstream("hubert.tiny", {"front": "projection"})
    control = build_upstream("hubert.tiny", {"front": "projection", "weights": "random-blocks"})
    batch = nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor([*map(len, clips)])
    with torch.no_grad():
        ours, theirs = (list(each.states(*batch)) for each in (model, control))
    assert torch.equal(ours[0], theirs[0])
    assert all(
        not torch.allclose(a, b, atol=0.1) for a, b in zip(ours[1:], theirs[1:], strict=True)
    )
    blank = build_upstream("hubert.tiny", {"front": "projection", "weights": "random"})
    for name, value in control.net.encoder.named_parameters():
        assert torch.equal(value, blank.net.encoder.get_parameter(name)), name
    assert control.card.name == "hubert.tiny(weights=random-blocks, front=projection)"
    other = build_upstream("hubert.tiny", {"weights": "random-blocks", "seed": "1"})
    assert len({model.card.revision, control.card.revision, other.card.revision}) == 3
    daisy = build_upstream(
        "daisy.tiny", {"weights": "random-blocks"}
    )  # no branch fits these blocks
    assert daisy.card.revision == f"{control.card.revision}+random-0"


@pytest.mark.parametrize("with_head", [True, False])
def test_our_own_format_round_trips(tmp_path, with_head):
    net = unlike_new(HubertNet(SMALL_LARGE, with_head))
    save(net, tmp_path / "full.safetensors", torch.float32, note="kept")
    again, revision = load(str(tmp_path / "full.safetensors"), replace(SMALL_LARGE, units=3))
    assert again.shape == net.shape and (again.head is not None) is with_head
    assert revision == content_hash(net) and not again.training
    assert all(
        torch.equal(a, b)
        for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True)
    )
    save(again, tmp_path / "half.safetensors")
    half, once = load(str(tmp_path / "half.safetensors"), SMALL_LARGE)
    assert next(half.parameters()).dtype == torch.float32 and next(half.parameters()).requires_grad
    save(half, tmp_path / "half.safetensors")  # over itself: whole or not at all
    assert load(str(tmp_path / "half.safetensors"), SMALL_LARGE)[1] == once != revision
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full.safetensors", "half.safetensors"]
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (
        tmp_path / "full.safetensors"
    ).stat().st_size


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot be written"):
        save(HubertNet(SMALL), tmp_path / "file" / "x.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def _refused(source, shape: HubertShape, *words: str, kind: type = UsageError) -> None:
    with pytest.raises(kind) as caught:
        load(str(source), shape)
    said = str(caught.value)
    assert all(word in said for word in words), said
    assert "\n" not in said and said.startswith("weights: ")


class Foreign:
    """Unpickling one of these would run code of the file's choosing."""

    def __reduce__(self):
        return (print, ("foreign code ran",))


def test_foreign_code_is_refused_and_never_run(tmp_path, capsys, monkeypatch):
    state = HubertNet(SMALL).state_dict()
    fairseq = ModuleType("fairseq.data.dictionary")
    fairseq.Dictionary = type("Dictionary", (), {"__module__": fairseq.__name__})
    with monkeypatch.context() as importable:
        for name in ("fairseq", "fairseq.data", "fairseq.data.dictionary"):
            importable.setitem(sys.modules, name, fairseq)
        torch.save(
            {"model": state, "task_state": {"dictionaries": [fairseq.Dictionary()]}},
            tmp_path / "original.pt",
        )
    _refused(
        tmp_path / "original.pt",
        SMALL,
        "fairseq.data.dictionary.Dictionary",
        "s3prl.upstream.hubert.convert",
    )
    torch.save({"model": state, "args": Foreign()}, tmp_path / "zip.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps({"model": 1, "args": Foreign()}, protocol=2))
    _refused(tmp_path / "zip.pt", SMALL, "print", "foreign code")
    _refused(tmp_path / "raw.pt", SMALL, "raw.pt")
    assert "foreign code ran" not in capsys.readouterr().out


def test_bad_files_are_told_apart(tmp_path):
    good = dict(HubertNet(SMALL).state_dict())

    def file(name: str, content) -> str:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.ckpt").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("hello")
    whole = file("whole.pt", good).read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    write(HubertNet(SMALL), tmp_path / "odd.safetensors", shape=json.dumps({"width": 3}))
    kernel = "encoder.layers.1.feed_forward.output_dense.weight"
    for source, *words in (
        (tmp_path / "none.pt", "no file"),
        (tmp_path / "none", "no folder"),
        (tmp_path / "text.pt", "no PyTorch checkpoint"),
        (tmp_path / "empty.ckpt", "no PyTorch checkpoint"),
        (tmp_path / "half.pt", "damaged"),
        (tmp_path / "text.safetensors", "cannot be read"),
        (tmp_path / "odd.safetensors", "width"),
        (file("list.pt", [1, 2]), "no HuBERT"),
        (file("other.pt", {"weight": torch.zeros(3)}), "no HuBERT"),
        (file("less.pt", {k: v for k, v in good.items() if k != kernel}), "lacks", kernel),
        (file("more.pt", {**good, "adapter.weight": torch.zeros(3)}), "unknown", "adapter.weight"),
        (file("misfit.pt", {**good, kernel: torch.zeros(32, 63)}), "another size", kernel),
        (
            file("warm.pt", {"model_weight": good, "model_cfg": {"logit_temp": 0.2}}),
            "temperature 0.2",
        ),
        ("torchaudio:HUBERT_BIG", "no bundle", "did you mean"),
    ):
        _refused(source, SMALL, *words)


def test_another_shape_than_the_one_asked_for_is_refused(tmp_path):
    save(HubertNet(SMALL), tmp_path / "small.safetensors")
    _refused(tmp_path / "small.safetensors", BASE, "dim 32", "dim 768", "heads 2", "heads 12")
    torch.save(HubertNet(replace(SMALL, depth=2)).state_dict(), tmp_path / "two.pt")
    _refused(tmp_path / "two.pt", SMALL, "depth 2", "depth 3")
    of_transformers(replace(SMALL, heads=4)).save_pretrained(tmp_path / "folder")
    _refused(tmp_path / "folder", SMALL, "heads 4", "heads 2")


def test_bad_folders_and_ids_are_told_apart(tmp_path, monkeypatch):
    transformers = library("transformers")
    # no network, and no waiting for one
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    _refused(tmp_path / "empty", SMALL, "not a whole Hugging Face folder")
    config = of_transformers(SMALL).config
    config.save_pretrained(tmp_path / "no weights")
    _refused(tmp_path / "no weights", SMALL, "not a whole Hugging Face folder")
    transformers.SEWConfig().save_pretrained(tmp_path / "other")
    _refused(tmp_path / "other", SMALL, "holds a sew, none of hubert, wav2vec2, wavlm")
    config.hidden_act = "relu"
    config.save_pretrained(tmp_path / "relu")
    _refused(tmp_path / "relu", SMALL, "hidden_act relu")
    less = of_transformers(SMALL)
    kernel = "encoder.layers.1.feed_forward.output_dense.weight"
    less.save_pretrained(
        tmp_path / "less", state_dict={k: v for k, v in less.state_dict().items() if k != kernel}
    )
    _refused(tmp_path / "less", SMALL, "lacks", kernel)
    _refused(
        "facebook/no-such-hubert", BASE, "hf download facebook/no-such-hubert", kind=MachineError
    )
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", _no_network)
    _refused("torchaudio:HUBERT_BASE", BASE, "download failed", kind=MachineError)


def _no_network(*_, **__):
    raise OSError("no route to host")


def test_single_files_and_fine_tuned_models_of_hugging_face(tmp_path):
    """The published Base model comes as a .bin file, and a fine-tuned one puts its own name
    before every parameter.
    """
    tuned = library("transformers").HubertForCTC(of_transformers(SMALL).config)
    tuned.save_pretrained(tmp_path)
    _, revision = load(str(tmp_path), SMALL)
    assert load(str(tmp_path / "model.safetensors"), SMALL)[1] == revision
    (tmp_path / "model.safetensors").unlink()
    torch.save(tuned.state_dict(), tmp_path / "pytorch_model.bin")
    assert (
        load(str(tmp_path), SMALL)[1]
        == load(str(tmp_path / "pytorch_model.bin"), SMALL)[1]
        == revision
    )
    torch.save({**tuned.state_dict(), "x": Foreign()}, tmp_path / "pytorch_model.bin")
    _refused(tmp_path, SMALL, "not a whole Hugging Face folder")
