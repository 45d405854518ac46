"""An upstream behind a filter that shortens its input: fewer samples, so fewer frames."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from ...benchmark.contract import Upstream
from ...benchmark.contract.wrapper import WaveformTransform
from ...benchmark.registry import spelled
from .waveform_filters import ShorteningFilter


class Shortened(WaveformTransform):
    """`inner` behind a filter, each utterance by itself: padding and neighbours cannot enter.

    Args:
        trained: what the name says of its weights; revision: of them.
    """

    def __init__(
        self, inner: Upstream, shorten: ShorteningFilter, trained: str = "", revision: str = ""
    ):
        kind = f"{shorten.method}{shorten.factor}"
        super().__init__(
            inner,
            name=spelled(
                "downsampled",
                kind,
                backbone=(inner.card.name, "hubert.tiny"),
                trained=(trained, ""),
            ),
            revision="+".join(filter(None, (inner.card.revision, kind, revision))),
        )
        self.shorten, self.trained, self.revision = shorten, trained, revision
        self.card = replace(
            self.card,
            stride=shorten.factor * inner.card.stride,
            source=f"Zaiem et al., 2023, arXiv:2303.06740, around {inner.card.source}",
            kind="downsampled",
        )

    def around(self, inner: Upstream) -> "Shortened":
        return Shortened(inner, self.shorten, self.trained, self.revision).eval()

    def with_blocks(self, blocks: Sequence[int]) -> "Shortened":
        return self.around(self.inner.with_blocks(blocks))

    def heard(self, lengths: Tensor) -> Tensor:
        return self.shorten.heard(lengths)

    def transform(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        rows = zip(wavs, lengths.tolist(), strict=True)
        return nn.utils.rnn.pad_sequence([self.shorten(wav[:n]) for wav, n in rows], True)

    def transform_macs(self, samples: int) -> int:
        return self._heard(samples) * self.shorten.size
