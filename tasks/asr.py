"""Speech recognition: characters by CTC, scored by the words they spell.

SUPERB's task (Yang et al., 2021, sec. 3) on LibriSpeech, MiniSUPERB's on Libri-Light's 10 hours, or
on any corpus with transcripts. Word error rate over the whole test split (errors over reference
words, not a mean over utterances), with its substitutions, deletions and insertions; the dev
split's picks the checkpoint. No language model, unless two files are given.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..benchmark.audio import example_of
from ..benchmark.contract import SAMPLE_RATE, Corpus, Example, Item, Metric, Protocol, Setup, Task
from ..benchmark.errors import UsageError
from ..benchmark.metrics import Failure
from ..benchmark.registry import tasks
from ..downstreams.blstm_ctc import BLSTMCTC
from ..downstreams.specaugment import SpecAugment
from .corpora import Need, open_corpus
from .corpora.mini.asr import BUILTIN
from .shared import ctc_decoder
from .shared.ctc_text import (
    BLANK,
    LETTERS,
    SYMBOLS,
    frames_needed,
    greedy,
    spelled,
    target,
    written,
)
from .shared.error_rates import METRICS, errors
from .shared.features import standardised

NEEDS = ("text",)


@dataclass(frozen=True)
class ASRProtocol(Protocol):
    """The fields of a recipe of recognition; the defaults are SUPERB's."""

    layers: int = 2
    hidden: int = 1024  # of the projection, and of the LSTMs in each direction
    dropout: float = 0.2
    join: int = 1  # frames read as one before the LSTMs
    outputs: int = 1  # scores that each gives, where a shortened input leaves CTC too few frames
    # features to zero mean and unit variance over an utterance's valid frames, per dimension
    standardise: bool = False
    warp: int = 5  # SpecAugment, in training only: frames
    feature_masks: int = 4
    feature_width: int = 50  # each mask is 0 to this - 1 wide
    time_masks: int = 2
    time_width: int = 40
    train_set: str = ""  # which training set, where a layout has several
    lm: str = ""  # a KenLM model (ARPA or binary): the test split is decoded by beam search with it
    lexicon: str = ""  # its words, one a line with their spelling: HELLO H E L L O |
    beam: int = 5
    beam_threshold: float = 25.0
    lm_weight: float = 2.0
    word_score: float = -1.0
    sil_score: float = 0.0
    above_zero: ClassVar[tuple[str, ...]] = (
        *Protocol.above_zero,
        *("hidden", "join", "outputs", "beam"),
    )
    at_test: ClassVar[tuple[str, ...]] = (
        *("lm", "lexicon", "beam", "beam_threshold"),
        *("lm_weight", "word_score", "sil_score"),
    )

    def places(self, frames: Any) -> Any:
        """The scores that so many frames (a number or a tensor) give."""
        return frames // self.join * self.outputs

    @property
    def search(self) -> ctc_decoder.BeamSearch:
        """How the test split is decoded where there is a language model."""
        return ctc_decoder.BeamSearch(
            self.lm,
            self.lexicon,
            self.beam,
            self.beam_threshold,
            self.lm_weight,
            self.word_score,
            self.sil_score,
        )

    def __post_init__(self):
        if self.bucket and self.batch != self.bucket // 2:
            raise UsageError(
                f"protocol {self.name}: batches are halves of buckets, so {self.batch} and "
                f"{self.bucket} do not go together; give both (--set batch=8 bucket=16), or draw "
                f"batches at random: --set batch={self.batch} bucket=0"
            )
        if bool(self.lm) != bool(self.lexicon):
            raise UsageError(
                "beam search takes a language model and its lexicon; give both: --set "
                "lm=4-gram.arpa lexicon=librispeech_lexicon.lst"
            )


SUPERB_V1 = ASRProtocol(
    name="superb-v1",
    source="s3prl/downstream/asr/config.yaml, dataset.py, char.dict (release 0.4.18)",
    lr=1e-4,
    steps=200_000,
    batch=16,
    bucket=32,
    eval_every=2000,
    lr_grid=(1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7),
)

DAISY = replace(  # its rows with layer-norm are what the paper has
    SUPERB_V1,
    name="daisy",
    source=f"Lin, Lee and Tang, 2024 (DAISY), sec. 4: the learning rate; {SUPERB_V1.source}",
    lr=1e-4,
)

MINISUPERB = replace(
    SUPERB_V1,
    name="minisuperb",
    source="Comet0322/MiniSUPERB: downstream/asr/config.yaml @ fde8f34",
    steps=20_000,
    eval_every=20_000,
    layers=3,
    hidden=256,
    train_set="librispeech_finetuning",
)

MINI = replace(  # small enough to train a table's heads in minutes on two CPU cores
    SUPERB_V1,
    name="mini",
    source="this project: superb-v1's task, batches and loss, sized for the built-in corpus",
    lr=5e-3,
    steps=1000,
    eval_every=200,
    sum_lr=10,
    standardise_states=True,
    decay=True,
    layers=1,
    hidden=128,
    join=2,
    standardise=True,
    warp=0,
    feature_masks=0,
    time_masks=0,
    lr_grid=(2e-3, 5e-3, 1e-2),
)


def corpus(data: Path | None, protocol: ASRProtocol) -> Corpus:
    """LibriSpeech, or any corpus with transcripts. See `open_corpus`."""
    if protocol.lm:
        ctc_decoder.decoder(protocol.search)  # fails now, not after training
    return open_corpus(data, Need(NEEDS, "asr", protocol.train_set), BUILTIN)


def check(
    corpus: Corpus, protocol: ASRProtocol, frames: Callable[[Tensor], Tensor]
) -> Iterator[str]:
    """A sentence for every transcript that the dictionary cannot spell, or that CTC cannot write in
    the frames of its audio.
    """
    items = [item for split in corpus.splits.values() for item in split]
    given = frames(torch.tensor([item.samples for item in items])).tolist()
    for item, n in zip(items, given, strict=True):
        if strange := sorted(set(text(item)) - LETTERS):
            yield (
                f"{item.id}: its transcript has {' '.join(map(repr, strange))}, which the "
                "dictionary (A-Z, apostrophe, space) cannot spell"
            )
        elif (needed := frames_needed(target(text(item)))) > protocol.places(n):
            yield (
                f"{item.id}: CTC needs {needed} frames for its transcript and its "
                f"{item.samples / SAMPLE_RATE:.2f} s have {protocol.places(n)}"
                f"{_more_places(n, needed, protocol)}"
            )


def _more_places(frames: int, needed: int, protocol: ASRProtocol) -> str:
    """What would give CTC more of them, in brackets; "" where nothing sensible would."""
    enough = -(-needed // max(1, frames))  # a frame
    if enough > 4:  # that transcript belongs to other audio
        return ""
    read = f"{frames} read {protocol.join} at a time; " if protocol.join > 1 else ""
    join = "join=1 " if protocol.join > 1 else ""
    if enough == 1:
        return f" ({read}--set join=1 reads each)"
    return f" ({read}--set {join}outputs={enough} makes every frame give {enough})"


def text(item: Item) -> str:
    """Its transcript."""
    return item.more["text"]


def load(item: Item) -> Example:
    return example_of(item, text(item))


class ASRHead(nn.Module):
    """Features standardised (if the recipe says so), augmented in training, and read by BLSTMCTC.

    Shape:
        (B, T, D), (B,) frames, (B,) samples -> (B, T // join * outputs, 32) scores before softmax.
    """

    def __init__(self, protocol: ASRProtocol, dim: int):
        super().__init__()
        p = self.protocol = protocol
        self.augment = SpecAugment(
            p.warp, p.feature_masks, p.feature_width, p.time_masks, p.time_width
        )
        self.network = BLSTMCTC(dim, len(SYMBOLS), p.hidden, p.layers, p.dropout, p.join, p.outputs)

    def forward(self, features: Tensor, frames: Tensor, samples: Tensor) -> Tensor:
        if self.protocol.standardise:
            features = standardised(features, frames)
        return self.network(self.augment(features, frames), frames)


def head(setup: Setup) -> ASRHead:
    """(B, T, D) features -> (B, T // join * outputs, 32) scores."""
    return ASRHead(setup.protocol, setup.dim)


def loss(prediction: Tensor, examples: Sequence[Example], frames: Tensor, setup: Setup) -> Tensor:
    """(B, T', 32) scores -> (): CTC loss per target symbol, mean over utterances; 0 for one whose
    target does not fit its frames.
    """
    targets = [torch.tensor(target(example.target)) for example in examples]
    lengths = torch.tensor([len(symbols) for symbols in targets])
    return F.ctc_loss(
        prediction.log_softmax(-1).transpose(0, 1),
        torch.cat(targets).to(prediction.device),
        setup.protocol.places(frames).cpu(),
        lengths,
        BLANK,
        zero_infinity=True,
    )


def score(prediction_row: Tensor, example: Example, frames: int, setup: Setup) -> dict[str, Any]:
    """Metrics of (T', 32) scores, hypothesis and reference; Failures where they are not finite."""
    protocol = setup.protocol
    scores = prediction_row[: protocol.places(frames)].detach().float().cpu()
    if not scores.isfinite().all():
        return dict.fromkeys(METRICS, Failure("prediction is not finite"))
    symbols = greedy(scores)
    hypothesis = ctc_decoder.words(scores, protocol.search) if protocol.lm else None
    if hypothesis is None:  # greedy, also where no path of the beam ends in a word: as s3prl
        hypothesis = spelled(symbols)
    return errors(example.target, hypothesis, symbols) | {
        "hypothesis": hypothesis,
        "reference": example.target,
    }


def judge(answer: str, example: Example, protocol: ASRProtocol) -> dict[str, Any]:
    """Of a transcript: upper case, words with single spaces between them. Its symbols are
    those that spell it.
    """
    return errors(example.target, answer, written(answer)) | {
        "hypothesis": answer,
        "reference": example.target,
    }


RECOGNITION = Task(
    name="asr",
    version=1,
    metrics=tuple(Metric(name, False, "%", best=0.0, least=0.0) for name in METRICS),
    protocols={p.name: p for p in (SUPERB_V1, DAISY, MINISUPERB, MINI)},
    builtin="mini",
    default="superb-v1",
    corpus=corpus,
    load=load,
    head=head,
    loss=loss,
    score=score,
    judge=judge,
    target=text,
    needs=NEEDS,
    check=check,
    mini=BUILTIN,
)

tasks.register("asr")(RECOGNITION)
