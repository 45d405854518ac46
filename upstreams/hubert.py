"""HuBERT (Hsu et al., 2021) without exits: the backbone, and the baseline every adaptive upstream
is compared with.

Tags: `tiny` (trained here by `run_benchmark.py train hubert.tiny`, shipped), `base`, `large`
(published weights: a Hugging Face folder or id, a torchaudio bundle or state dict, an s3prl or
fairseq checkpoint). Its siblings have its shape and load as `weights`: mHuBERT, ContentVec.
"""

from pathlib import Path

from ..benchmark.contract import Training, TrainingData, TrainingRun
from ..benchmark.registry import upstreams
from .backbones.hubert_shape import HubertShape
from .backbones.pretrained import PretrainedEncoder
from .training.hubert_recipe import PRESETS, HubertRecipe

SHAPES = {
    "tiny": HubertShape(dim=192, heads=3, ffn=768, conv_dim=128, units=500, unit_dim=128),
    "base": HubertShape(),
    "large": HubertShape(
        dim=1024,
        depth=24,
        heads=16,
        ffn=4096,
        conv_norm="layer",
        conv_bias=True,
        pre_norm=True,
        normalise_wav=True,
        unit_dim=768,
    ),
}
WEIGHTS = {
    "tiny": str(Path(__file__).with_name("hubert.tiny.safetensors")),
    "base": "facebook/hubert-base-ls960",
    "large": "facebook/hubert-large-ll60k",
}


def train(recipe: HubertRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Pre-train the shape of a tag; see `Training.train`."""
    from .training import masked_prediction

    masked_prediction.train(recipe, data, run, Hubert.shape_of(run.tag))


@upstreams.register("hubert")
class Hubert(PretrainedEncoder):
    """Its options are those of `PretrainedEncoder`."""

    family, shapes, published = "hubert", SHAPES, WEIGHTS
    source = "Hsu et al., 2021, HuBERT, IEEE/ACM TASLP 29, doi:10.1109/TASLP.2021.3122291"
    compared = ({},)
    trained_by = Training(
        about=(
            "the whole network, by masked prediction of k-means units, from speech without labels"
        ),
        presets=PRESETS,
        train=train,
    )
