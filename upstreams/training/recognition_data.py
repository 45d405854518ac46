"""Labelled speech for a recogniser: what of a corpus it can learn from, batches of it, the dev
split."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...benchmark import distributed
from ...benchmark.contract import SAMPLE_RATE, Item, TrainingData, TrainingRun
from ...benchmark.errors import UsageError, listed
from ...benchmark.storage import atomic
from ..recognition.alphabet import Alphabet
from ..recognition.bpe import learn
from ..recognition.recogniser import Recogniser
from .balanced_batches import Balanced
from .disturbed import chunked, sped
from .recognition_recipe import RecognitionRecipe

BPE = "bpe:"  # and a number of pieces, as alphabet
READERS = 4  # threads that read ahead
log = logging.getLogger("earlyexit_superb")


@dataclass(frozen=True)
class Transcribed:
    """This process's rows of a batch.

    Attributes:
        wavs: (B, N), zero-padded; lengths: (B,) samples, on the host.
        targets: the ids of each row.
        texts: its transcript.
        rngs: of each row, for what disturbs it.
        of_all: utterances of the batch, whichever process has them; of_update: of a micro-batch of
            its update, on average.
        share: of this process in the batch's loss: 1; 0 where its rows are another's and only keep
            it in step; of dev, which one process hears alone, one of all processes.
    """

    wavs: Tensor
    lengths: Tensor
    targets: Sequence[Sequence[int]]
    texts: Sequence[str]
    rngs: Sequence[np.random.Generator]
    of_all: int
    of_update: float
    share: float = 1.0


def alphabet_for(recipe: RecognitionRecipe, data: TrainingData, run: TrainingRun) -> str:
    """The recipe's alphabet as a constructor takes it. Word pieces are learned from the training
    transcripts and stay in `run.work`.

    Raises: UsageError: the task has no transcripts, or they do not hold so many pieces.
    """
    task, corpus = data.task, data.corpus
    if task is None or corpus is None or "text" not in task.needs:
        raise UsageError(
            f"train {run.name} learns from transcripts; name a task that has them: --task asr"
        )
    if not recipe.alphabet.startswith(BPE):
        return recipe.alphabet
    size = recipe.alphabet.removeprefix(BPE)
    if not size.isdigit() or int(size) < 2:
        raise UsageError(
            f"train {run.name}: alphabet {BPE}N takes a number of pieces, not {size!r}"
        )
    path = run.work / f"bpe{size}.model"
    with distributed.in_turn():
        if distributed.is_leader():
            learned = learn((_text(item) for item in corpus.splits["train"]), int(size))
            with atomic(path) as beside:
                beside.write_bytes(learned.pieces)
    return str(path)


class Transcripts:
    """The training and the dev split of a corpus, as far as `recogniser` can learn from them.

    Left out of training, with their number in a notice: utterances and transcripts longer than the
    recipe takes, and transcripts that CTC cannot write in the scores that the frames of their audio
    give.

    Raises:
        UsageError: a transcript that is empty or that the alphabet cannot write; nothing is left.
    """

    def __init__(
        self,
        recipe: RecognitionRecipe,
        data: TrainingData,
        run: TrainingRun,
        recogniser: Recogniser,
    ):
        assert data.task and data.corpus  # as `alphabet_for` has made sure
        self.recipe, self.seed, self.alphabet = recipe, run.seed, recogniser.alphabet
        self.task, self.name = data.task, data.corpus.name
        self._recogniser, self._makes_room = recogniser, recogniser.makes_room
        splits = data.corpus.splits
        enough = self._enough(splits["train"], run.name)
        self.items = self._usable(splits["train"], enough, run.name)
        fits = [self._enough(self.items, run.name, speed) for speed in recipe.speeds]
        # one that leaves too few frames is not taken
        self._speeds = [
            tuple(speed if fit else 1.0 for speed, fit in zip(recipe.speeds, of, strict=True))
            for of in zip(*fits, strict=True)
        ]
        self.dev_items = _thinned(splits["dev"], recipe.dev_limit)
        if not self.dev_items:
            raise UsageError(
                f"train {run.name}: {self.name} has no dev split, which picks the best weights; "
                "make one: run_benchmark.py data prepare --help"
            )
        short = self._enough(self.dev_items, run.name).count(False)
        if short:
            log.warning(
                f"{short} of {len(self.dev_items)} dev transcripts need more frames than "
                f"{run.name} gives their audio: they count in error rates, and nothing in dev_loss"
            )
        self.batches = Balanced(
            [item.samples for item in self.items],
            recipe.batch,
            round(recipe.seconds * SAMPLE_RATE),
            run.seed,
            recipe.order == "ascending",
        )
        self._threads = ThreadPoolExecutor(READERS)
        self._ahead: tuple[int, list[Future]] = (-1, [])

    def _enough(self, items: Sequence[Item], who: str, speed: float = 1.0) -> list[bool]:
        """Whether the scores of each one's audio, at that speed, suffice for CTC to write it."""
        needed = [self.alphabet.frames_needed(ids) for ids in _written(self.alphabet, items, who)]
        samples = torch.tensor([int(item.samples / speed) for item in items])
        frames = self._recogniser.frames(samples)
        return (self._recogniser.scored(frames) >= torch.tensor(needed)).tolist()

    @property
    def hours(self) -> float:
        """Of training."""
        return sum(item.samples for item in self.items) / SAMPLE_RATE / 3600

    def batch(self, i: int) -> Transcribed:
        """This process's rows of micro-batch i; those of the one after it are read meanwhile."""
        number, reads = self._ahead
        reads = reads if number == i else self._reads(i)
        rows, places, mine = self._shared(i)
        wavs, rngs = zip(*(read.result() for read in reads), strict=True)
        self._ahead = (i + 1, self._reads(i + 1))
        items = [self.items[rows[place]] for place in places]
        each = self.recipe.accumulate
        update = range(i - i % each, i - i % each + each)
        of_update = sum(len(self.batches.rows(j)) for j in update) / each
        return self._batch(items, wavs, rngs, len(rows), of_update, float(mine))

    def dev(self) -> Iterator[Transcribed]:
        """The dev split, undisturbed, the longest utterances first."""
        order = sorted(self.dev_items, key=lambda item: -item.samples)
        limit = round(self.recipe.seconds * SAMPLE_RATE)
        while order:
            fitting = max(1, limit // order[0].samples) if limit else len(order)
            size = min(fitting, self.recipe.batch or len(order))
            items, order = order[:size], order[size:]
            wavs, count = [self.task.load(item).wav for item in items], len(items)
            share = 1 / distributed.rank_and_size()[1]
            yield self._batch(items, wavs, (), count, float(count), share)

    def _shared(self, i: int) -> tuple[list[int], list[int], bool]:
        """Utterances of batch i, the places of mine among them, and whether those are mine alone:
        a batch too small for all processes lends its first one to those without."""
        rows, (rank, size) = self.batches.rows(i), distributed.rank_and_size()
        places = list(range(len(rows)))[rank::size]
        return rows, places or [0], bool(places)

    def _reads(self, i: int) -> list[Future]:
        rows, places, _ = self._shared(i)
        return [self._threads.submit(self._heard, i, place, rows[place]) for place in places]

    def _heard(self, i: int, place: int, row: int) -> tuple[Tensor, np.random.Generator]:
        rng, recipe = np.random.default_rng([self.seed, i, place]), self.recipe
        wav = sped(rng, self.task.load(self.items[row]).wav, self._speeds[row])
        return (chunked(rng, wav, recipe.chunks) if recipe.chunks else wav), rng

    def _batch(
        self,
        items: Sequence[Item],
        wavs: Sequence[Tensor],
        rngs: Sequence[np.random.Generator],
        of_all: int,
        of_update: float,
        share: float,
    ) -> Transcribed:
        return Transcribed(
            nn.utils.rnn.pad_sequence(list(wavs), batch_first=True),
            torch.tensor([len(wav) for wav in wavs]),
            [self.alphabet.encode(_text(item)) for item in items],
            [_text(item) for item in items],
            rngs,
            of_all,
            of_update,
            share,
        )

    def _usable(self, items: Sequence[Item], enough: Sequence[bool], who: str) -> list[Item]:
        """Those whose frames suffice for CTC, and that are not too long for the recipe."""
        longest, most = self.recipe.longest * SAMPLE_RATE, self.recipe.most
        short = [item for item, fits in zip(items, enough, strict=True) if not fits]
        fitting = [item for item, fits in zip(items, enough, strict=True) if fits]
        kept = [
            item
            for item in fitting
            if not (longest and item.samples > longest) and not (most and len(_text(item)) > most)
        ]
        long = len(fitting) - len(kept)
        if short:
            log.warning(
                f"{len(short)} of {len(items)} training transcripts, such as {short[0].id}, need "
                f"more frames than {who} gives their audio and are left out"
            )
        if long:
            log.warning(f"{long} of {len(items)} training utterances are too long and left out")
        if not kept:
            raise UsageError(
                f"train {who}: no utterance of {self.name} is left to learn from: {len(short)} of "
                f"{len(items)} transcripts need more frames than their audio has, {long} are too "
                f"long; take other speech, {self._makes_room}, or longest=0 most=0"
            )
        return kept


def _text(item: Item) -> str:
    return item.more["text"]


def _written(alphabet: Alphabet, items: Sequence[Item], who: str) -> list[list[int]]:
    """The ids of every transcript; UsageError with those that cannot be written."""
    found, wrong = [], []
    for item in items:
        try:
            found.append(alphabet.encode(_text(item)))
        except UsageError as error:
            wrong.append(f"{item.id}: {error}")
    if wrong:
        raise UsageError(f"train {who}: {listed(wrong, 3)}")
    return found


def _thinned(items: Sequence[Item], limit: int) -> Sequence[Item]:
    """As many, evenly over the split; all where the limit is 0."""
    if not limit or limit >= len(items):
        return items
    return [items[k * len(items) // limit] for k in range(limit)]
