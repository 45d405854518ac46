"""HuBERT-EE (Yoon, Woo and Kim, Interspeech 2024): a HuBERT tuned for recognition that leaves at
one of three branches, made of self-attention, when the symbols' entropy is low.

Branches after blocks 5, 8 and 11, a linear map after 12. The paper's entropy (eq. 4) is divided by
the number of symbols, its confidence (eq. 5) is a mean largest probability: `published` maps either
to evidence.
"""

from ..benchmark.contract import Training, TrainingData, TrainingRun
from ..benchmark.errors import UsageError, did_you_mean
from ..benchmark.registry import upstreams
from .hubert import Hubert
from .layerdrop import kept
from .recognition.finetuned import PRETRAINED, Finetuned, blocks_left
from .recognition.heads import HeadShape
from .recognition.word_model import USUAL, WordModel
from .training import recognition_presets
from .training.recognition_recipe import RecognitionRecipe

PLACES = (5, 8, 11)  # sec. 3.1
LINEAR = HeadShape()
BRANCHES = {
    "tiny": {
        "light": HeadShape("attention", width=128, ffn=512),
        "paper": HeadShape("attention", width=128, ffn=512, blocks=2, widens=True),
    },
    # 3.6 M and 7.1 M parameters each; with the latter the whole has the 116 M that the paper
    # states, beside a width of 512 and four heads
    "base": {
        "light": HeadShape("attention"),
        "paper": HeadShape("attention", blocks=2, widens=True),
    },
}


def train(recipe: RecognitionRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Tune encoder and heads of a tag on transcripts; see `Training.train`."""
    from .training import recognition

    recognition.train(recipe, data, run, HubertEE, PRETRAINED)


@upstreams.register("hubert_ee")
class HubertEE(Finetuned):
    """
    Args:
        tag: tiny or base.
        weights, criterion, alphabet, seed, shorten, per_frame: as `Finetuned`.
        lm, lexicon, lm_weight, word_score, beam: as `WordModel`.
        branch: light (one block) or paper (two blocks and a map back, as large as the paper says),
            or linear, which the paper found to do badly.
        single: the blocks of a model with one linear head, at its end, which is the paper's
            backbone where it is 12; 0 = all blocks and exits.
        backbone: a smaller HuBERT in the place of the tag's, with one exit: distilhubert.base8 is
            the paper's DistilHuBERT-8L.
        prune: the rate at which a model with one exit that was tuned with layer drop is pruned
            (layerdrop.py, `kept`), which is the paper's LayerDrop.
    """

    compared = ({"tag": "tiny", "weights": "trained"},)
    called = "hubert_ee"
    paper = "Yoon, Woo and Kim, 2024, HuBERT-EE, arXiv:2204.06328"
    encoders = {"tiny": Hubert, "base": Hubert}
    divides = True
    trained_by = Training(
        about="HuBERT and its branches, on transcripts",
        presets=recognition_presets.HUBERT_EE,
        train=train,
        options=("weights", "branch", "single", "shorten", "per_frame", "backbone"),
        labels="needed",
    )

    def __init__(
        self,
        tag: str = "tiny",
        weights: str = "",
        criterion: str = "entropy",
        branch: str = "light",
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
        backbone: str = "",
        prune: float = 0.0,
    ):
        self.word_model = WordModel(lm, lexicon, lm_weight, word_score, beam)
        blocks = self.blocks_of(tag, backbone)
        last = blocks_left(single, blocks, self.called)
        if not single and blocks <= PLACES[-1]:
            raise UsageError(
                f"hubert_ee: its branches are after blocks 5, 8 and 11, and {backbone} has "
                f"{blocks}; give it one exit: --set single={blocks}"
            )
        known = BRANCHES[tag] | {"linear": LINEAR}
        if branch not in known:
            raise UsageError(f"hubert_ee: branch {branch!r}: {did_you_mean(branch, known)}")
        self.own = {"branch": (branch, "light"), "single": (single, 0), "prune": (prune, 0.0)}
        branches = {} if single else dict.fromkeys(PLACES, known[branch])
        shapes = branches | {last: LINEAR}
        more = {"keep": single, "shorten": shorten, "per_frame": per_frame, "backbone": backbone}
        super().__init__(tag, weights, criterion, alphabet, seed, shapes, **more)
        if prune:
            self.leave_out(prune, kept(last, prune))
