"""Early exits of Zaiem et al., 2023, "Fine-tuning strategies for faster inference"
(arXiv:2303.06740): heads of two maps on the upper half of a WavLM Large tuned for recognition.

It leaves by the symbols' entropy, or where a block changes little any more (`--set
criterion=similarity`), which runs one head alone. Their two steps, the encoder first and then the
heads, are a way to train it. Exits read the residual stream as it is: the norm that ends a pre-norm
encoder is left out, after block 24 too, as in their experiments' code
(salah-zaiem/speeding_inferences). Baseline, layer removal and downsampling have one head at the end
(`--set single=24`), behind that norm; what SpeechBrain norms once more there, all numbers of an
utterance together (`output_norm`), is left out. The head of downsampling gives two scores a frame
from factor 3 on: `--set single=24 shorten=conv3 per_frame=2`.
"""

import math

from ..benchmark.contract import Training, TrainingData, TrainingRun
from ..benchmark.registry import upstreams
from .hubert import Hubert
from .recognition.alphabet import LETTERS_31
from .recognition.finetuned import PRETRAINED, Finetuned, blocks_left
from .recognition.heads import HeadShape
from .recognition.word_model import WordModel
from .training import recognition_presets
from .training.recognition_recipe import RecognitionRecipe
from .wavlm import WavLM


def train(recipe: RecognitionRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Tune encoder and heads of a tag on transcripts; see `Training.train`."""
    from .training import recognition

    recognition.train(recipe, data, run, Zaiem, PRETRAINED)


@upstreams.register("zaiem")
class Zaiem(Finetuned):
    """
    Args:
        tag: large, or tiny, whose trunk is hubert.tiny: no WavLM of that size is trained here.
        weights, criterion, alphabet, seed, shorten, per_frame: as `Finetuned`.
        lm, lexicon, lm_weight, word_score, beam: as `WordModel`.
        single: the blocks of a model with one exit, at its end: their layer removal, and with all
            blocks their baseline; 0 = all blocks and exits.
    """

    compared = ({"tag": "tiny", "weights": "trained"},)
    called = "zaiem"
    paper = "Zaiem et al., 2023, arXiv:2303.06740"
    encoders = {"tiny": Hubert, "large": WavLM}
    letters = LETTERS_31
    # pyctcdecode's own settings (SpeechBrain's README of these rows): alpha of natural logarithms
    word_model = WordModel(weight=round(0.5 * math.log(10), 2), word_score=1.0, beam=100)
    trained_by = Training(
        about="WavLM and the heads of its upper half, on transcripts",
        presets=recognition_presets.ZAIEM,
        train=train,
        options=("weights", "single", "shorten", "per_frame"),
        labels="needed",
    )

    def __init__(
        self,
        tag: str = "tiny",
        weights: str = "",
        criterion: str = "entropy",
        single: int = 0,
        alphabet: str = "",
        seed: int = 0,
        lm: str = "",
        lexicon: str = "",
        lm_weight: float = word_model.weight,
        word_score: float = word_model.word_score,
        beam: int = word_model.beam,
        shorten: str = "",
        per_frame: int = 1,
    ):
        self.word_model = WordModel(lm, lexicon, lm_weight, word_score, beam)
        last = blocks_left(single, self.blocks_of(tag), self.called)
        self.own = {"single": (single, 0)}
        self.raw = not single
        places = [last] if single else range(last // 2 + 1, last + 1)
        shapes = dict.fromkeys(places, HeadShape("dnn"))
        more = {"keep": single, "shorten": shorten, "per_frame": per_frame}
        super().__init__(tag, weights, criterion, alphabet, seed, shapes, **more)
