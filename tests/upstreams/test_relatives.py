"""wav2vec 2.0, WavLM, data2vec and HuBERT's siblings: the libraries' own numbers at every depth,
alone and in any batch, small.
"""

from dataclasses import replace

import pytest
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
    of_transformers,
    states_of_transformers,
)

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
