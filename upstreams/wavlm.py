"""WavLM (Chen et al., 2022, arXiv:2110.13900) without exits: HuBERT's network whose attention also
weighs how far apart two frames are (Model Structure: gated relative position bias), pre-trained on
mixed and noisy speech.

A learned table gives every bucket of distances a bias for each head. It is looked up once, before
block 1; each block multiplies it by a gate of its own input. Attention runs in
`scaled_dot_product_attention` all the same.

Tags: `base`, `base_plus` (the same shape, 94k hours), `large`; `tiny` has hubert.tiny's sizes and
random weights.
"""

from dataclasses import replace

from ..benchmark.registry import upstreams
from .backbones.pretrained import PretrainedEncoder
from .hubert import SHAPES

BIASED = {tag: replace(shape, units=0, buckets=320) for tag, shape in SHAPES.items()}


@upstreams.register("wavlm")
class WavLM(PretrainedEncoder):
    """Its options are those of `PretrainedEncoder`."""

    family = "wavlm"
    shapes = {
        **BIASED,
        "base_plus": BIASED["base"],
        "large": replace(BIASED["large"], conv_bias=False),
    }
    published = {
        "base": "microsoft/wavlm-base",
        "base_plus": "microsoft/wavlm-base-plus",
        "large": "microsoft/wavlm-large",
    }
    source = "Chen et al., 2022, WavLM, IEEE JSTSP 16, doi:10.1109/JSTSP.2022.3188113"
