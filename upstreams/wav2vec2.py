"""wav2vec 2.0 (Baevski et al., 2020, arXiv:2006.11477, sec. 2 and 4.2) without exits: HuBERT's
network as it was first pre-trained, by telling the right quantised frame from distractors.

Tags: `base`, `large` (the model of Libri-Light, whose norms come first), `large_960` (the model of
LibriSpeech, whose norms come last); XLSR and XLS-R 300M are `large` with other weights. `tiny` has
hubert.tiny's sizes and random weights.
"""

from dataclasses import replace

from ..benchmark.registry import upstreams
from .backbones.pretrained import PretrainedEncoder
from .hubert import SHAPES

# the quantiser and its projections served the pre-training alone, and there is no table of units
OF_HUBERT = {tag: replace(shape, units=0) for tag, shape in SHAPES.items()}


@upstreams.register("wav2vec2")
class Wav2Vec2(PretrainedEncoder):
    """Its options are those of `PretrainedEncoder`."""

    family = "wav2vec2"
    shapes = {
        **OF_HUBERT,
        "large_960": replace(OF_HUBERT["base"], dim=1024, depth=24, heads=16, ffn=4096),
    }
    published = {
        "base": "facebook/wav2vec2-base",
        "large": "facebook/wav2vec2-large-lv60",
        "large_960": "facebook/wav2vec2-large",
    }
    source = "Baevski et al., 2020, wav2vec 2.0, arXiv:2006.11477"
