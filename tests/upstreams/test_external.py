"""hf:, torchaudio: and s3prl: - each library's own states, alone and in a batch."""

from collections.abc import Callable, Sequence

import pytest
import torch
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.conformance import check_upstream
from earlyexit_superb.benchmark.engine.parameters import Parameters
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones.hubert_shape import HubertShape, macs_to
from helpers import DATA, wav
from helpers.external import EXPERT, LARGE, SHAPE, expert, hugging_face
from helpers.hubert import SMALL
from helpers.libraries import library, of_s3prl, unlike_new
from oracles import s3prl_module
from torch import Tensor, nn

CLIPS = [wav(16_000, 1), wav(9_600, 2), wav(500, 3)]  # the last one is padded to 0.05 s


@torch.no_grad()
def held_against(upstream, theirs: Callable[[Tensor], Sequence[Tensor]]) -> None:
    """The states of each clip are theirs, alone and beside longer ones: to the last bit, or to that
    of a product whose rounding depends on where its memory lies, as on some processors."""
    lengths = torch.tensor([len(clip) for clip in CLIPS])
    batch = list(upstream.states(nn.utils.rnn.pad_sequence(CLIPS, batch_first=True), lengths))
    frames = upstream.frames(lengths).tolist()
    assert len(batch) == upstream.card.depth + 1 and not upstream.card.stepped
    for row, (clip, count) in enumerate(zip(CLIPS, frames, strict=True)):
        heard = nn.functional.pad(clip, (0, max(0, 800 - len(clip))))
        alone = list(upstream.states(clip[None], lengths[row : row + 1]))
        for mine, together, state in zip(alone, batch, theirs(heard), strict=True):
            torch.testing.assert_close(mine, state, rtol=0, atol=1e-6)
            torch.testing.assert_close(together[row, :count], state[0], rtol=0, atol=1e-6)
            assert not together[row, count:].any()


def meets_the_contract(upstream) -> None:
    assert not [f.sentence for f in check_upstream(upstream) if not f.ok]


@pytest.mark.parametrize(
    "kind, config",
    [("Hubert", {}), ("Wav2Vec2", LARGE), ("WavLM", {}), ("Data2VecAudio", {})],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_of_transformers(tmp_path, kind, config):
    model = hugging_face(tmp_path / "tiny", kind, **config)
    upstream = build_upstream(f"hf:{tmp_path / 'tiny'}")
    hears = library("transformers").AutoFeatureExtractor.from_pretrained(tmp_path / "tiny")

    def theirs(clip):
        given = hears(clip.numpy(), sampling_rate=16_000, return_tensors="pt")
        return model(**given, output_hidden_states=True).hidden_states

    held_against(upstream, theirs)
    if kind == "WavLM":
        meets_the_contract(upstream)
    assert (upstream.card.name, upstream.card.stride) == ("hf:tiny", 320)


def test_whisper_is_its_encoder_over_thirty_seconds(tmp_path):
    model = hugging_face(tmp_path / "whisper", "Whisper").get_encoder()
    upstream = build_upstream(f"hf:{tmp_path / 'whisper'}")
    hears = library("transformers").WhisperFeatureExtractor()

    def theirs(clip):
        given = hears(clip.numpy(), sampling_rate=16_000, return_tensors="pt")
        states = model(**given, output_hidden_states=True).hidden_states
        return [state[:, : -(-len(clip) // 320)] for state in states]

    held_against(upstream, theirs)
    assert upstream.macs(16_000, 0) == upstream.macs(480_000, 2) > 0
    assert upstream.card.tuned_on


@pytest.mark.parametrize("kind", ["hubert_base", "wavlm_base"])
def test_a_bundle_of_torchaudio(monkeypatch, kind):
    made = getattr(library("torchaudio.models"), "wav2vec2_model" if "h" in kind else "wavlm_model")
    bundle = library("torchaudio.pipelines").__dict__[kind.upper()]
    small = bundle._params | {
        "extractor_conv_layer_config": [
            (16, k, s) for k, s in zip((10, 3, 3), (5, 8, 8), strict=True)
        ],
        **{"encoder_embed_dim": 32, "encoder_num_layers": 3, "encoder_num_heads": 2},
        **{"encoder_ff_interm_features": 64, "encoder_pos_conv_groups": 4},
    }
    torch.manual_seed(0)
    model = unlike_new(made(**small))
    monkeypatch.setattr(type(bundle), "get_model", lambda self, *, dl_kwargs: model)
    upstream = build_upstream(f"torchaudio:{kind.upper()}")
    transformer = model.encoder.transformer

    def theirs(clip):
        features, _ = model.feature_extractor(clip[None], None)
        entered = transformer._preprocess(model.encoder._preprocess(features, None)[0])
        return [entered, *model.extract_features(clip[None])[0]]

    held_against(upstream, theirs)
    assert (upstream.card.depth, upstream.card.name) == (3, f"torchaudio:{kind.upper()}")


@pytest.mark.parametrize("name", ["fbank", "mel"])
def test_a_spectrum_of_s3prl(name):
    upstream = build_upstream(f"s3prl:{name}")
    library("torchaudio")
    theirs = getattr(s3prl_module("upstream.baseline.hubconf"), name)().eval()

    def filled(clip):
        """mel cuts zeros off the end, and s3prl's own S3PRLUpstream repeats the last frame."""
        [state] = theirs([clip])["hidden_states"]
        lacking = int(upstream.frames(torch.tensor(len(clip)))) - state.shape[1]
        return [torch.cat([state, state[:, -1:].expand(-1, lacking, -1)], 1)]

    held_against(upstream, filled)
    meets_the_contract(upstream)
    assert upstream.card.depth == 0 and upstream.card.stride == 160


def test_a_checkpoint_of_s3prl(tmp_path):
    theirs = of_s3prl(SMALL, tmp_path / "small.pt")
    upstream = build_upstream("s3prl:hubert_local", {"ckpt": str(tmp_path / "small.pt")})
    held_against(upstream, lambda clip: theirs([clip])["hidden_states"])
    assert upstream.card.name == "s3prl:hubert_local(ckpt=small.pt)"
    assert len(upstream.card.revision) == 12


def test_an_expert_file(tmp_path, capfd):
    file = expert(tmp_path / "mine")
    first = build_upstream(f"s3prl:{file}")
    assert capfd.readouterr().out == ""  # standard output is for results
    torch.save(first.net.state_dict(), tmp_path / "weights.pt")
    again = build_upstream(f"s3prl:{file}", {"ckpt": str(tmp_path / "weights.pt")})
    assert first.card.revision == again.card.revision  # weights that nobody loads are seeded
    assert again.card.name == "s3prl:mine-expert(ckpt=weights.pt)"
    held_against(again, lambda clip: again.net([clip])["hidden_states"])
    meets_the_contract(again)
    frames, widths = (16_000 - 400) // 320 + 1, 16 * (400 + 3 * 16)
    assert {again.macs(16_000, k) for k in range(4)} == {frames * widths}


def test_an_expert_file_that_needs_no_s3prl(tmp_path):
    text = EXPERT.replace(
        "..interfaces import UpstreamBase", "torch.nn import Module as UpstreamBase"
    )
    assert build_upstream(f"s3prl:{expert(tmp_path / 'plain', text)}").card.depth == 3


def test_the_products_of_a_hubert_are_those_of_our_own(tmp_path):
    hugging_face(tmp_path, "Hubert")
    upstream, shape = (
        build_upstream(f"hf:{tmp_path}"),
        HubertShape(dim=32, depth=3, heads=2, ffn=64, conv_dim=16, pos_kernel=8, pos_groups=4),
    )
    assert SHAPE["hidden_size"] == shape.dim
    for samples in (8000, 12_345):
        counts = {upstream.macs(samples, depth) for depth in range(4)}
        assert counts == {macs_to(shape, samples, 3, False)}


@pytest.mark.slow
def test_base_size_on_real_speech(tmp_path):
    """With random weights; the products are those that HuBERT Base is known by."""
    transformers, files = library("transformers"), sorted(DATA.glob("LibriSpeech/*/*/*/*.flac"))
    if not files:
        pytest.skip("shared/data is not here")
    transformers.HubertModel(transformers.HubertConfig()).save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    upstream, clip = build_upstream(f"hf:{tmp_path}"), torch.from_numpy(audio.read(files[0]))
    with torch.no_grad():
        theirs = upstream.net(clip[None], output_hidden_states=True).hidden_states
        ours = upstream.states(clip[None], torch.tensor([len(clip)]))
        assert all(map(torch.equal, ours, theirs))
    assert upstream.macs(len(clip), 0) == macs_to(HubertShape(), len(clip), 12, False)
    assert Parameters(upstream).all == sum(
        p.numel() for name, p in upstream.net.named_parameters() if name != "masked_spec_embed"
    )


@pytest.mark.parametrize("stored", ["sharded", "float16", "old norm", "for recognition"])
def test_the_same_weights_however_they_are_stored(tmp_path, stored):
    transformers = library("transformers")
    model = hugging_face(tmp_path / "plain", "Hubert")
    if stored == "float16":
        model.half().float().save_pretrained(tmp_path / "plain")
    folder = tmp_path / "other"
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    if stored == "for recognition":
        whole = transformers.HubertForCTC(transformers.HubertConfig(**SHAPE, vocab_size=20))
        whole.hubert.load_state_dict(model.state_dict())
        whole.save_pretrained(folder)
    elif stored == "old norm":
        model.config.save_pretrained(folder)
        norm = "encoder.pos_conv_embed.conv."
        old = {"parametrizations.weight.original0": "weight_g"}
        old |= {"parametrizations.weight.original1": "weight_v"}
        state = {k: v for k, v in model.state_dict().items() if norm + "param" not in k}
        state |= {norm + o: model.state_dict()[norm + new] for new, o in old.items()}
        torch.save(state, folder / "pytorch_model.bin")
    else:
        model = model.half() if stored == "float16" else model
        model.save_pretrained(folder, max_shard_size="20KB" if stored == "sharded" else "5GB")
    plain, other = (build_upstream(f"hf:{tmp_path / name}") for name in ("plain", "other"))
    assert plain.card.revision == other.card.revision
    assert bool(other.card.tuned_on) == (stored == "for recognition")
