"""wav2vec 2.0, WavLM, data2vec and HuBERT's siblings: the libraries' own numbers at every depth,
alone and in any batch, small.
"""

from dataclasses import replace

import pytest
import torch
from earlyexit_superb.upstreams.backbones.hubert_shape import frame_counts
from earlyexit_superb.upstreams.backbones.hubert_weights import load
from helpers.hubert import (
    SMALL,
    SMALL_DATA2VEC,
    SMALL_LARGE,
    SMALL_MHUBERT,
    SMALL_WAVLM,
    alone_and_together,
    close,
    padded,
    states,
)
from helpers.libraries import (
    heard,
    of_torchaudio,
    of_transformers,
    states_of_torchaudio,
    states_of_transformers,
)
from helpers.s3prl_models import of_s3prl

LARGE_WAVLM = replace(SMALL_LARGE, units=0, buckets=16, max_distance=20, conv_bias=False)
MODELS = {
    "wav2vec2 base": ("Wav2Vec2", replace(SMALL, units=0)),
    "wav2vec2 large": ("Wav2Vec2", replace(SMALL_LARGE, units=0)),
    "wavlm base": ("WavLM", SMALL_WAVLM),
    "wavlm large": ("WavLM", LARGE_WAVLM),
    "data2vec": ("Data2VecAudio", SMALL_DATA2VEC),
    "data2vec, even kernel": ("Data2VecAudio", replace(SMALL_DATA2VEC, pos_kernel=6)),
    "mhubert": ("Hubert", SMALL_MHUBERT),
    "distilhubert": ("Hubert", replace(SMALL, depth=2, units=0, feature_norm=False)),
}


@pytest.fixture(params=MODELS)
def model(request, tmp_path):
    """A library's model, its shape, and what we made of its folder."""
    kind, shape = MODELS[request.param]
    theirs = of_transformers(shape, kind)
    theirs.save_pretrained(tmp_path)
    return theirs, shape, *load(str(tmp_path), shape)


def test_states_are_those_of_transformers_alone_and_in_any_batch(model, clips):
    theirs, shape, net, _ = model
    assert net.shape == shape
    alone = [states(net, [wav]) for wav in clips]
    for mine, wav in zip(alone, clips, strict=True):
        assert mine[0].shape[1] == frame_counts(len(wav), shape)
        close(mine, states_of_transformers(theirs, shape, wav))
    alone_and_together(states(net, clips), alone, 0)
    alone_and_together(padded(net, clips), alone)


@pytest.mark.parametrize("name", ["wavlm base", "wavlm large"])
def test_wavlm_states_are_those_of_torchaudio(tmp_path, clips, name):
    """hubert's and wav2vec 2.0's are in test_hubert_variants.py; it has no data2vec."""
    kind, shape = MODELS[name]
    theirs = of_transformers(shape, kind)
    theirs.save_pretrained(tmp_path)
    net, revision = load(str(tmp_path), shape)
    other = of_torchaudio(theirs)
    torch.save(other.state_dict(), tmp_path / "torchaudio.pth")
    again, same = load(str(tmp_path / "torchaudio.pth"), shape)
    assert same == revision and again.shape == net.shape
    for wav in clips:
        close(states(net, [wav])[1:], states_of_torchaudio(other, shape, wav))


@pytest.mark.parametrize(
    "name", ["wav2vec2 base", "wav2vec2 large", "wavlm base", "wavlm large", "data2vec"]
)
def test_states_are_those_of_s3prl(tmp_path, clips, name):
    family, (_, shape) = name.split()[0], MODELS[name]
    expert = of_s3prl(family, shape, tmp_path / "s3prl.pt")
    # the checkpoint says how it hears, and how far its distances reach
    told = replace(shape, normalise_wav=not shape.normalise_wav, max_distance=800)
    net, _ = load(str(tmp_path / "s3prl.pt"), told, family=family)
    assert net.shape == (shape if shape.buckets else replace(shape, max_distance=800))
    for wav in clips:
        with torch.no_grad():
            theirs = expert([wav])["hidden_states"]
        close(states(net, [wav]), theirs)


def test_a_batch_of_wavlm_large_is_that_of_transformers_too(tmp_path, clips):
    """With no norm over time and a mask, the libraries' own batch is a second witness."""
    theirs = of_transformers(LARGE_WAVLM, "WavLM")
    theirs.save_pretrained(tmp_path)
    net, _ = load(str(tmp_path), LARGE_WAVLM)
    batch, mask = (
        torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        for rows in (
            [heard(LARGE_WAVLM, wav)[0] for wav in clips],
            [torch.ones(len(wav), dtype=torch.long) for wav in clips],
        )
    )
    with torch.no_grad():
        last = theirs(batch, attention_mask=mask).last_hidden_state
    for row, wav in enumerate(clips):
        frames = frame_counts(len(wav))
        close([states(net, clips)[-1][row, :frames]], [last[row, :frames]])
