"""What `speed` times, and its first half: full depth beside other libraries.

Everything a ratio is made of is timed by turns in one run (`race.paired`); of every utterance the
median over the rounds counts.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..contract import SAMPLE_RATE, Upstream
from ..errors import UsageError
from ..exiting import Exit, run_until_exit
from ..foreign import prints_to_stderr
from .timing import machine, paired, peak_memory, summed_median

PADDED = 8  # utterances of a reference model's batch on a CPU
GPU_BATCHES = (1, 4, 16, 64)
SIDE = 2048  # of the matrices whose product says what this machine can do
# Seconds: median and log-spread of the built-in utterances (LibriSpeech test-clean's), shortest,
# longest.
LENGTHS = (4.5, 0.4, 2.0, 17.0)

ReferenceModel = Callable[[Sequence[Tensor]], Any]  # (N,) waveforms of one batch -> anything
Row = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What is timed, and on what.

    Attributes:
        upstream: at its precision, on the device.
        precision: fp32 or bf16.
        wavs: (N,) waveforms on the device, the utterances.
    """

    upstream: Upstream
    precision: str
    device: str
    wavs: Sequence[Tensor]
    rounds: int

    @property
    def depth(self) -> int:
        return self.upstream.card.depth

    @property
    def name(self) -> str:
        """The plug-in's name, without tag and options."""
        return self.upstream.card.name.partition(".")[0].partition("(")[0]

    @property
    def audio(self) -> float:
        """Seconds."""
        return sum(map(len, self.wavs)) / SAMPLE_RATE

    def row(self, part: str, system: str, batch: int, seconds: float, **more: Any) -> Row:
        return {
            "part": part,
            "system": system,
            "batch": batch,
            "seconds": seconds,
            "real_time_factor": seconds / self.audio,
            "utterances_per_second": len(self.wavs) / seconds,
            "precision": self.precision,
            "device": machine(self.device),
            "audio_seconds": self.audio,
            "utterances": len(self.wavs),
            "rounds": self.rounds,
            **more,
        }

    def timed(self, runners: Mapping, units: Sequence[Any], what: str) -> tuple[dict, float]:
        """Seconds of every runner over all units, and in passing the GMAC a second that a plain
        matrix product does here."""
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        square = torch.randn(SIDE, SIDE, device=self.device, dtype=dtype)
        product = {"product": lambda _: square @ square}
        seconds = paired(product | dict(runners), units, self.rounds, self.device, what)
        rate = SIDE**3 / float(np.median(seconds.pop("product"))) / 1e9
        return {name: float(summed_median(taken)) for name, taken in seconds.items()}, rate


def recordings(folder: Path, count: int) -> list[Tensor]:
    """`count` utterances at even steps of the folder's lengths, in a seeded order."""
    from ..audio import length, read
    from ..audio_tree import audio_files

    files = sorted(audio_files(folder), key=lambda f: (length(f), str(f)))
    if len(files) < count:
        raise UsageError(
            f"--data {folder} holds {len(files)} recordings, fewer than --utterances {count}; "
            "ask for fewer"
        )
    chosen = [files[int((i + 0.5) * len(files) / count)] for i in range(count)]
    order = np.random.default_rng(0).permutation(count)
    return [torch.from_numpy(read(chosen[i])) for i in order]


def built_in(count: int) -> list[Tensor]:
    """`count` pieces of seeded noise, log-normal in length like read sentences, in seeded order."""
    from statistics import NormalDist

    from ..conformance.probe import noise

    median, spread, shortest, longest = LENGTHS
    quantiles = [NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)]
    seconds = [min(max(median * math.exp(spread * q), shortest), longest) for q in quantiles]
    order = np.random.default_rng(0).permutation(count)
    return [noise(seconds[i], int(i))[0] for i in order]


# ---- beside other libraries ----------------------------------------------------------------------


@torch.no_grad()
@prints_to_stderr()
def full_depth(bench: Bench, references: Mapping[str, ReferenceModel]) -> tuple[list[Row], float]:
    """Whole passes: a reference model's batches in the order that utterances come, ours by length.

    Returns: a row for each system and batch size, and the rate of `Bench.timed`.
    """
    cuda = torch.device(bench.device).type == "cuda"
    sizes = GPU_BATCHES if cuda else (1, PADDED)
    runners: dict[tuple[str, int], Callable] = {}
    for batch in sizes:
        for name, reference in references.items():
            runners[name, batch] = partial(_theirs, bench, reference, batch)
        runners["ours", batch] = partial(_ours, bench, batch)
    groups = batches(bench.wavs, max(sizes))
    peak = {key: peak_memory(run, groups[0], bench.device) for key, run in runners.items()}
    seconds, rate = bench.timed(runners, groups, "full depth")
    rows = []
    for (name, batch), taken in seconds.items():
        best = min((seconds[other, batch] for other in references), default=math.nan)
        padded_s3prl = seconds.get(("s3prl", PADDED), math.nan)
        rows.append(
            bench.row(
                "full depth",
                name,
                batch,
                taken,
                exit=bench.depth,
                branches=0,
                to_best_reference=taken / best,
                s3prl_padded_to_this=padded_s3prl / taken,
                peak_mib=peak[name, batch],
            )
        )
    return rows, rate


def _theirs(bench: Bench, reference: ReferenceModel, batch: int, wavs: Sequence[Tensor]) -> None:
    kind = torch.device(bench.device).type
    for some in batches(wavs, batch):
        with torch.autocast(kind, torch.bfloat16, enabled=bench.precision == "bf16"):
            reference(some)


def _ours(bench: Bench, batch: int, wavs: Sequence[Tensor]) -> None:
    for some in batches(sorted(wavs, key=len, reverse=True), batch):
        wavs_padded = torch.nn.utils.rnn.pad_sequence(list(some), batch_first=True)
        lengths = torch.tensor([len(w) for w in some])
        run_until_exit(bench.upstream.backbone, wavs_padded, lengths, Exit((bench.depth,)))


def batches(wavs: Sequence[Tensor], size: int) -> list[Sequence[Tensor]]:
    return [wavs[i : i + size] for i in range(0, len(wavs), size)]
