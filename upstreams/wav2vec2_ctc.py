"""Wav2Vec2-CTC of Wright et al., 2024 (arXiv:2309.09546): a wav2vec 2.0 tuned for recognition with
a linear head after every second block, the losses of all summed.

As the paper reads, every exit has a head of its own; in the released code (augustgw/wav2vec2-ee)
the six are one and the same (`--set head=tied`). An exit is chosen by frame entropy (eq. 5) or by
the posterior of a beam search's best hypothesis (eq. 6, `--set criterion=posterior`).
"""

from ..benchmark.contract import Training, TrainingData, TrainingRun
from ..benchmark.errors import UsageError
from ..benchmark.registry import upstreams
from .hubert import Hubert
from .recognition.finetuned import PRETRAINED, Finetuned, blocks_left
from .recognition.heads import HeadShape
from .recognition.word_model import USUAL, WordModel
from .training import recognition_presets
from .training.recognition_recipe import RecognitionRecipe
from .wav2vec2 import Wav2Vec2

EVERY = 2  # blocks an exit
HEADS = ("separate", "tied")


def train(recipe: RecognitionRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Tune encoder and heads of a tag on transcripts; see `Training.train`."""
    from .training import recognition

    recognition.train(recipe, data, run, Wav2Vec2CTC, PRETRAINED)


@upstreams.register("wav2vec2_ctc")
class Wav2Vec2CTC(Finetuned):
    """
    Args:
        tag: base, or tiny, whose trunk is hubert.tiny: no wav2vec 2.0 of that size is trained here.
        weights, criterion, alphabet, seed, shorten, per_frame: as `Finetuned`.
        lm, lexicon, lm_weight, word_score, beam: as `WordModel`.
        head: separate or tied.
        single: the blocks of a model with one exit, at its end, which the paper compares with; 0 =
            all blocks and exits.
    """

    compared = ({"tag": "tiny", "weights": "trained"},)
    called = "wav2vec2_ctc"
    paper = "Wright et al., 2024, early-exit architectures for ASR, arXiv:2309.09546"
    encoders = {"tiny": Hubert, "base": Wav2Vec2}
    divides = True
    trained_by = Training(
        about="wav2vec 2.0 and a linear head at every second block, on transcripts",
        presets=recognition_presets.WAV2VEC2_CTC,
        train=train,
        options=("weights", "head", "single", "shorten", "per_frame"),
        labels="needed",
    )

    def __init__(
        self,
        tag: str = "tiny",
        weights: str = "",
        criterion: str = "entropy",
        head: str = "separate",
        single: int = 0,
        alphabet: str = "",
        seed: int = 0,
        lm: str = "",
        lexicon: str = "",
        lm_weight: float = USUAL.weight,
        word_score: float = USUAL.word_score,
        beam: int = USUAL.beam,
        shorten: str = "",
        per_frame: int = 1,
    ):
        self.word_model = WordModel(lm, lexicon, lm_weight, word_score, beam)
        if head not in HEADS:
            raise UsageError(f"wav2vec2_ctc: head is {' or '.join(HEADS)}, not {head!r}")
        last = blocks_left(single, self.blocks_of(tag), self.called)
        self.own = {"head": (head, "separate"), "single": (single, 0)}
        places = [last] if single else range(EVERY, last + 1, EVERY)
        shapes = dict.fromkeys(places, HeadShape())
        more = {"keep": single, "shorten": shorten, "per_frame": per_frame}
        super().__init__(
            tag, weights, criterion, alphabet, seed, shapes, tied=head == "tied", **more
        )
