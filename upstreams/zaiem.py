"""Early exits of Zaiem et al., 2023, "Fine-tuning strategies for faster inference"
(arXiv:2303.06740): heads of two maps on the upper half of a WavLM Large tuned for recognition.

It leaves by the symbols' entropy, or where a block changes little any more (`--set
criterion=similarity`), which runs one head alone. Their two steps, the encoder first and then the
heads, are a way to train it. Heads read the residual stream as it is: the norm that ends a pre-norm
encoder is left out, after block 24 too, as in their experiments' code
(salah-zaiem/speeding_inferences).
"""

from ..benchmark.registry import upstreams
from .hubert import Hubert
from .recognition.alphabet import LETTERS_31
from .recognition.finetuned import Finetuned
from .recognition.heads import HeadShape
from .wavlm import WavLM


@upstreams.register("zaiem")
class Zaiem(Finetuned):
    """
    Args:
        tag: large, or tiny, whose trunk is hubert.tiny: no WavLM of that size is trained here.
        weights, criterion, alphabet, seed: as `Finetuned`.
    """

    called = "zaiem"
    paper = "Zaiem et al., 2023, arXiv:2303.06740"
    encoders = {"tiny": Hubert, "large": WavLM}
    letters = LETTERS_31
    raw = True

    def __init__(
        self,
        tag: str = "tiny",
        weights: str = "",
        criterion: str = "entropy",
        alphabet: str = "",
        seed: int = 0,
    ):
        last = self.encoder_of(tag).shape_of(tag).depth
        shapes = dict.fromkeys(range(last // 2 + 1, last + 1), HeadShape("dnn"))
        super().__init__(tag, weights, criterion, alphabet, seed, shapes)
