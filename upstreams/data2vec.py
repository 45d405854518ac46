"""data2vec of speech (Baevski et al., 2022, arXiv:2202.03555, sec. 4.2) without exits: a network
like wav2vec 2.0's, pre-trained to predict what its own running average sees without a mask.

Its convolutions are all normalised over channels, its positional convolution is a stack of five
with a layer norm after each, and its blocks have their norms last, in Base and Large alike.

Tags: `base`, `large`; `tiny` has hubert.tiny's sizes and random weights.
"""

from dataclasses import replace

from ..benchmark.registry import upstreams
from .backbones.pretrained import PretrainedEncoder
from .hubert import SHAPES

STACK = {"pos_layers": 5, "pos_kernel": 19, "conv_norm": "layer", "normalise_wav": True}
PLAIN = {"units": 0, "conv_bias": False, "pre_norm": False}


@upstreams.register("data2vec")
class Data2Vec(PretrainedEncoder):
    """Its options are those of `PretrainedEncoder`."""

    family = "data2vec"
    shapes = {tag: replace(shape, **STACK, **PLAIN) for tag, shape in SHAPES.items()}
    published = {
        "base": "facebook/data2vec-audio-base",
        "large": "facebook/data2vec-audio-large",
    }
    source = "Baevski et al., 2022, data2vec, arXiv:2202.03555"
