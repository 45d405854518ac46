"""A Conformer encoder as a stepping network: one block at a time, and padding never changes an
utterance.

Wright et al., 2023 (arXiv:2309.09546): a mel spectrum, two convolutions of stride 2 without a
non-linearity between them, sinusoidal positions, Conformer blocks. As `hubert.py` does, it runs
every utterance by itself and unpadded on a CPU, and a padded batch with a mask elsewhere and in
training. Matrices begin as in the authors' code, Xavier's uniform ones.

    conformer_shape.py   sizes, frames, multiply-accumulates
    log_mel.py           samples to mel spectra
    conformer_block.py   the blocks
"""

from collections.abc import Callable, Generator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .conformer_block import ConformerBlock
from .conformer_shape import KERNEL, ConformerShape, frame_counts, spectrum_frames
from .hubert import Parts, joined, selected, valid_frames
from .log_mel import MelSpectrum
from .positions import sinusoids

Changed = Callable[[Tensor, Tensor], Tensor]


def unchanged(spectrum: Tensor, frames: Tensor) -> Tensor:
    return spectrum


class ConformerNet(nn.Module):
    """Spectrum, convolutions, positions and blocks; weights are random.

    Attributes:
        spectrum: (B, N), (B,) -> (B, T, mels); see `MelSpectrum`.
        conformer_layers: the blocks, named as in torchaudio.models.Conformer; parallel_layers:
            those beside them, one for each of the shape's `parallel`.
    """

    def __init__(self, shape: ConformerShape):
        super().__init__()
        self.shape = shape
        self.spectrum = MelSpectrum(shape.mels, shape.features)
        widths = (shape.mels, *(shape.dim for _ in shape.strides))
        self.shorten = nn.ModuleList(
            nn.Conv1d(inputs, outputs, KERNEL, stride)
            for inputs, outputs, stride in zip(widths, widths[1:], shape.strides, strict=False)
        )
        self.dropout = nn.Dropout(shape.dropout)
        self.conformer_layers = nn.ModuleList(ConformerBlock(shape) for _ in range(shape.depth))
        self.parallel_layers = nn.ModuleList(ConformerBlock(shape) for _ in shape.parallel)
        for matrix in (p for p in self.parameters() if p.ndim > 1):
            nn.init.xavier_uniform_(matrix)

    def states(
        self, wavs: Tensor, lengths: Tensor, changed: Changed = unchanged
    ) -> Generator[Tensor, Tensor | None, None]:
        """Yield the (B, T, D) states of depth 0, 1, ..., L, as `Upstream.states` does.

        Args:
            wavs: (B, N) samples, zero-padded; lengths: (B,) valid samples.
            changed: of a (B, T', mels) spectrum and its (B,) valid frames what is heard instead;
                in a training, with parts of it masked.
        Send: the (B',) rows that continue; None continues with all.
        """
        learns = torch.is_grad_enabled() or self.training or changed is not unchanged
        alone = wavs.device.type == "cpu" and not learns
        longest = frame_counts(wavs.shape[1], self.shape)
        branches = zip(self.parallel_layers, self.shape.parallel, strict=True)
        beside = {to: (source, branch) for branch, (source, to) in branches}
        sources = {source for source, _ in beside.values()}
        kept: dict[int, Parts] = {}  # the states that a branch will read
        parts = self._front(wavs, lengths, alone, changed)
        for depth in range(self.shape.depth + 1):
            if depth:
                block = self.conformer_layers[depth - 1]
                parts = [(block(x, valid), valid) for x, valid in parts]
            if depth in beside:
                source, branch = beside[depth]
                parts = added(branch, parts, kept.pop(source))
            rows = yield joined(parts, longest)
            parts = selected(parts, rows, alone)
            kept = {source: selected(early, rows, alone) for source, early in kept.items()}
            if depth in sources:
                kept[depth] = parts

    def _front(self, wavs: Tensor, lengths: Tensor, alone: bool, changed: Changed) -> Parts:
        if alone:
            rows = zip(wavs, lengths.tolist(), strict=True)
            every = ((wav[None, :n], torch.tensor([n])) for wav, n in rows)
            return [(self.front(wav, n, changed), None) for wav, n in every]
        x, frames = self.front(wavs, lengths, changed), frame_counts(lengths.cpu(), self.shape)
        padded = not bool((frames == x.shape[1]).all())
        return [(x, valid_frames(x, frames) if padded else None)]

    def front(self, wavs: Tensor, lengths: Tensor, changed: Changed = unchanged) -> Tensor:
        """(B, N), (B,) -> (B, T, D): what enters block 1; `changed` as `states` takes it."""
        short = self.shape.shortest
        wavs, lengths = F.pad(wavs, (0, max(0, short - wavs.shape[1]))), lengths.clamp(min=short)
        x = changed(self.spectrum(wavs, lengths), spectrum_frames(lengths)).mT
        for convolution in self.shorten:
            x = convolution(x)  # no frame of an utterance reads behind its end: no zeros are added
        x = x.mT
        return self.dropout(x + sinusoids(x.shape[1], x))


def added(branch: nn.Module, parts: Parts, source: Parts) -> Parts:
    """`parts`, and what a branch makes of every other frame of `source`, repeated."""
    out = []
    for (x, valid), (before, _) in zip(parts, source, strict=True):
        few = branch(before[:, ::2], None if valid is None else valid[:, ::2])
        out.append((x + few.repeat_interleave(2, 1)[:, : x.shape[1]], valid))
    return out
