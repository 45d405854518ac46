"""Speech separation: one mask per talker on the spectrum of a mixture, scored on the waveforms that
the masks give.

SUPERB-SG's task (Tsai et al., 2022, sec. 3) on Libri2Mix (Cosentino et al., 2020; wav16k, min,
mix_clean), or on any folder laid out like it. One metric: the improvement of SI-SDR over the
mixture, mean over both talkers, then over mixtures. Nobody says which mask is whose: training takes
the better order for each utterance (Kolbaek et al., 2017: uPIT; by asteroid), and scoring has
another rule, which differs between the recipes (`permutation`):

* bss_eval: the order that mir_eval's bss_eval_sources picks, the one of the higher mean SIR
  (Vincent et al., 2006). So does s3prl/downstream/separation_stft/expert.py, through
  asteroid.metrics.get_metrics(compute_permutation=True).
* si_sdr: the order of the higher mean SI-SDR, as in separation_stft2/expert.py; never the
  lower of the two numbers.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..benchmark.audio import read
from ..benchmark.contract import Corpus, Example, Item, Metric, Setup, Task
from ..benchmark.errors import UsageError, require
from ..benchmark.registry import tasks
from ..downstreams.mask_blstm import MaskBLSTM
from .corpora import Need, open_corpus
from .corpora.mini.ss import BUILTIN
from .shared.masking import SpectralHead, apply, distance, fitting, spectra
from .shared.permutation import improvement
from .shared.spectral_protocol import GRID, SpectralProtocol, check
from .shared.stft import notices

NEEDS, SOURCES = ("sources",), 2


@dataclass(frozen=True)
class SSProtocol(SpectralProtocol):
    """A recipe of separation."""

    # what decides in scoring whose estimate is whose: bss_eval | si_sdr
    permutation: str = "bss_eval"
    # as many of dev's utterances, chosen as s3prl's dev_1000 is; None = all
    dev_shuffled: int | None = None
    above_zero: ClassVar[tuple[str, ...]] = (*SpectralProtocol.above_zero, "dev_shuffled")

    def __post_init__(self):
        super().__post_init__()
        if self.permutation not in ("bss_eval", "si_sdr"):
            raise UsageError(
                f"protocol {self.name}: permutation is bss_eval or si_sdr, not {self.permutation!r}"
            )


SUPERB_V1 = SSProtocol(
    name="superb-v1",
    source=(
        "s3prl/downstream/separation_stft/configs/cfg.yaml, scripts/LibriMix/subsample.py (release "
        "0.4.18); librosa < 0.9"
    ),
    lr=1e-4,
    steps=150_000,
    batch=8,
    eval_every=2000,
    optimiser="adamw",
    lr_grid=GRID,
    n_fft=512,
    win=512,
    hop=0,
    pad="reflect",
    layers=3,
    hidden=896,
    dropout=0.5,
    activation="relu",
    aim="npsm",
    distance="mse",
    domain="magnitude",
    tail="guard",
    permutation="bss_eval",
    dev_shuffled=1000,
)

S3PRL_V2 = SSProtocol(
    name="s3prl-v2",
    source="s3prl/downstream/separation_stft2/configs/cfg.yaml (release 0.4.18); librosa >= 0.9",
    lr=1e-3,
    steps=150_000,
    batch=8,
    eval_every=2000,
    optimiser="adamw",
    lr_grid=GRID,
    n_fft=1024,
    win=1024,
    hop=0,
    pad="constant",
    layers=3,
    hidden=256,
    dropout=0.1,
    activation="sigmoid",
    aim="npsm",
    distance="mse",
    domain="log1p",
    tail="drop",
    permutation="si_sdr",
)

DAISY = replace(  # its rows with layer-norm are what the paper has
    SUPERB_V1,
    name="daisy",
    source=f"Lin, Lee and Tang, 2024 (DAISY), sec. 4: the learning rate; {SUPERB_V1.source}",
    lr=1e-4,
)

MINISUPERB = replace(
    S3PRL_V2,
    name="minisuperb",
    source=(
        "Comet0322/MiniSUPERB: downstream/separation_stft2/configs/cfg.yaml, preprocess/bo.ipynb @ "
        "4588f6e"
    ),
    steps=15_000,
    eval_every=1500,
    train_limit=1400,
    dev_shuffled=1000,
    lr_grid=(1e-2, 1e-3, 1e-4),
)

MINI = replace(  # small enough to train a table's heads in minutes on two CPU cores
    S3PRL_V2,
    name="mini",
    source=(
        "this project: s3prl-v2 with v1's tail, plain amplitudes as the aim and square roots of "
        "magnitudes; chosen on the built-in dev split"
    ),
    lr=5e-3,
    steps=1000,
    batch=4,
    eval_every=500,
    decay=True,
    sum_lr=30.0,
    standardise_states=True,
    dev_limit=32,
    lr_grid=(2e-2, 5e-3, 1.25e-3),
    n_fft=640,
    win=640,
    layers=1,
    hidden=128,
    dropout=0.0,
    aim="am",
    domain="sqrt",
    tail="guard",
)


def corpus(data: Path | None, protocol: SSProtocol) -> Corpus:
    """Libri2Mix, or a folder laid out like it, with the recipe's part of dev. See `open_corpus`."""
    found = open_corpus(data, Need(NEEDS, "ss"), BUILTIN)
    if protocol.dev_shuffled is None:
        return found
    dev = shuffled(found.splits["dev"], protocol.dev_shuffled)
    return replace(found, splits={**found.splits, "dev": dev})


def shuffled(items: Sequence[Item], n: int, seed: int = 7) -> list[Item]:
    """s3prl's dev_1000 of Libri2Mix: the first `n` ids of the sorted and shuffled list, in their
    order (scripts/LibriMix/subsample.py).
    """
    order = sorted(items, key=lambda item: item.id)
    random.Random(seed).shuffle(order)
    return sorted(order[:n], key=lambda item: item.id)


def load(item: Item) -> Example:
    """The mixture and, as the target, its (2, N) sources; what a source has beyond the
    mixture is left out.
    """
    mixture = read(item.path, item.start, item.samples)
    sources = np.stack([read(path, item.start, item.samples) for path in item.more["sources"]])
    return Example(item.id, torch.from_numpy(mixture), torch.from_numpy(sources))


def head(setup: Setup) -> SpectralHead:
    """(B, T, D) features -> (B, 2, T', bins) masks."""
    protocol = setup.protocol
    masks = MaskBLSTM(
        setup.dim,
        protocol.n_fft // 2 + 1,
        protocol.hidden,
        protocol.layers,
        protocol.dropout,
        protocol.activation,
        SOURCES,
    )
    return SpectralHead(masks, setup)


def loss(prediction: Tensor, examples: Sequence[Example], frames: Tensor, setup: Setup) -> Tensor:
    """(B, 2, T, bins) masks -> (): of the better order, the mean over talkers, then over
    utterances.
    """
    pit = require("asteroid.losses", "separation", "ss").PITLossWrapper
    rows = zip(prediction, examples, strict=True)
    pairs = torch.stack([_distances(masks, example, setup) for masks, example in rows])
    return pit.find_best_perm(pairs)[0].mean()


def _distances(masks: Tensor, example: Example, setup: Setup) -> Tensor:
    """(2, T', bins) masks -> (2, 2): the distance of each (rows) from each talker (columns)."""
    magnitude, aims = spectra(example, setup, masks.device)
    return distance(fitting(masks, magnitude)[:, None], magnitude, aims, setup.protocol)


def separate(prediction_row: Tensor, wav: Tensor, setup: Setup) -> Tensor:
    """(2, T, bins) masks, (N,) mixture -> (2, N) talkers."""
    wav = wav.to(prediction_row.device)
    return torch.stack([apply(mask, wav, setup) for mask in prediction_row])


def score(prediction_row: Tensor, example: Example, frames: int, setup: Setup) -> dict[str, Any]:
    """Metrics of (2, T', bins) masks; the upstream's `frames` do not matter."""
    estimates = separate(prediction_row.detach().float().cpu(), example.wav.cpu(), setup)
    return judge(estimates, example, setup.protocol)


def unprocessed(example: Example, protocol: SSProtocol) -> dict[str, Any]:
    """The mixture as the answer for both talkers: the floor under every row, an improvement of 0
    dB whoever is whose.
    """
    both = torch.stack([example.wav] * SOURCES)
    return judge(both, example, replace(protocol, permutation="si_sdr"))


def judge(answer: Tensor, example: Example, protocol: SSProtocol) -> dict[str, Any]:
    """Of (2, N) waveforms, as long as the mixture, in any order."""
    talkers, estimates, mixture = (
        wav.detach().float().cpu().numpy() for wav in (example.target, answer, example.wav)
    )
    return {"si_sdr_improvement": improvement(talkers, estimates, mixture, protocol.permutation)}


SEPARATION = Task(
    name="ss",
    version=1,
    metrics=(Metric("si_sdr_improvement", True, "dB", largest_loss=10.0),),
    protocols={p.name: p for p in (SUPERB_V1, S3PRL_V2, DAISY, MINISUPERB, MINI)},
    builtin="mini",
    default="superb-v1",
    corpus=corpus,
    load=load,
    head=head,
    loss=loss,
    score=score,
    judge=judge,
    unprocessed=unprocessed,
    needs=NEEDS,
    check=check,
    notices=notices,
    mini=BUILTIN,
)

tasks.register("ss")(SEPARATION)
