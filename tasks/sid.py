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
from typing import Any

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
    steps=600,
    batch=32,
    accumulate=1,
    eval_every=100,
    crops=1,
    standardise=True,
    lr_grid=(1.2e-2, 3e-3, 7.5e-4),
)


def corpus(data: Path | None, protocol: SIDProtocol) -> Corpus:
    """Splits of pieces, labelled with the training split's speakers in the order of their names
    (as VoxCeleb1's are).
    """
    whole = open_corpus(data, Need(NEEDS, "sid"), BUILTIN)
    labels = tuple(sorted({i.speaker for i in whole.splits["train"]}))
    code = {speaker: n for n, speaker in enumerate(labels)}
    train = list(_drawn(whole.splits["train"], protocol))
    crops = {"train": protocol.crops, "dev": int(protocol.crop_all), "test": int(protocol.crop_all)}
    items = {
        split: [
            replace(
                i,
                id=f"{i.id}#{k}" if k else i.id,
                samples=samples,
                start=start,
                more={"label": code.get(i.speaker, STRANGER), "labels": labels},
            )
            for i in chosen
            for k, (start, samples) in enumerate(
                pieces(i.id, i.start, i.samples, crops[split], protocol)
            )
        ]
        for split, chosen in (dict(whole.splits) | {"train": train}).items()
    }
    long = sum(i.samples > protocol.crop * SAMPLE_RATE for i in train)
    told = (
        f"{len(train)} training utterances, {long} of them longer than {protocol.crop:g} s: "
        f"{protocol.crops} pieces recorded of each"
    )
    return replace(whole, splits=items, notices=(*whole.notices, told), labels=labels)


def check(
    corpus: Corpus, protocol: SIDProtocol, frames: Callable[[Tensor], Tensor]
) -> Iterator[str]:
    """Identification chooses from a closed set: whoever is to be recognised must have been trained
    on.
    """
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
    """(first sample, samples) of `count` random crops of one utterance, a function of its
    id and the seed; all of it when count is 0 (one piece), and `count` times when it is
    no longer than a crop.
    """
    most = round(protocol.crop * SAMPLE_RATE)
    if count == 0 or samples <= most:
        return [(start, samples)] * max(1, count)
    rng = np.random.default_rng(
        [protocol.crop_seed, int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big")]
    )
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
    for _, own in sorted(by_speaker.items()):
        rows = pd.Series(range(len(own))).sample(
            min(protocol.per_speaker, len(own)), random_state=protocol.per_speaker_seed
        )
        yield from (own[i] for i in rows)


def target(item: Item) -> Mapping[str, Any]:
    return item.more


def load(item: Item) -> Example:
    return example_of(item, target(item))


def head(setup: Setup) -> MeanLinear:
    return MeanLinear(
        setup.dim, len(setup.corpus.labels), setup.protocol.hidden, setup.protocol.standardise
    )


def loss(prediction: Tensor, examples: Sequence[Example], frames: Tensor, setup: Setup) -> Tensor:
    """(B, classes) logits -> (): cross-entropy, mean over utterances."""
    return F.cross_entropy(
        prediction, torch.tensor([e.target["label"] for e in examples], device=prediction.device)
    )


def score(prediction_row: Tensor, example: Example, frames: int, setup: Setup) -> dict[str, Any]:
    if not bool(torch.isfinite(prediction_row).all()):
        return {"accuracy": Failure("prediction is not finite")}
    return judge(example.target["labels"][int(prediction_row.argmax())], example, setup.protocol)


def truth(example: Example) -> str:
    return example.target["labels"][example.target["label"]]


def judge(answer: str, example: Example, protocol: SIDProtocol) -> dict[str, Any]:
    """Of a speaker's name: 100 or 0, so that the mean is a percentage; and who it was and was taken
    for, for the utterances' table.
    """
    speaker = truth(example)
    return {"accuracy": 100.0 * (answer == speaker), "speaker": speaker, "heard": answer}


tasks.register("sid")(
    Task(
        name="sid",
        version=1,
        metrics=(Metric("accuracy", True, "%", best=100.0),),
        protocols={p.name: p for p in (SUPERB_V1, MINISUPERB, MINI)},
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
)
