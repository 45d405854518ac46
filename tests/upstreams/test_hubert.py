"""The stepping network holds the source libraries' own numbers, at every depth, alone and in any
batch.
"""

import itertools
import json
import pickle
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch
from earlyexit_superb.benchmark.errors import MachineError, UsageError, require
from earlyexit_superb.upstreams.backbones.hubert import HubertNet
from earlyexit_superb.upstreams.backbones.hubert_shape import (
    KERNELS,
    STRIDES,
    HubertShape,
    frame_counts,
    macs_to,
)
from earlyexit_superb.upstreams.backbones.hubert_weights import content_hash, load, save, write
from oracles import s3prl_module
from torch import Tensor, nn
from torch.nn import functional as F

BASE = HubertShape()
LARGE = HubertShape(
    dim=1024,
    depth=24,
    heads=16,
    ffn=4096,
    conv_norm="layer",
    conv_bias=True,
    pre_norm=True,
    normalise_wav=True,
)
SMALL = HubertShape(
    dim=32, depth=3, heads=2, ffn=64, conv_dim=16, pos_kernel=8, pos_groups=4, units=11, unit_dim=8
)
SMALL_LARGE = replace(
    SMALL, pos_kernel=7, conv_norm="layer", conv_bias=True, pre_norm=True, normalise_wav=True
)
SAMPLES = (8000, 12_345, 16_000)  # 24, 38 and 49 frames: s3prl pads odd counts


@pytest.fixture(scope="module")
def clips() -> list[Tensor]:
    """Noise that swells, on a hum: a statistic taken over too much of it is a wrong one."""
    draw = torch.Generator().manual_seed(0)
    return [
        torch.randn(n, generator=draw) * torch.linspace(0.01, 0.3, n)
        + 0.1 * torch.sin(torch.arange(n) * 0.05)
        for n in SAMPLES
    ]


@torch.no_grad()
def states(net: HubertNet, wavs: list[Tensor]) -> list[Tensor]:
    """One zero-padded batch -> the states of the depths 0..L."""
    return list(
        net.states(
            nn.utils.rnn.pad_sequence(wavs, batch_first=True), torch.tensor([len(w) for w in wavs])
        )
    )


def padded(net: HubertNet, wavs: list[Tensor]) -> list[Tensor]:
    """The same as one padded batch, as it runs where gradients flow and on other devices."""
    with torch.enable_grad():
        return [x.detach() for x in states.__wrapped__(net, wavs)]


def close(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-5) -> None:
    for depth, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        torch.testing.assert_close(
            a, b, atol=tolerance, rtol=tolerance, msg=lambda said, k=depth: f"state {k}: {said}"
        )


@torch.no_grad()
def unlike_new(model: nn.Module) -> nn.Module:
    """New models have zero biases and unit norms, which would hide a name that was
    mapped to another's place.
    """
    draw = torch.Generator().manual_seed(1)
    for p in model.parameters():
        if p.ndim == 1:
            p.add_(torch.randn(p.shape, generator=draw) * 0.1)
    return model.eval()


# --- the three libraries' own models, of any shape ------------------------------------------------


def library(name: str):
    """Part of the install set: a test without it has failed, not passed."""
    return require(name, "this test", "all")


def of_transformers(shape: HubertShape, kind: str = "Hubert") -> nn.Module:
    transformers = library("transformers")
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=shape.dim,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        intermediate_size=shape.ffn,
        conv_dim=(shape.conv_dim,) * 7,
        conv_bias=shape.conv_bias,
        feat_extract_norm=shape.conv_norm,
        num_conv_pos_embeddings=shape.pos_kernel,
        num_conv_pos_embedding_groups=shape.pos_groups,
        do_stable_layer_norm=shape.pre_norm,
    )
    torch.manual_seed(2)
    return unlike_new(getattr(transformers, f"{kind}Model")(config))


def of_torchaudio(model: nn.Module) -> nn.Module:
    """torchaudio's own conversion of a transformers model."""
    return library("torchaudio.models.wav2vec2.utils").import_huggingface_model(model).eval()


def of_s3prl(shape: HubertShape, path) -> SimpleNamespace:
    """A checkpoint file of s3prl's format with s3prl's own initial weights, and the expert
    that s3prl makes of it.
    """
    library("torchaudio")
    expert, hubert_model = (
        s3prl_module("upstream.hubert.expert"),
        s3prl_module("upstream.hubert.hubert_model"),
    )
    model_cfg = {
        "label_rate": 50.0,
        "encoder_layers": shape.depth,
        "encoder_embed_dim": shape.dim,
        "encoder_ffn_embed_dim": shape.ffn,
        "encoder_attention_heads": shape.heads,
        "final_dim": shape.unit_dim,
        "layer_norm_first": shape.pre_norm,
        "extractor_mode": "layer_norm" if shape.conv_norm == "layer" else "default",
        "conv_bias": shape.conv_bias,
        "conv_feature_layers": str(
            [(shape.conv_dim, k, s) for k, s in zip(KERNELS, STRIDES, strict=True)]
        ),
        "conv_pos": shape.pos_kernel,
        "conv_pos_groups": shape.pos_groups,
        "logit_temp": 0.1,
    }
    task_cfg = {"normalize": shape.normalise_wav}
    symbols = [[str(i) for i in range(shape.units)]]
    torch.manual_seed(3)
    model = unlike_new(
        hubert_model.HubertModel(
            hubert_model.HubertConfig(**model_cfg),
            hubert_model.HubertPretrainingConfig(**task_cfg),
            symbols,
        )
    )
    torch.save(
        {
            "task_cfg": task_cfg,
            "model_cfg": model_cfg,
            "model_weight": model.state_dict(),
            "dictionaries_symbols": symbols,
        },
        path,
    )
    del model
    return expert.UpstreamExpert(str(path)).eval()


def heard(shape: HubertShape, wav: Tensor) -> Tensor:
    """(1, N) as a library wants it that leaves the normalisation to its user."""
    return (F.layer_norm(wav, wav.shape) if shape.normalise_wav else wav)[None]


@contextmanager
def doubled(model: nn.Module) -> Iterator[None]:
    """The library's own code in double precision: in float32 its states of Base are further from
    those than ours are.
    """
    model.double()
    with torch.no_grad():
        yield
    model.float()


def states_of_transformers(model: nn.Module, shape: HubertShape, wav: Tensor) -> list[Tensor]:
    with doubled(model):
        out = model(heard(shape, wav.double()), output_hidden_states=True)
    # a pre-norm model's last one is normalised
    return [x.float() for x in (*out.hidden_states[:-1], out.last_hidden_state)]


def states_of_torchaudio(model: nn.Module, shape: HubertShape, wav: Tensor) -> list[Tensor]:
    with doubled(model):
        out, _ = model.extract_features(heard(shape, wav.double()))
        out = [
            *out[:-1],
            model.encoder.transformer.layer_norm(out[-1]) if shape.pre_norm else out[-1],
        ]
    return [x.float() for x in out]


@torch.no_grad()
def logits_of_s3prl(model: nn.Module, state: Tensor) -> Tensor:
    """(1, T, D) -> (T, units). Its function puts the target first and strikes it out of the rest;
    unit 0 stays in place.
    """
    targets = model.label_embs_concat[:1].expand(state.shape[1], -1)
    negatives = model.label_embs_concat[:, None].expand(-1, state.shape[1], -1)
    found = model.compute_nce(model.final_proj(state[0]), targets, negatives)
    assert (found[:, 1] == -torch.inf).all()
    return torch.cat([found[:, :1], found[:, 2:]], 1)


# --- one set of Base weights in every format that carries it --------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """Base as a model of transformers, and as a Hugging Face folder."""
    home = tmp_path_factory.mktemp("base")
    model = of_transformers(BASE)
    model.save_pretrained(home / "folder")
    yield SimpleNamespace(model=model, folder=home / "folder", home=home)
    shutil.rmtree(home)  # pytest would keep three runs' copies


@pytest.fixture(scope="module")
def converted(published) -> SimpleNamespace:
    """The same as a model of torchaudio, and as the file that its bundle would have downloaded."""
    model = of_torchaudio(published.model)
    file = published.home / "hub" / "checkpoints" / "hubert_fairseq_base_ls960.pth"
    file.parent.mkdir(parents=True)
    torch.save(model.state_dict(), file)
    return SimpleNamespace(model=model, file=file)


@pytest.fixture(scope="module")
def base(published) -> HubertNet:
    return load(str(published.folder), BASE)[0]


@pytest.fixture(scope="module")
def ours(base, clips) -> list[list[Tensor]]:
    """Every clip alone."""
    return [states(base, [wav]) for wav in clips]


@pytest.mark.parametrize("clip", range(len(SAMPLES)))
def test_base_states_are_those_of_transformers_at_all_13_depths(published, ours, clips, clip):
    close(ours[clip], states_of_transformers(published.model, BASE, clips[clip]))


@pytest.mark.parametrize("clip", range(len(SAMPLES)))
def test_base_states_are_those_of_torchaudio_at_all_12_depths(converted, ours, clips, clip):
    close(ours[clip][1:], states_of_torchaudio(converted.model, BASE, clips[clip]))


def test_base_states_and_logits_are_those_of_s3prl(tmp_path, clips):
    expert = of_s3prl(BASE, tmp_path / "converted.pt")
    net, _ = load(str(tmp_path / "converted.pt"), BASE)
    (tmp_path / "converted.pt").unlink()
    for wav in clips:
        mine = states(net, [wav])
        with doubled(expert):
            close(mine, [x.float() for x in expert([wav.double()])["hidden_states"]])
        with torch.no_grad():
            close([net.head(mine[-1])[0]], [logits_of_s3prl(expert.model, mine[-1])])


def test_one_set_of_weights_has_one_revision_from_every_source(
    published, converted, base, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(published.home))  # the bundle finds its download there
    revision = content_hash(base)
    assert len(revision) == 12
    for source in (converted.file, "torchaudio:HUBERT_BASE"):
        net, same = load(str(source), BASE)
        assert same == revision and net.head is None and not net.training


def test_a_batch_changes_no_state_of_the_group_norm_model(base, clips, ours):
    # not a bit: on the CPU every utterance runs by itself
    alone_and_together(states(base, clips), ours, 0)
    alone_and_together(padded(base, clips), ours)


def test_base_without_its_own_care_would_change(base, clips, ours):
    """The test above can fail: with the statistics of the padded batch the states do move."""
    lengths = torch.full((len(clips),), max(SAMPLES))
    with torch.no_grad():
        x = base.project(nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths)
        frames = frame_counts(SAMPLES[0])
        assert (base.position(x)[0, : frames - 10] - ours[0][0][0, : frames - 10]).abs().max() > 0.1


def alone_and_together(
    together: list[Tensor], alone: list[list[Tensor]], tolerance: float = 1e-5
) -> None:
    for row, n in enumerate(SAMPLES):
        close([x[row : row + 1, : frame_counts(n)] for x in together], alone[row], tolerance)


# --- the same, small: Large's order of norms, wav2vec 2.0, torchaudio's pre-training model --------


@pytest.mark.parametrize("shape", [SMALL, SMALL_LARGE], ids=["like base", "like large"])
@pytest.mark.parametrize("kind", ["Hubert", "Wav2Vec2"])
def test_small_models_of_transformers_and_torchaudio(tmp_path, clips, shape, kind):
    model = of_transformers(shape, kind)
    model.save_pretrained(tmp_path)
    net, revision = load(str(tmp_path), shape)
    other = of_torchaudio(model)
    torch.save(other.state_dict(), tmp_path / "torchaudio.pth")
    assert load(str(tmp_path / "torchaudio.pth"), shape)[1] == revision
    alone = [states(net, [wav]) for wav in clips]
    for mine, wav in zip(alone, clips, strict=True):
        close(mine, states_of_transformers(model, shape, wav))
        close(mine[1:], states_of_torchaudio(other, shape, wav))
    alone_and_together(states(net, clips), alone)


def test_a_batch_of_the_layer_norm_model_is_that_of_transformers_too(tmp_path, clips):
    """Layer-norm models can be padded as usually run, so the libraries' own batch is a second
    witness.
    """
    model = of_transformers(SMALL_LARGE)
    model.save_pretrained(tmp_path)
    net, _ = load(str(tmp_path), SMALL_LARGE)
    padded = nn.utils.rnn.pad_sequence([heard(SMALL_LARGE, w)[0] for w in clips], batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(w) for w in clips], batch_first=True).long()
    with torch.no_grad():
        theirs = model(padded, attention_mask=mask).last_hidden_state
    mine = states(net, clips)[-1]
    for row, n in enumerate(SAMPLES):
        close([mine[row, : frame_counts(n)]], [theirs[row, : frame_counts(n)]])


def test_small_pre_norm_checkpoint_of_s3prl(tmp_path, clips):
    expert = of_s3prl(SMALL_LARGE, tmp_path / "converted.pt")
    net, revision = load(
        str(tmp_path / "converted.pt"),
        replace(SMALL_LARGE, normalise_wav=False, units=1, unit_dim=1),
    )
    # the checkpoint knows its head and whether it wants normalised waveforms
    assert net.shape == SMALL_LARGE
    for wav in clips:
        with torch.no_grad():
            close(states(net, [wav]), expert([wav])["hidden_states"])
    blob = torch.load(tmp_path / "converted.pt", weights_only=True)
    torch.save(
        {
            "model": blob["model_weight"],
            "cfg": {"model": blob["model_cfg"], "task": blob["task_cfg"]},
        },
        tmp_path / "fairseq.pt",
    )
    again, same = load(str(tmp_path / "fairseq.pt"), SMALL_LARGE)
    assert same == revision and again.shape == net.shape


def test_torchaudio_pretraining_models_bring_their_head(tmp_path, clips):
    models = library("torchaudio.models")
    torch.manual_seed(4)
    convolutions = [(SMALL.conv_dim, k, s) for k, s in zip(KERNELS, STRIDES, strict=True)]
    masks = (0.8, "static", 0.0, False, 1, 10, 0.0, "static", 0.0, False, 10, 1)
    model = unlike_new(
        models.hubert_pretrain_model(
            "group_norm",
            convolutions,
            False,
            32,
            0.0,
            8,
            4,
            3,
            2,
            0.0,
            64,
            0.0,
            0.0,
            False,
            0.0,
            *masks,
            skip_masked=False,
            skip_nomask=False,
            num_classes=SMALL.units,
            final_dim=SMALL.unit_dim,
            feature_grad_mult=None,
        )
    )
    torch.save(model.state_dict(), tmp_path / "pretrained.pt")
    net, _ = load(str(tmp_path / "pretrained.pt"), replace(SMALL, units=1, unit_dim=1))
    assert net.shape == SMALL
    mine = states(net, clips[:1])
    close(mine[1:], states_of_torchaudio(model.wav2vec2, SMALL, clips[0]))
    everywhere = torch.ones(mine[-1].shape[:2], dtype=torch.bool)
    with torch.no_grad():
        theirs, _ = model.logit_generator(
            mine[-1], torch.zeros_like(everywhere, dtype=torch.long), everywhere, ~everywhere
        )
        close([net.head(mine[-1])[0]], [torch.cat([theirs[:, :1], theirs[:, 2:]], 1)])


@pytest.mark.slow
def test_large_states_are_those_of_both_libraries(tmp_path, clips):
    model = of_transformers(LARGE)
    model.save_pretrained(tmp_path)
    net, _ = load(str(tmp_path), LARGE)
    shutil.rmtree(tmp_path)
    other = of_torchaudio(model)
    alone = [states(net, [wav]) for wav in clips]
    # un-normalised inner states reach 13: float32 leaves 1e-5 of that
    for mine, wav in zip(alone, clips, strict=True):
        close(mine, states_of_transformers(model, LARGE, wav), 2e-5)
        close(mine[1:], states_of_torchaudio(other, LARGE, wav), 2e-5)
    alone_and_together(states(net, clips), alone, 0)
    alone_and_together(padded(net, clips), alone, 2e-5)


# --- stepping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [SMALL, SMALL_LARGE], ids=["like base", "like large"])
def test_rows_that_are_sent_on_keep_their_states(clips, shape):
    net, _ = load("random", shape)
    whole = states(net, clips)
    lengths = torch.tensor(SAMPLES)
    with torch.no_grad():
        steps = net.states(nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths)
        close([next(steps), next(steps)], whole[:2])
        keep = torch.tensor([2, 0])
        close([steps.send(keep)], [whole[2][keep]])
        close([next(steps)], [whole[3][keep]])


def test_audio_shorter_than_one_frame_is_one_frame():
    net, _ = load("random", SMALL)
    short = torch.randn(123, generator=torch.Generator().manual_seed(0))
    assert all(x.shape[1] == 1 and x.isfinite().all() for x in states(net, [short]))
    close(states(net, [short]), states(net, [F.pad(short, (0, 277))]))


def test_frame_counts_are_those_of_transformers():
    samples = torch.arange(400, 2001)
    theirs = of_transformers(SMALL)._get_feat_extract_output_lengths(samples)
    assert torch.equal(frame_counts(samples), theirs)
    assert [frame_counts(int(n)) for n in samples] == theirs.tolist()
    assert frame_counts(1) == frame_counts(400) == 1 and frame_counts(160_000) == 499


# --- what it costs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [BASE, LARGE, SMALL_LARGE], ids=["base", "large", "small, odd kernel"]
)
@pytest.mark.parametrize("samples", [300, 400, 8000, 12_345, 160_000])
def test_macs_are_what_the_flop_counter_counts(shape, samples):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):  # shapes without numbers: the counter needs no more
        net, wav = HubertNet(shape), torch.zeros(1, samples)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        x = net.project(wav, torch.tensor([samples]))
        counted = [counter.get_total_flops()]
        for _ in net.blocks(net.position(x), None):
            counted.append(counter.get_total_flops())
    assert [2 * macs_to(shape, samples, depth) for depth in range(shape.depth + 1)] == counted


def test_what_an_exit_can_save():
    second, ten = 16_000, 160_000
    convolutions = (
        macs_to(BASE, 60 * second, 0) - frame_counts(60 * second) * BASE.conv_dim * BASE.dim
    )
    assert convolutions / 60 == pytest.approx(2.454e9, rel=1e-3)
    full = macs_to(BASE, ten, 12)
    assert full / 10 == pytest.approx(7.42e9, rel=5e-3)
    saved = [1 - macs_to(BASE, ten, k) / full for k in range(13)]
    assert saved[6] == pytest.approx(0.317, abs=5e-4)
    assert saved[1] < 0.6 and saved[12] == 0 and saved == sorted(saved, reverse=True)
    assert 1 - macs_to(LARGE, ten, 12) / macs_to(LARGE, ten, 24) == pytest.approx(0.425, abs=2e-3)


# --- weights: random, our own files, and files that will not do -----------------------------------


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
    transformers.WavLMConfig().save_pretrained(tmp_path / "wavlm")
    _refused(tmp_path / "wavlm", SMALL, "wavlm")
    config.conv_pos_batch_norm = True
    config.save_pretrained(tmp_path / "batch norm")
    _refused(tmp_path / "batch norm", SMALL, "conv_pos_batch_norm True")
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
