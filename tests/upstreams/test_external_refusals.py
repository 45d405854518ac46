"""What hf:, torchaudio: and s3prl: cannot load is one sentence; no code of a checkpoint runs."""

import json
import pickle
from argparse import Namespace

import pytest
import torch
from earlyexit_superb.benchmark.errors import BenchmarkError, MachineError, UsageError
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.benchmark.s3prl_compat import s3prl_manners
from helpers.external import EXPERT, expert, hugging_face
from helpers.hubert import SMALL
from helpers.libraries import library, of_s3prl


def refused(spec: object, kind: type[BenchmarkError] = UsageError, **options: object) -> str:
    with pytest.raises(kind) as said:
        build_upstream(str(spec), {name: str(value) for name, value in options.items()})
    assert "\n" not in str(said.value)
    return str(said.value)


@pytest.mark.parametrize(
    "spec, said",
    [
        ("hf:", "names nothing after the colon"),
        ("hff:facebook/x", "did you mean hf:?"),
        ("hf:no such folder", "no folder here and no Hugging Face id"),
        ("torchaudio:HUBERT", "did you mean HUBERT_BASE"),
        ("torchaudio:TACOTRON2_WAVERNN_PHONE_LJSPEECH", "has no bundle"),
        ("s3prl:huber", "did you mean hubert"),
        ("s3prl:hubert_local", "needs a checkpoint: --set ckpt=FILE"),
        ("s3prl:/none/expert.py", "there is no file"),
        ("/none/expert.py", "an s3prl expert is written s3prl:"),
        ("/none/expert.py:UpstreamExpert", "an s3prl expert is written s3prl:"),
    ],
)
def test_a_name_that_names_nothing(spec, said):
    assert said in refused(spec)


def test_a_checkpoint_where_none_is_taken_or_none_is(tmp_path):
    assert "take s3prl:hubert_local" in refused("s3prl:hubert", ckpt="x.pt")
    assert "ends in _local" in refused("s3prl:fbank", ckpt="x.pt")
    assert "there is no file" in refused("s3prl:hubert_local", ckpt=tmp_path / "none.pt")
    assert "already names its model" in refused("s3prl:fbank", model="mel")


def test_a_model_that_is_not_here_and_cannot_be_fetched(monkeypatch):
    library("transformers"), library("s3prl.util.download")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "hf download nobody/nothing" in refused("hf:nobody/nothing", MachineError)

    def gone(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("s3prl.util.download._download", gone)
    assert "download failed (no network)" in refused("s3prl:hubert", MachineError)
    bundle = library("torchaudio.pipelines").HUBERT_BASE
    monkeypatch.setattr(type(bundle), "get_model", gone)
    assert "download failed (no network)" in refused("torchaudio:HUBERT_BASE", MachineError)


def test_a_folder_that_does_not_say_how_it_hears(tmp_path):
    hugging_face(tmp_path / "silent", "Hubert", normalise=None)
    spec = f"hf:{tmp_path / 'silent'}"
    assert "normalise=yes or normalise=no" in refused(spec)
    heard = [build_upstream(spec, {"normalise": how}) for how in ("yes", "no")]
    wav, length = 0.1 * torch.randn(1, 16_000), torch.tensor([16_000])
    loud, quiet = ([next(up.states(k * wav, length)) for k in (1, 2)] for up in heard)
    assert torch.allclose(*loud, atol=1e-4) and not torch.allclose(*quiet, atol=1e-4)
    assert heard[0].card.name == "hf:silent(normalise=yes)"


def test_a_folder_of_another_kind(tmp_path):
    transformers, folder = library("transformers"), tmp_path / "x"
    hugging_face(folder, "Hubert")
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=24_000).save_pretrained(folder)
    assert "hears 24000 Hz" in refused(f"hf:{folder}")
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = transformers.BertConfig(vocab_size=9, intermediate_size=8, **small)
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    assert "is a bert, which hears no audio" in refused(f"hf:{tmp_path / 'bert'}")
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}}
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "config.json").write_text(json.dumps(config))
    (tmp_path / "code" / "code.py").write_text("raise SystemExit('foreign code ran')")
    assert "brings code of its own" in refused(f"hf:{tmp_path / 'code'}")


def test_a_model_that_hears_something_else(tmp_path):
    transformers, spectrum, units = library("transformers"), tmp_path / "ast", tmp_path / "t5"
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = transformers.ASTConfig(intermediate_size=8, **small)
    transformers.ASTModel(config).save_pretrained(spectrum)
    transformers.ASTFeatureExtractor().save_pretrained(spectrum)
    assert "no sequence in time" in refused(f"hf:{spectrum}")
    part = {"layers": 1, "ffn_dim": 8, "attention_heads": 1}
    both = {f"{side}_{key}": n for side in ("encoder", "decoder") for key, n in part.items()}
    config = transformers.SpeechT5Config(hidden_size=8, conv_dim=(8,) * 7, **both)
    transformers.SpeechT5Model(config).save_pretrained(units)
    transformers.SpeechT5FeatureExtractor().save_pretrained(units)
    assert "fails on 800 samples of audio (RuntimeError" in refused(f"hf:{units}")
    hugging_face(tmp_path / "whisper", "Whisper")
    said = refused(f"hf:{tmp_path / 'whisper'}", normalise="yes")
    assert "there is no waveform to normalise" in said
    upstream, long = build_upstream(f"hf:{tmp_path / 'whisper'}"), torch.zeros(1, 496_000)
    with pytest.raises(UsageError, match=r"hears 30 s at most, not 31\.0 s"):
        next(upstream.states(long, torch.tensor([496_000])))


def test_weights_that_are_missing_are_not_made_up(tmp_path):
    model = hugging_face(tmp_path, "Hubert")
    state = model.state_dict()
    del state["encoder.layers.1.attention.k_proj.weight"]
    model.save_pretrained(tmp_path, state_dict=state)
    said = refused(f"hf:{tmp_path}")
    assert "lacks weights: encoder.layers.1.attention.k_proj.weight" in said


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('foreign code ran')",)


def test_no_code_of_a_checkpoint_is_run(tmp_path):
    """The expert asks for a full unpickling, and s3prl evaluates the list of convolutions."""
    file, bad = expert(tmp_path / "mine"), tmp_path / "bad.pt"
    torch.save({"front.weight": Evil()}, bad)
    assert "holds more than tensors and plain values" in refused(f"s3prl:{file}", ckpt=bad)
    of_s3prl(SMALL, bad)
    checkpoint = torch.load(bad, weights_only=True)
    checkpoint["model_cfg"]["conv_feature_layers"] = "exec(\"raise SystemExit('it ran')\") or []"
    torch.save({"args": Namespace(settings=checkpoint)}, bad)
    with s3prl_manners(), pytest.raises(UsageError, match="would run as code"):
        torch.load(bad)
    torch.save(checkpoint, bad)
    assert "would run as code" in refused("s3prl:hubert_local", ckpt=bad)
    with s3prl_manners(), pytest.raises(pickle.UnpicklingError):
        torch.save(Evil(), bad), torch.load(bad, weights_only=False)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("import torch\n", "import fairseq.checkpoint_utils\n", "needs fairseq"),
        ("import torch\n", "import nobody_has_this\n", "No module named 'nobody_has_this'"),
        ("ckpt=None", "ckpt", "if it needs a checkpoint, add --set ckpt=FILE"),
        ("class UpstreamExpert", "class Other", "has no class UpstreamExpert"),
        ('{"hidden_states": states}', "{'feature': x}", "no dictionary with hidden_states"),
        ('{"hidden_states": states}', "{'hidden_states': x}", "no list of tensors"),
        ('": states}', '": [x, x[:, ::2]]}', "a weighted sum needs all to be (1, T, D)"),
        ('": states}', '": [x.mean(1, True)]}', "no sequence in time"),
        ('": states}', '": [x[:, : len(wavs[0]) % 7 + 9 * len(wavs[0]) // 9000]]}', "line"),
    ],
)
def test_an_expert_that_cannot_be_used(tmp_path, old, new, said):
    file = expert(tmp_path / "bad", EXPERT.replace(old, new, 1))
    kind = MachineError if old.startswith("import") else UsageError
    assert said in refused(f"s3prl:{file}", kind)


@pytest.mark.parametrize("rule", ["layer_similarity", "daisy"])
def test_no_exit_rule_goes_around_it(rule):
    assert "computes all its depths at once" in refused(rule, backbone="s3prl:fbank")
