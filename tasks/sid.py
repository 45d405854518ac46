"""Speaker identification: which speaker of a closed set is this?

SUPERB's task (Yang et al., 2021, sec. 3.2) on VoxCeleb1 with its identification list (Nagrani et
al., 2017), or on any tree with a folder a speaker and a list that says which file is for training,
dev and test. Accuracy over utterances in %; the dev split's picks the checkpoint. The head is
linear up to a mean over time, so heads are trained from pooled states, exactly.

s3prl cuts a long training utterance anew each time it is read. Here each has `crops` random pieces,
drawn once by `crop_seed` and recorded; a training epoch goes over all of them, and a short
utterance is in it as often as a long one.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..benchmark.audio import example_of
from ..benchmark.contract import SAMPLE_RATE, Corpus, Example, Item, Metric, Protocol, Setup, Task
from ..benchmark.metrics import Failure
from ..benchmark.registry import tasks
from ..downstreams.mean_linear import MeanLinear
from .corpora import Need, open_corpus
from .corpora.mini.sid import BUILTIN

NEEDS, STRANGER = ("speaker",), -1  # the label of who is not in training


@dataclass(frozen=True)
class SIDProtocol(Protocol):
    """What a recipe of identification adds."""

    hidden: int = 256
    crop: float = 8.0  # seconds; longer training utterances are cut
    crops: int = 1  # pieces recorded of each training utterance
    crop_seed: int = 0
    crop_all: bool = False  # dev and test utterances are cut too, once
    # training utterances drawn of each speaker, as pandas' sample does
    per_speaker: int | None = None
    per_speaker_seed: int = 42
    # bring each feature of an utterance's mean to zero mean and unit variance
    standardise: bool = False
    above_zero: ClassVar[tuple[str, ...]] = (
        *Protocol.above_zero,
        *("hidden", "crop", "crops", "per_speaker"),
    )


SUPERB_V1 = SIDProtocol(
    name="superb-v1",
    source="s3prl/downstream/voxceleb1/config.yaml (release 0.4.18); crops are this project's",
    lr=1e-4,
    steps=200_000,
    batch=8,
    accumulate=4,
    eval_every=5000,
    crops=4,
    lr_grid=(1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7),
)

DAISY = replace(  # its rows with layer-norm are what the paper has
    SUPERB_V1,
    name="daisy",
    source=f"Lin, Lee and Tang, 2024 (DAISY), sec. 4: the learning rate; {SUPERB_V1.source}",
    lr=1e-1,
)

MINISUPERB = replace(
    SUPERB_V1,
    name="minisuperb",
    source=(
        "Comet0322/MiniSUPERB: "
        "minisuperb/downstream/voxceleb1/{config.yaml,dataset.py,scripts/subsample.py} @ fde8f34"
    ),
    lr=1e-3,
    steps=20_000,
    eval_every=2000,
    crops=1,
    crop_all=True,
    per_speaker=11,
    lr_grid=(1e-1, 1e-2, 1e-3, 1e-4),
)

MINI = replace(
    SUPERB_V1,
    name="mini",
    source="this project: superb-v1's head and loss, sized for the built-in corpus",
    lr=3e-3,
    steps=2000,
    batch=32,
    accumulate=1,
    eval_every=200,
    decay=True,
    sum_lr=10.0,
    standardise_states=True,
    crops=1,
    lr_grid=(1.2e-2, 3e-3, 7.5e-4),
)


def corpus(data: Path | None, protocol: SIDProtocol) -> Corpus:
    """VoxCeleb1, or any corpus with speakers, as crops. Labels are the training split's speakers
    in the order of their names, as VoxCeleb1's are. See `open_corpus`.
    """
    whole = open_corpus(data, Need(NEEDS, "sid"), BUILTIN)
    labels = tuple(sorted({i.speaker for i in whole.splits["train"]}))
    code = {speaker: n for n, speaker in enumerate(labels)}
    train = list(_drawn(whole.splits["train"], protocol))
    uncut = {**whole.splits, "train": train}
    crops = {"train": protocol.crops, "dev": int(protocol.crop_all), "test": int(protocol.crop_all)}
    items = {
        split: [
            crop for item in uncut[split] for crop in _crops(item, code, labels, count, protocol)
        ]
        for split, count in crops.items()
    }
    long = sum(i.samples > protocol.crop * SAMPLE_RATE for i in train)
    notice = (
        f"{len(train)} training utterances, {long} of them longer than {protocol.crop:g} s: "
        f"{protocol.crops} pieces recorded of each"
    )
    return replace(whole, splits=items, notices=(*whole.notices, notice), labels=labels)


def _crops(
    item: Item, code: Mapping[str, int], labels: tuple[str, ...], count: int, protocol: SIDProtocol
) -> Iterator[Item]:
    """`count` crops of an utterance (see `pieces`), labelled by `code`."""
    more = {"label": code.get(item.speaker, STRANGER), "labels": labels}
    found = pieces(item.id, item.start, item.samples, count, protocol)
    for k, (start, samples) in enumerate(found):
        id = f"{item.id}#{k}" if k else item.id
        yield replace(item, id=id, samples=samples, start=start, more=more)


def check(
    corpus: Corpus, protocol: SIDProtocol, frames: Callable[[Tensor], Tensor]
) -> Iterator[str]:
    """A sentence for every speaker of dev or test who is not in training: the set is closed."""
    if len(corpus.labels) == 1:
        yield f"{corpus.labels[0]} is the only speaker in training; identification needs two"
    strangers = Counter(
        (split, i.speaker)
        for split in ("dev", "test")
        for i in corpus.splits[split]
        if i.more["label"] == STRANGER
    )
    for (split, speaker), n in strangers.items():
        yield f"speaker {speaker} has {n} utterances in {split} and none in training"


def pieces(
    id: str, start: int, samples: int, count: int, protocol: SIDProtocol
) -> list[tuple[int, int]]:
    """(first sample, samples) of `count` random crops of one utterance, a function of its id and
    the seed. The whole utterance once when count is 0, `count` times when it is no longer than a
    crop.
    """
    most = round(protocol.crop * SAMPLE_RATE)
    if count == 0 or samples <= most:
        return [(start, samples)] * max(1, count)
    of_id = int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big")
    rng = np.random.default_rng([protocol.crop_seed, of_id])
    return [(start + int(k), most) for k in rng.integers(samples - most + 1, size=count)]


def _drawn(train: Sequence[Item], protocol: SIDProtocol) -> Iterator[Item]:
    """`per_speaker` utterances of every speaker (fewer where there are fewer), in the order in
    which they are drawn.
    """
    import pandas as pd

    if protocol.per_speaker is None:
        yield from train
        return
    by_speaker: dict[str, list] = {}
    for item in train:
        by_speaker.setdefault(item.speaker, []).append(item)
    for _, items in sorted(by_speaker.items()):
        count = min(protocol.per_speaker, len(items))
        rows = pd.Series(range(len(items))).sample(count, random_state=protocol.per_speaker_seed)
        yield from (items[i] for i in rows)


def target(item: Item) -> Mapping[str, Any]:
    """{"label": index of its speaker or STRANGER, "labels": names of all}"""
    return item.more


def load(item: Item) -> Example:
    return example_of(item, target(item))


def head(setup: Setup) -> MeanLinear:
    """(B, T, D) features -> (B, speakers) logits."""
    protocol, speakers = setup.protocol, len(setup.corpus.labels)
    return MeanLinear(setup.dim, speakers, protocol.hidden, protocol.standardise)


def loss(prediction: Tensor, examples: Sequence[Example], frames: Tensor, setup: Setup) -> Tensor:
    """(B, classes) logits -> (): cross-entropy, mean over utterances."""
    labels = [example.target["label"] for example in examples]
    return F.cross_entropy(prediction, torch.tensor(labels, device=prediction.device))


def score(prediction_row: Tensor, example: Example, frames: int, setup: Setup) -> dict[str, Any]:
    """Metrics of (speakers,) logits; a Failure where they are not finite."""
    if not bool(torch.isfinite(prediction_row).all()):
        return {"accuracy": Failure("prediction is not finite")}
    return judge(example.target["labels"][int(prediction_row.argmax())], example, setup.protocol)


def truth(example: Example) -> str:
    """Its speaker's name."""
    return example.target["labels"][example.target["label"]]


def judge(answer: str, example: Example, protocol: SIDProtocol) -> dict[str, Any]:
    """Of a speaker's name: 100 or 0, so that the mean is a percentage; for the utterances' table
    also the true speaker, and the answer as "heard".
    """
    speaker = truth(example)
    return {"accuracy": 100.0 * (answer == speaker), "speaker": speaker, "heard": answer}


IDENTIFICATION = Task(
    name="sid",
    version=1,
    metrics=(Metric("accuracy", True, "%", best=100.0, least=0.0, most=100.0),),
    protocols={p.name: p for p in (SUPERB_V1, DAISY, MINISUPERB, MINI)},
    builtin="mini",
    default="superb-v1",
    corpus=corpus,
    load=load,
    head=head,
    loss=loss,
    score=score,
    judge=judge,
    truth=truth,
    pooled=True,
    target=target,
    needs=NEEDS,
    check=check,
    mini=BUILTIN,
)

tasks.register("sid")(IDENTIFICATION)
