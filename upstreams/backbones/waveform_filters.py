"""Filters that shorten a waveform before the network, and the files of trained ones.

Each method of Zaiem et al. (2023, arXiv:2303.06740) is one finite impulse response, taken at every
`factor`-th sample: `conv` learns its taps, `average` has equal ones, `resample` has those of the
project's own resampler (scipy.signal.resample_poly; theirs is torchaudio's).
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...benchmark.errors import UsageError
from .checkpoint_formats import safetensors_of
from .hubert_weights import content_hash, refuse_others

METHODS, FACTORS = ("conv", "average", "resample"), (2, 3, 4)
CONV_TAPS = 161  # of the learned convolution: 10 ms
AVERAGED = {2: 10, 3: 10, 4: 12}  # samples of a mean, by factor
AVERAGE_PADDING = 2
PARTS = "filter", "backbone"  # of a file: the taps, and the backbone where it was tuned


class ShorteningFilter(nn.Module):
    """One utterance (N,) -> (`heard(N)`,), at a `factor`-th of its rate.

    `conv` starts as the average, in the middle of its taps. It has no bias, which the
    normalisation of every backbone known here would remove.

    Attributes:
        learns: whether its taps do.
    """

    def __init__(self, method: str, factor: int):
        super().__init__()
        self.method, self.factor = method, factor
        taps, self.padding = _taps(method, factor)
        self.learns = method == "conv"
        self.weight = nn.Parameter(taps[None, None], requires_grad=self.learns)
        # samples below which there is no output: shorter audio is zero-padded
        self.shortest = len(taps) - 2 * self.padding

    @property
    def size(self) -> int:
        return self.weight.shape[-1]

    def heard(self, samples: Tensor) -> Tensor:
        """(B,) samples -> (B,) samples that come out, at least one."""
        return (samples.clamp(min=self.shortest) - self.shortest) // self.factor + 1

    def forward(self, wav: Tensor) -> Tensor:
        wav = F.pad(wav, (0, max(0, self.shortest - len(wav))))
        out = F.conv1d(wav[None, None], self.weight, stride=self.factor, padding=self.padding)
        return out[0, 0]


def _taps(method: str, factor: int) -> tuple[Tensor, int]:
    """The taps, and the zeros before and behind an utterance."""
    if method == "resample":  # as resample_poly chooses them, so that both give the same
        from scipy.signal import firwin

        half = 10 * factor
        taps = firwin(2 * half + 1, 1 / factor, window=("kaiser", 5.0))
        return torch.tensor(taps, dtype=torch.float32), half
    count = AVERAGED[factor]
    average = torch.full((count,), 1 / count)
    if method == "average":
        return average, AVERAGE_PADDING
    before = (CONV_TAPS - count) // 2
    return F.pad(average, (before, CONV_TAPS - count - before)), 0


def filter_of(kind: str, who: str) -> ShorteningFilter:
    """The filter that a word such as conv2 names, as it starts.

    Raises: UsageError: there is none of that method and factor; `who` asks.
    """
    said = re.fullmatch(r"([a-z]+)(\d)", kind)
    if not said or said[1] not in METHODS or int(said[2]) not in FACTORS:
        raise UsageError(
            f"{who}: shorten is {', '.join(METHODS)} with a factor of 2, 3 or 4, such as conv2, or "
            f"nothing for the full rate, not {kind!r}"
        )
    return ShorteningFilter(said[1], int(said[2]))


def load(source: str, kind: str, shorten: ShorteningFilter, backbone: nn.Module, known: str) -> str:
    """Fill `shorten`, and a tuned `backbone`, from a file; the revision of what it holds.

    Args:
        kind: of the filter, "conv2"; known: the revision of `backbone`. The file must be of both.
    Raises: UsageError: there is no such file, it is damaged, or it belongs to something else.
    """
    train = f"run_benchmark.py train downsampled.{kind} --preset tiny --data DIR --out DIR"
    state, made_for = _read(source, train)
    wanted = {"kind": kind, "backbone": known}
    for what, value in wanted.items():
        if made_for.get(what) != value:
            raise UsageError(
                f"downsampled: {source} was trained for the {what} {made_for.get(what)}, not "
                f"{value}; train one that is: {train}, or take the filter as it starts: --set "
                "trained=untrained"
            )
    parts = nn.ModuleDict(dict(zip(PARTS, (shorten, backbone), strict=True)))
    if not any(name.startswith(f"{PARTS[1]}.") for name in state):
        del parts[PARTS[1]]
    mend = f"; train it again: {train}"
    refuse_others(state, parts.state_dict(), f"downsampled: {source}", mend)
    parts.load_state_dict(state)
    return content_hash(parts)


def _read(source: str, train: str) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
    if not Path(source).is_file():
        raise UsageError(
            f"downsampled: there is no trained filter at {source}; train one: {train}, or take it "
            "as it starts: --set trained=untrained"
        )
    tensors, said = safetensors_of(Path(source), "downsampled")
    return {name: tensor.float() for name, tensor in tensors.items()}, said
