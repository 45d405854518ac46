"""Conformer-CTC of Wright et al., 2023 (arXiv:2309.09546): an encoder trained from scratch for
recognition, a linear head after every second block, the losses of all summed (eq. 2).

An exit is chosen by frame entropy (eq. 5) or by the posterior of a beam search's best hypothesis
(eq. 6, `--set criterion=posterior`).

Table 1 says 31.0 M parameters. With its sizes, and 80 bands, the convolutions and six heads of
their code, there are 31.536 M: the 31.5 M that Lasbordes et al., 2025 (arXiv:2506.18035) state for
the same model, whose Splitformer of 36.7 M is this one with `--set split=yes`. Table 1's inputs are
"80-d MFCC"; their code has 80 mel energies, without a cosine transform and without a logarithm.
Here their logarithm is heard, to zero mean and unit variance an utterance; `--set
features=power_mel` hears what the code does. Neither paper nor code publishes the 256 word pieces.
"""

from dataclasses import replace
from pathlib import Path

from torch import nn

from ..benchmark.contract import Training, TrainingData, TrainingRun
from ..benchmark.errors import UsageError
from ..benchmark.registry import upstreams
from .backbones.conformer_shape import ConformerShape
from .recognition import heads
from .recognition.alphabet import Alphabet
from .recognition.from_scratch import RANDOM, FromScratch, features_of, places_of, tied_of
from .recognition.word_model import USUAL, WordModel
from .training import recognition_presets
from .training.recognition_recipe import RecognitionRecipe

SHAPES = {
    "tiny": ConformerShape(dim=96, heads=4, ffn=192),
    "base": ConformerShape(),
}


def train(recipe: RecognitionRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Train encoder and heads of a tag from scratch, on transcripts; see `Training.train`."""
    from .training import recognition

    recognition.train(recipe, data, run, ConformerCTC, RANDOM)


@upstreams.register("conformer_ctc")
class ConformerCTC(FromScratch):
    """
    Args:
        tag: tiny (shipped, trained on the built-in sentences) or base.
        weights, criterion, alphabet, seed: as `FromScratch`.
        lm, lexicon, lm_weight, word_score, beam: as `WordModel`.
        head: separate, one an exit as in the paper, or tied.
        single: the blocks of a model with one exit, at its end, which the paper compares with; 0 =
            all blocks and exits.
        split: with Splitformer's branches beside the first two and the last two blocks, which hear
            every other frame.
        features: log_mel or power_mel, as the authors' code.
    """

    called = "conformer_ctc"
    compared = ({},)
    shipped = {"tiny": str(Path(__file__).with_name("conformer_ctc.tiny.safetensors"))}
    paper = "Wright et al., 2023, training dynamic models using early exits, arXiv:2309.09546"
    shapes = SHAPES
    trained_by = Training(
        about="a Conformer and a linear head at every second block, from scratch, on transcripts",
        presets=recognition_presets.CONFORMER_CTC,
        train=train,
        options=("weights", "head", "single", "split", "features"),
        labels="needed",
    )
    pieces = {"base": 256}

    def __init__(
        self,
        tag: str = "tiny",
        weights: str = "",
        criterion: str = "entropy",
        head: str = "separate",
        single: int = 0,
        split: bool = False,
        features: str = "log_mel",
        alphabet: str = "",
        seed: int = 0,
        lm: str = "",
        lexicon: str = "",
        lm_weight: float = USUAL.weight,
        word_score: float = USUAL.word_score,
        beam: int = USUAL.beam,
    ):
        self.word_model = WordModel(lm, lexicon, lm_weight, word_score, beam)
        tied, shape = tied_of(head, self.called), self.shape_of(tag)
        places = places_of(single, shape.depth, self.called)
        if split and places[-1] < 2:
            raise UsageError("conformer_ctc: split stands beside two blocks; single=1 has one")
        self.own = {
            "head": (head, "separate"),
            "single": (single, 0),
            "split": ("yes" if split else "no", "no"),
            "features": (features, "log_mel"),
        }
        shape = replace(
            shape,
            depth=places[-1],
            features=features_of(features, self.called),
            parallel=beside(places[-1]) if split else (),
        )

        def bank(letters: Alphabet) -> nn.ModuleDict:
            kinds = dict.fromkeys(places, heads.HeadShape())
            return heads.new(kinds, shape.dim, len(letters), seed, tied)

        super().__init__(tag, weights, criterion, alphabet, seed, shape, bank)


def beside(depth: int) -> tuple[tuple[int, int], ...]:
    """Splitformer's branches: beside the blocks before the first exit, and before the last."""
    return tuple(sorted({(0, 2), (depth - 2, depth)}))
