"""Speech enhancement: a mask on the noisy spectrum, judged by what it does to the waveform.

SUPERB-SG's task (Tsai et al., 2022, sec. 3) on VoiceBank-DEMAND (Valentini-Botinhao, 2017), or
on any folder laid out like it. Absolute PESQ and STOI, and the improvement of SI-SDR over the
unprocessed input, means over utterances. The dev split's PESQ picks the checkpoint. Recipes
with different names are different benchmarks: s3prl says that its second one is not comparable
with the leaderboard.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..benchmark.audio import read
from ..benchmark.contract import Corpus, Example, Item, Metric, Setup, Task
from ..benchmark.metrics import pesq_wb, si_sdr_improvement, stoi
from ..benchmark.registry import tasks
from ..downstreams.mask_blstm import MaskBLSTM
from .corpora import Need, open_corpus
from .corpora.mini.se import BUILTIN
from .shared.masking import SpectralHead, apply, distance, fitting, spectra
from .shared.spectral_protocol import GRID, SpectralProtocol, check
from .shared.stft import notices

NEEDS = ("clean",)


@dataclass(frozen=True)
class SEProtocol(SpectralProtocol):
    """A recipe of enhancement: the shared fields of a masking recipe, and no others."""


SUPERB_V1 = SEProtocol(
    name="superb-v1",
    source=(
        "s3prl/downstream/enhancement_stft/configs/cfg_voicebank.yaml (release 0.4.18); librosa < "
        "0.9"
    ),
    lr=1e-4,
    steps=150_000,
    batch=8,
    eval_every=1250,
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
)

S3PRL_V2 = SEProtocol(
    name="s3prl-v2",
    source=(
        "s3prl/downstream/enhancement_stft2/configs/cfg_voicebank.yaml (release 0.4.18); librosa "
        ">= 0.9"
    ),
    lr=1e-3,
    steps=100_000,
    batch=8,
    eval_every=1250,
    optimiser="adamw",
    lr_grid=GRID,
    n_fft=512,
    win=400,
    hop=160,
    pad="constant",
    layers=3,
    hidden=256,
    dropout=0.1,
    activation="sigmoid",
    aim="am",
    distance="l1",
    domain="log1p",
    tail="drop",
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
        "Comet0322/MiniSUPERB: downstream/enhancement_stft2/configs/cfg_voicebank.yaml, "
        "preprocess/bo.ipynb @ 4588f6e"
    ),
    steps=10_000,
    eval_every=1000,
    train_limit=1000,
    dev_limit=300,
    lr_grid=(1e-2, 1e-3, 1e-4),
)

MINI = replace(  # small enough to train a table's heads in a minute or two on two CPU cores
    S3PRL_V2,
    name="mini",
    source=(
        "this project: s3prl-v2's aim, v1's distance and tail, square roots of magnitudes; chosen "
        "on the built-in dev split"
    ),
    lr=5e-3,
    steps=480,
    batch=4,
    eval_every=240,
    decay=True,
    sum_lr=30.0,
    standardise_states=True,
    dev_limit=32,
    lr_grid=(2e-2, 5e-3, 1.25e-3),
    n_fft=640,
    win=640,
    hop=0,
    layers=1,
    hidden=128,
    dropout=0.0,
    distance="mse",
    domain="sqrt",
    tail="guard",
)


def corpus(data: Path | None, protocol: SEProtocol) -> Corpus:
    """VoiceBank-DEMAND, or any corpus with a clean file for every noisy one. See `open_corpus`."""
    return open_corpus(data, Need(NEEDS, "se"), BUILTIN)


def load(item: Item) -> Example:
    """(N,) noisy audio, and as the target the same without noise."""
    noisy = read(item.path, item.start, item.samples)
    clean = read(item.more["clean"], item.start, item.samples)
    return Example(item.id, torch.from_numpy(noisy), torch.from_numpy(clean))


def head(setup: Setup) -> SpectralHead:
    """(B, T, D) features -> (B, T', bins) masks."""
    protocol = setup.protocol
    masks = MaskBLSTM(
        setup.dim,
        protocol.n_fft // 2 + 1,
        protocol.hidden,
        protocol.layers,
        protocol.dropout,
        protocol.activation,
    )
    return SpectralHead(masks, setup)


def loss(prediction: Tensor, examples: Sequence[Example], frames: Tensor, setup: Setup) -> Tensor:
    """(B, T, bins) masks -> (): sum over frequencies, mean over an utterance's frames, mean over
    utterances.
    """
    rows = zip(prediction, examples, strict=True)
    return torch.stack([_distance(mask, example, setup) for mask, example in rows]).mean()


def _distance(mask: Tensor, example: Example, setup: Setup) -> Tensor:
    magnitude, aim = spectra(example, setup, mask.device)
    return distance(fitting(mask, magnitude), magnitude, aim, setup.protocol)


def enhance(prediction_row: Tensor, wav: Tensor, setup: Setup) -> Tensor:
    """(T, bins) mask, (N,) noisy -> (N,) enhanced."""
    return apply(prediction_row, wav.to(prediction_row.device), setup)


def score(prediction_row: Tensor, example: Example, frames: int, setup: Setup) -> dict[str, Any]:
    """Metrics of a (T', bins) mask; the upstream's `frames` do not matter."""
    answer = enhance(prediction_row.detach().float().cpu(), example.wav.cpu(), setup)
    return judge(answer, example, setup.protocol)


def select(prediction_row: Tensor, example: Example, frames: int, setup: Setup) -> dict[str, Any]:
    """PESQ alone, which picks the checkpoint: STOI is slow, and dev is scored often."""
    answer = enhance(prediction_row.detach().float().cpu(), example.wav.cpu(), setup)
    return {"pesq": pesq_wb(example.target.cpu().numpy(), answer.numpy())}


def unprocessed(example: Example, protocol: SEProtocol) -> dict[str, Any]:
    """The noisy input as if it were an answer: the floor under every row, with an
    improvement of 0 dB.
    """
    return judge(example.wav.cpu(), example, protocol)


def judge(answer: Tensor, example: Example, protocol: SEProtocol) -> dict[str, Any]:
    """Of an (N,) waveform, as long as the noisy one."""
    clean, noisy, answer = (
        wav.detach().float().cpu().numpy() for wav in (example.target, example.wav, answer)
    )
    return {
        "pesq": pesq_wb(clean, answer),
        "stoi": stoi(clean, answer),
        "si_sdr_improvement": si_sdr_improvement(clean, answer, noisy),
    }


ENHANCEMENT = Task(
    name="se",
    version=1,
    metrics=(
        # between the asymptotes of ITU-T P.862.2, eq. 1
        Metric(
            "pesq",
            True,
            "MOS-LQO, wide-band",
            best=4.644,
            largest_loss=1.0,
            least=0.999,
            most=4.999,
        ),
        Metric("stoi", True, best=1.0, least=-1.0, most=1.0),  # a mean of correlations
        Metric("si_sdr_improvement", True, "dB"),
    ),
    protocols={p.name: p for p in (SUPERB_V1, S3PRL_V2, DAISY, MINISUPERB, MINI)},
    builtin="mini",
    default="superb-v1",
    corpus=corpus,
    load=load,
    head=head,
    loss=loss,
    score=score,
    judge=judge,
    select=select,
    unprocessed=unprocessed,
    needs=NEEDS,
    check=check,
    notices=notices,
    mini=BUILTIN,
)

tasks.register("se")(ENHANCEMENT)
