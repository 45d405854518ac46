"""Conformer-AED of Wright et al., 2023 (arXiv:2309.09546): the encoder of `conformer_ctc`, and
after every second block a Transformer decoder that spells, beside a linear map for CTC. Trained
from scratch, 0.3 of CTC's loss and 0.7 of the decoder's cross entropy an exit (eq. 4), all exits
summed (eq. 2).

The decoder writes what an exit answers (sec. 3: "only the cross-entropy head is used"), the best
symbol each time. Frame entropy, confidence and margin are of CTC's scores, since the decoder has no
frames: with them it runs once an utterance, where that leaves, and a test of an exit costs a linear
map. The paper does not say which of the two its entropies are of. `posterior` (eq. 6: of the N-best
hypotheses "provided by each decoder") and `patience` are of what the decoders write, and cost their
searches and transcripts at every exit tested.

A transcript's cost depends on its length, which nobody knows before. It is charged at
`symbols_per_second`, of the kept keys and values that it is computed with.

Table 1's 13.3 M parameters are those of SpeechBrain's conformer_small.yaml, whose README has the
number and whose error rates are the paper's without exits: one decoder, relative positions, two
convolutions over time and frequency. With the front-end and the blocks of `conformer_ctc` there are
13.06 M with one decoder, at one exit or shared by all (`--set head=tied`), and 33.19 M with six.

The paper rescores with a Transformer language model of the same word pieces; `--set lm=FILE.arpa`
rescores the N-best list of the decoder's beam search with a word n-gram, without one it is greedy.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..benchmark.contract import SAMPLE_RATE, Training, TrainingData, TrainingRun
from ..benchmark.errors import UsageError
from ..benchmark.registry import upstreams
from .backbones.conformer_shape import ConformerShape
from .backbones.transformer_decoder import DecoderShape
from .recognition import criteria, decoder_head, word_search
from .recognition.alphabet import Alphabet
from .recognition.from_scratch import RANDOM, FromScratch, features_of, places_of, tied_of
from .recognition.word_model import WordModel
from .training import recognition_presets
from .training.recognition_recipe import RecognitionRecipe

SHAPES = {
    "tiny": ConformerShape(dim=72, heads=4, ffn=144),
    "base": ConformerShape(dim=144, heads=4, ffn=1024),
}
DECODERS = {"tiny": 2, "base": 4}  # blocks; heads and ffn are the encoder's
# symbols a second: characters of LibriSpeech, and its 2.7 words at 1.3 of 5000 pieces each
CHARACTERS, PIECES = 14.0, 3.5


def train(recipe: RecognitionRecipe, data: TrainingData, run: TrainingRun) -> None:
    """Train encoder and heads of a tag from scratch, on transcripts; see `Training.train`."""
    from .training import recognition

    recognition.train(recipe, data, run, ConformerAED, RANDOM)


@upstreams.register("conformer_aed")
class ConformerAED(FromScratch):
    """
    Args:
        tag: tiny or base.
        weights, criterion, alphabet, seed: as `FromScratch`.
        lm, lexicon, lm_weight, word_score, beam: as `WordModel`.
        head: separate, a decoder an exit as in the paper, or tied.
        single: the blocks of a model with one exit, at its end; 0 = all blocks and exits.
        features: log_mel or power_mel.
        symbols_per_second: what a decoder is charged for; 0 = 14 of characters, 3.5 of word pieces
            (which are 5000 in the paper: fewer are shorter, so name their rate).
    """

    called = "conformer_aed"
    compared = ({},)
    shipped = {"tiny": str(Path(__file__).with_name("conformer_aed.tiny.safetensors"))}
    paper = "Wright et al., 2023, training dynamic models using early exits, arXiv:2309.09546"
    shapes = SHAPES
    trained_by = Training(
        about="a Conformer and a decoder at every second block, from scratch, on transcripts",
        presets=recognition_presets.CONFORMER_AED,
        train=train,
        options=("weights", "head", "single", "features"),
        labels="needed",
    )
    pieces = {"base": 5000}
    word_model = WordModel(weight=1.0, word_score=0.0, beam=10)

    def __init__(
        self,
        tag: str = "tiny",
        weights: str = "",
        criterion: str = "entropy",
        head: str = "separate",
        single: int = 0,
        features: str = "log_mel",
        symbols_per_second: float = 0.0,
        alphabet: str = "",
        seed: int = 0,
        lm: str = "",
        lexicon: str = "",
        lm_weight: float = word_model.weight,
        word_score: float = word_model.word_score,
        beam: int = word_model.beam,
    ):
        self.word_model = WordModel(lm, lexicon, lm_weight, word_score, beam)
        if not 0 <= symbols_per_second < math.inf:
            raise UsageError(
                "conformer_aed: symbols_per_second is a number above 0, or 0 for that of its "
                f"alphabet, not {symbols_per_second}"
            )
        tied, shape = tied_of(head, self.called), self.shape_of(tag)
        places = places_of(single, shape.depth, self.called)
        self.own = {
            "head": (head, "separate"),
            "single": (single, 0),
            "features": (features, "log_mel"),
            "symbols_per_second": (symbols_per_second, 0.0),
        }
        shape = replace(shape, depth=places[-1], features=features_of(features, self.called))

        def bank(letters: Alphabet) -> nn.ModuleDict:
            sizes = (shape.dim, DECODERS[tag], shape.heads, shape.ffn, shape.dropout)
            decoder = DecoderShape(len(letters), *sizes)
            return decoder_head.new(places, decoder, letters.blank, seed, tied)

        super().__init__(tag, weights, criterion, alphabet, seed, shape, bank)
        # scores are no answer: what is compared is transcripts
        self.evidence_reads_answer = self.compares_exits and bool(self.exits)
        usual = PIECES if self.alphabet.boundary is None else CHARACTERS  # pieces carry it
        self.symbols_per_second = symbols_per_second or usual
        said = f"{self.paper}; charged for {self.symbols_per_second:g} symbols a second"
        self.card = replace(self.card, source=said)

    def answer(self, depth: int, state: Tensor, frames: Tensor) -> Sequence[Tensor]:
        """One (U,) tensor of symbols a row, as the decoder writes them; with a language model,
        the best of the decoder's N-best list by both."""
        head = self.heads[str(depth)]
        if self.word_model.file:
            rows = zip(state, frames.tolist(), strict=True)
            beam = self.word_model.beam
            return [head.rescored(row[None, :n], beam, self.spoken)[0] for row, n in rows]
        if state.device.type != "cpu":
            return head.transcripts(state, frames)
        rows = zip(state, frames.split(1), frames.tolist(), strict=True)
        return [head.transcripts(row[None, :n], one)[0] for row, one, n in rows]

    def written(self, answer: Tensor) -> list[int]:
        return answer.tolist()

    def decode(self, answer: Tensor, task: str) -> str:
        return self.alphabet.decode(self.written(answer))

    def spoken(self, ids: Tensor) -> float:
        """What the language model adds to the log-probability of (U,) symbols."""
        text = self.alphabet.decode(ids.tolist())
        return word_search.log_probability(text, self.alphabet, self.word_model)

    def evidence(
        self, depth: int, state: Tensor, previous: Tensor, frames: Tensor, **answer: Any
    ) -> Tensor:
        """The criterion of the decoder's hypotheses or transcripts, of CTC's scores, or of the
        states."""
        if self.criterion.search:
            rows = zip(state, frames.tolist(), strict=True)
            return state.new_tensor([self._doubt(depth, row[None, :n]) for row, n in rows])
        if self.criterion.reads == "scores":
            answer["answer"] = self.rows_of_scores(depth, state, frames)
        return super().evidence(depth, state, previous, frames, **answer)

    def _doubt(self, depth: int, states: Tensor) -> float:
        """Of the decoder's N-best list of one utterance's (1, T, D)."""
        found = self.heads[str(depth)].decoder.hypotheses(states, self.criterion.search)
        return criteria.doubt_of_best([score for _, score in found])

    def answer_macs(self, samples: int, depth: int) -> int:
        """Of a transcript of `symbols_per_second`, whatever is said."""
        count = self.word_model.beam if self.word_model.file else 1
        return self._spelling_macs(samples, depth, count)

    def decode_macs(self, samples: int, depth: int) -> int:
        return 0  # rescoring is a part of the answer

    def evidence_macs(self, samples: int, depth: int) -> int:
        """Of the decoder's search; of CTC's scores, where they are read, and what the criterion
        does with them."""
        if self.criterion.search:
            return self._spelling_macs(samples, depth, self.criterion.search)
        own = self.scores_macs(samples, depth) if self.criterion.reads == "scores" else 0
        return own + super().evidence_macs(samples, depth)

    def _spelling_macs(self, samples: int, depth: int, count: int) -> int:
        """Of a search among `count` hypotheses, each of `symbols_per_second`."""
        symbols = round(self.symbols_per_second * samples / SAMPLE_RATE)
        return self.heads[str(depth)].decoding_macs(self._frames(samples), symbols, count)
