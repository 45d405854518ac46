"""The input shortened before any backbone: fewer samples, so fewer frames, at every depth.

Zaiem et al., 2023, "Fine-tuning strategies for faster inference" (arXiv:2303.06740), downsampling
of the waveform before the convolutions by 2, 3 or 4: `conv` (one learned convolution, 161 taps, no
padding), `average` (means of 10 samples, of 12 at 4, padding 2) or `resample` (to 16 kHz / factor,
fed as if it were 16 kHz). There WavLM Large is fine-tuned behind it and 50.1 / 65.1 / 75.1 % of the
multiply-accumulates are saved; here the backbone is frozen, or learns to give the states of the
full rate again (`run_benchmark.py train downsampled.conv2`, training/downsampling.py). Tuned on
transcripts with it: the option `shorten` of the systems that spell (recognition/finetuned.py).
"""

import re
from pathlib import Path

from ..benchmark.contract import Training, TrainingData, TrainingRun
from ..benchmark.errors import UsageError
from ..benchmark.registry import build_upstream, upstreams
from .backbones import waveform_filters
from .backbones.branched import Branched
from .backbones.hubert_weights import content_hash
from .backbones.shortened import Shortened
from .backbones.waveform_filters import FACTORS, METHODS, ShorteningFilter
from .training.downsampling_recipe import PRESETS, DownsamplingRecipe

UNTRAINED = "untrained"  # as `trained`


def train(recipe: DownsamplingRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Train the filter of a tag, with `tune` the backbone, too; see `Training.train`."""
    from .training import downsampling

    student = Downsampled(run.tag, trained=UNTRAINED, **run.options)
    downsampling.train(recipe, data, run, student.backbone)


@upstreams.register("downsampled")
class Downsampled(Shortened):
    """
    Args:
        tag: method and factor in one word, conv2 to resample4, for where one name must do.
        backbone: any upstream, with exits or without; weights: its weights option.
        method, factor: in the place of the tag's.
        trained: a file that `train` made; "" = for `conv` the one shipped for hubert.tiny,
            "untrained" = the filter as it starts (`conv`: the average).
    """

    stand_in = {"weights": "random"}
    compared = ({"tag": "conv2"},)
    trained_by = Training(
        about=(
            "the filter, and with tune the backbone behind it, from the backbone's states at the "
            "full rate"
        ),
        presets=PRESETS,
        train=train,
        options=("backbone", "weights"),
    )

    def __init__(
        self,
        tag: str = "average2",
        backbone: str = "hubert.tiny",
        method: str = "",
        factor: int = 0,
        weights: str = "",
        trained: str = "",
    ):
        method, factor = _chosen(tag, method, factor)
        inner = build_upstream(backbone, {"weights": weights} if weights else {})
        shorten, kind = ShorteningFilter(method, factor), f"{method}{factor}"
        shipped = str(Path(__file__).with_name(f"downsampled.{kind}.safetensors"))
        source, revision = trained, ""
        if not trained and method == "conv":
            source = UNTRAINED if weights.startswith("random") else shipped
        if source not in ("", UNTRAINED):
            plain, was = inner.backbone, content_hash(inner.backbone)
            revision = waveform_filters.load(source, kind, shorten, plain, plain.card.revision)
            branched = any(isinstance(part, Branched) for part in inner.modules())
            if branched and content_hash(plain) != was:
                raise UsageError(
                    f"downsampled: {source} tunes the backbone, and the branches of {backbone} are "
                    "of the one before; take it without them, and train others on that: "
                    f"run_benchmark.py train daisy.tiny --set backbone=downsampled.{kind}"
                )
        super().__init__(inner, shorten, trained, revision)


def _chosen(tag: str, method: str, factor: int) -> tuple[str, int]:
    """A tag's method and factor, unless others are named."""
    said = re.fullmatch(r"([a-z]+)(\d)", tag)
    method, factor = method or (said[1] if said else ""), factor or int(said[2] if said else 0)
    if method not in METHODS or factor not in FACTORS:
        raise UsageError(
            f"downsampled: a method is {', '.join(METHODS)} and a factor 2, 3 or 4, together such "
            f"as downsampled.average2, not {method or tag!r} and {factor}"
        )
    return method, factor
