"""Checkpoints of HuBERT's relatives: each convention is loaded right, all else is one sentence."""

import json
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones.hubert_weights import content_hash, load
from helpers.hubert import SMALL, SMALL_DATA2VEC, SMALL_LARGE, SMALL_MHUBERT, SMALL_WAVLM
from helpers.libraries import config_of, library, of_transformers, unlike_new

PLAIN = replace(SMALL, units=0)
KINDS = {
    "wav2vec2": ("Wav2Vec2", PLAIN),
    "wavlm": ("WavLM", SMALL_WAVLM),
    "data2vec": ("Data2VecAudio", SMALL_DATA2VEC),
    "hubert": ("Hubert", SMALL_MHUBERT),
}
FAMILY = pytest.mark.parametrize("family", KINDS)
POSITION = "encoder.pos_conv_embed.conv"


def folder(tmp_path, family, **changed):
    kind, shape = KINDS[family]
    of_transformers(replace(shape, **changed), kind).save_pretrained(tmp_path / family)
    return tmp_path / family


def refused(source, shape, *words, family="", kind=UsageError):
    with pytest.raises(kind) as caught:
        load(str(source), shape, family=family)
    said = str(caught.value)
    assert said.startswith("weights: ") and "\n" not in said
    assert all(word in said for word in words), said


# ---- loaded right ----


@FAMILY
def test_fine_tuned_single_and_sharded_files_are_one_set_of_weights(tmp_path, family):
    kind, shape = KINDS[family]
    torch.manual_seed(2)
    tuned = getattr(library("transformers"), f"{kind}ForCTC")(config_of(shape, kind))
    unlike_new(tuned).save_pretrained(tmp_path / "whole")
    tuned.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 2
    torch.save(tuned.state_dict(), tmp_path / "w.pt")
    names = tuned.state_dict()
    assert all(name.startswith((f"{tuned.base_model_prefix}.", "lm_head.")) for name in names)
    single = tmp_path / "whole" / "model.safetensors"
    revisions = {
        load(str(source), shape, family=family)[1]
        for source in (tmp_path / "whole", tmp_path / "shards", single, tmp_path / "w.pt")
    }
    assert len(revisions) == 1


@pytest.mark.parametrize("family", ["wav2vec2", "wavlm"])
def test_old_and_new_names_of_the_weight_norm(tmp_path, family):
    _, shape = KINDS[family]
    source, new = folder(tmp_path, family), f"{POSITION}.parametrizations.weight.original"
    net, revision = load(str(source), shape)
    state = library("safetensors.torch").load_file(source / "model.safetensors")
    assert f"{new}0" in state
    old = dict(state)
    old[f"{POSITION}.weight_g"], old[f"{POSITION}.weight_v"] = (
        old.pop(f"{new}0"),
        old.pop(f"{new}1"),
    )
    for name, tensors in (("new", state), ("old", old)):
        torch.save(tensors, tmp_path / f"{name}.pt")
        assert load(str(tmp_path / f"{name}.pt"), shape)[1] == revision
    (source / "model.safetensors").unlink()
    torch.save(old, source / "pytorch_model.bin")
    assert load(str(source), shape)[1] == revision == content_hash(net)


@FAMILY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_half_precision_weights_are_computed_with_in_float32(tmp_path, family, dtype):
    kind, shape = KINDS[family]
    model = of_transformers(shape, kind).to(dtype)
    model.save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] != "float32"
    net, revision = load(str(tmp_path / "half"), shape)
    assert {p.dtype for p in net.state_dict().values()} == {torch.float32}
    rounded = net.encoder.layers[0].attention.q_proj.weight
    assert torch.equal(rounded, model.encoder.layers[0].attention.q_proj.weight.float())
    torch.save(model.state_dict(), tmp_path / "half.pt")
    assert load(str(tmp_path / "half.pt"), shape)[1] == revision


def test_fairseq_puts_a_batch_norm_before_the_positional_convolution(tmp_path):
    net, revision = load(str(folder(tmp_path, "hubert")), SMALL_MHUBERT)
    place = "encoder.pos_conv_embed."
    state = {
        k.replace(f"{place}batch_norm.", "encoder.pos_conv.0.").replace(
            f"{place}conv.", "encoder.pos_conv.1."
        ): v
        for k, v in net.state_dict().items()
    }
    state["encoder.pos_conv.0.num_batches_tracked"] = torch.tensor(100_000)
    steps = zip(SMALL_MHUBERT.kernels, SMALL_MHUBERT.strides, strict=True)
    cfg = {"conv_feature_layers": " + ".join(f"[(16, {k}, {s})]" for k, s in steps)}
    torch.save({"model_weight": state, "model_cfg": cfg, "task_cfg": {}}, tmp_path / "fairseq.pt")
    # the tag has seven convolutions and no batch norm: those are the source's
    again, same = load(str(tmp_path / "fairseq.pt"), PLAIN)
    assert same == revision and again.shape == SMALL_MHUBERT
    torch.save(state, tmp_path / "bare.pt")
    refused(tmp_path / "bare.pt", PLAIN, "8 convolutions", "strides", "config.json")


def test_fairseq_puts_its_wrapper_around_a_model_fine_tuned_for_recognition(tmp_path):
    net, _ = load("random", PLAIN)
    around = "w2v_encoder.w2v_model."
    state = {around + name: value for name, value in net.state_dict().items()}
    state |= {"w2v_encoder.proj.weight": torch.zeros(5, 32), f"{around}mask_emb": torch.zeros(32)}
    torch.save({"model": state, "cfg": {"model": {"_name": "wav2vec_ctc"}}}, tmp_path / "ctc.pt")
    again, revision = load(str(tmp_path / "ctc.pt"), PLAIN, family="wav2vec2")
    assert revision == content_hash(net) == content_hash(again)


@pytest.mark.parametrize("stated", [True, False, None])
@pytest.mark.parametrize("shape", [PLAIN, replace(SMALL_LARGE, units=0)], ids=["base", "large"])
def test_what_a_model_wants_to_hear_stands_beside_its_weights(tmp_path, shape, stated):
    of_transformers(shape, "Wav2Vec2").save_pretrained(tmp_path)
    if stated is not None:
        library("transformers").Wav2Vec2FeatureExtractor(do_normalize=stated).save_pretrained(
            tmp_path
        )
    net, revision = load(str(tmp_path), shape)
    wanted = shape.normalise_wav if stated is None else stated
    assert net.shape.normalise_wav is wanted
    usual = shape.normalise_wav is wanted
    assert revision == content_hash(net) + (
        "" if usual else "-normalised" if wanted else "-unnormalised"
    )
    wav = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        quiet, loud = (net.project(scale * wav, torch.tensor([4000])) for scale in (1, 20))
    if wanted or shape.conv_norm == "group":  # either takes the loudness out
        torch.testing.assert_close(quiet, loud, atol=1e-3, rtol=1e-3)
    else:
        assert (quiet - loud).abs().max() > 0.01


# ---- refused ----


@pytest.mark.parametrize(("family", "asked"), permutations(KINDS, 2))
def test_a_checkpoint_of_another_family_is_refused_with_the_one_it_is_of(tmp_path, family, asked):
    _, shape = KINDS[asked]
    source = folder(tmp_path, family)
    refused(source, shape, f"holds a {family}, not a {asked}", f"--upstream {family}", family=asked)


def test_what_one_family_alone_has_tells_it_without_a_configuration(tmp_path):
    hubert, _ = load("random", SMALL)
    torch.save(hubert.state_dict(), tmp_path / "hubert.pt")
    refused(tmp_path / "hubert.pt", PLAIN, "holds a hubert, not a wav2vec2", family="wav2vec2")
    single = folder(tmp_path, "wavlm") / "model.safetensors"
    refused(single, PLAIN, "holds a wavlm, not a hubert", family="hubert")


def test_tensors_of_another_family_are_refused_by_their_shape(tmp_path):
    files = {}
    for family in ("wavlm", "data2vec", "wav2vec2"):
        files[family] = folder(tmp_path, family) / "model.safetensors"
    refused(files["wavlm"], PLAIN, "buckets 16 where buckets 0", "wavlm's alone")
    refused(files["wav2vec2"], SMALL_WAVLM, "buckets 0 where buckets 16", "wavlm's alone")
    refused(files["data2vec"], PLAIN, "pos_layers 3", "data2vec's alone")
    refused(files["wavlm"], replace(SMALL_WAVLM, buckets=8), "buckets 16", "wavlm's alone")
    with pytest.raises(UsageError, match="holds a wavlm, not a hubert; run it as --upstream wavlm"):
        build_upstream("hubert.base", {"weights": str(tmp_path / "wavlm")})


@FAMILY
def test_what_is_missing_is_never_made_up(tmp_path, family):
    kind, shape = KINDS[family]
    source, model = tmp_path / "less", of_transformers(shape, kind)
    own = {"wavlm": "rel_attn_embed", "data2vec": "pos_conv_embed.layers.1.conv.bias"}
    own |= {"hubert": "batch_norm.running_var", "wav2vec2": "conv_layers.0.layer_norm.bias"}
    for word in ("encoder.layers.1.attention.k_proj.weight", own[family], "feature_projection"):
        left = {k: v for k, v in model.state_dict().items() if word not in k}
        assert len(left) < len(model.state_dict())
        model.save_pretrained(source, state_dict=left)
        refused(source, shape, word)
        torch.save(left, tmp_path / "less.pt")
        refused(tmp_path / "less.pt", shape)


def test_tensors_and_configuration_that_disagree(tmp_path):
    source = folder(tmp_path, "wavlm")
    config = json.loads((source / "config.json").read_text())

    def says(**changed):
        (source / "config.json").write_text(json.dumps(config | changed))
        return source

    refused(says(num_hidden_layers=2), replace(SMALL_WAVLM, depth=2), "layers.2", "no place")
    refused(says(num_hidden_layers=4), replace(SMALL_WAVLM, depth=4), "lacks", "layers.3")
    refused(says(num_attention_heads=4), SMALL_WAVLM)
    refused(says(conv_stride=[5, 2, 2, 2, 2, 2, 1]), SMALL_WAVLM, "stride 2 after the first")
    refused(says(add_adapter=True), SMALL_WAVLM, "add_adapter True")
    refused(says(max_bucket_distance=4), SMALL_WAVLM, "16 buckets of distances up to 4")
    refused(says(max_bucket_distance=30), replace(SMALL_WAVLM, depth=2), "depth 3", "depth 2")
    assert load(str(says(max_bucket_distance=30)), SMALL_WAVLM)[0].shape.max_distance == 30


def test_audio_of_another_rate_is_refused(tmp_path):
    source = folder(tmp_path, "wavlm")
    extractor = library("transformers").Wav2Vec2FeatureExtractor
    extractor(sampling_rate=24_000).save_pretrained(source)
    refused(
        source, SMALL_WAVLM, "hears 24000 samples a second", "preprocessor_config.json", "16000"
    )
    for damaged in ("[]", "{", ""):
        (source / "preprocessor_config.json").write_text(damaged)
        refused(source, SMALL_WAVLM, "preprocessor_config.json", "damaged")
    (source / "preprocessor_config.json").unlink()
    within = {"feature_extractor": {"sampling_rate": 8000, "do_normalize": True}}
    (source / "processor_config.json").write_text(json.dumps(within))
    refused(source, SMALL_WAVLM, "hears 8000 samples a second", "processor_config.json")
    within["feature_extractor"]["sampling_rate"] = 16_000
    (source / "processor_config.json").write_text(json.dumps(within))
    assert load(str(source), SMALL_WAVLM)[0].shape.normalise_wav


def test_an_id_without_a_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for family, tag in (("wav2vec2", "base"), ("wavlm", "base_plus"), ("data2vec", "large")):
        with pytest.raises(MachineError, match="download failed .* hf download") as caught:
            build_upstream(f"{family}.{tag}", {"weights": "no-one/no-such-model"})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("beside", ["there", "known to be absent", "never asked for"])
def test_an_id_that_was_downloaded_once_needs_no_network(tmp_path, monkeypatch, beside):
    """Whether it wants normalised audio is never guessed: the file is there, or was asked for."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--some--wavlm"
    snapshot, stated = model / "snapshots" / ("a" * 40), "preprocessor_config.json"
    of_transformers(SMALL_WAVLM, "WavLM").save_pretrained(snapshot)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("a" * 40)
    if beside == "never asked for":
        refused("some/wavlm", SMALL_WAVLM, "hf download some/wavlm", kind=MachineError)
        return
    if beside == "there":
        (snapshot / stated).write_text(json.dumps({"do_normalize": True}))
    else:
        (model / ".no_exist" / ("a" * 40)).mkdir(parents=True)
        for name in (stated, "processor_config.json"):
            (model / ".no_exist" / ("a" * 40) / name).touch()
    net, _ = load("some/wavlm", SMALL_WAVLM)
    assert net.shape.normalise_wav is (beside == "there")


def test_options_that_say_nothing():
    for family in ("wav2vec2", "wavlm", "data2vec"):
        with pytest.raises(UsageError, match=f"{family} has no tag 'huge'"):
            build_upstream(f"{family}.huge")
        with pytest.raises(UsageError, match=f"{family}.tiny has no trained weights"):
            build_upstream(f"{family}.tiny", {"weights": "random-blocks"})
        assert build_upstream(family).card.name == f"{family}.tiny(weights=random)"
