"""s3prl:NAME - any upstream of s3prl, and s3prl:path/to/expert.py - any expert file of that kind.

An expert is a class UpstreamExpert whose `forward` takes a list of (N,) waveforms and returns a
dictionary with "hidden_states". All depths are computed at once; state k is `hidden_states[k]`. A
file may import from its own folder (`from .model import ...`) and, as one inside s3prl may, from
s3prl (`from ..interfaces import UpstreamBase`). Small models with layers of their own are published
in this form, such as FitHuBERT (Lee et al., 2022, arXiv:2207.00555) and ARMHuBERT (Jang et al.,
2023, arXiv:2305.11685).
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from ...benchmark.errors import UsageError
from ...benchmark.registry import spelled, upstreams
from ...benchmark.s3prl_compat import s3prl_manners
from ..backbones.measuring import VERIFIED
from ..backbones.s3prl_expert import built
from ..backbones.whole_model import WholeModel, label

FEATURES = ("hidden_states", "last_hidden_state")
LOST = 3  # frames that convolutions and a halved rate may cost beside a rounded-up count


@upstreams.register("s3prl:")
class S3prl(WholeModel):
    """
    Args:
        model: a name of s3prl, such as fbank or hubert_local, or the path of an expert file.
        ckpt: the checkpoint, where the name or the file takes one (s3prl's -k).
        model_config: the YAML file that is given beside it, where it takes one (s3prl's -g).
        feature: which of its outputs is read, hidden_states or last_hidden_state (s3prl's -s).
    """

    # as s3prl's S3PRLUpstream does: some of its spectra cut digital silence off the end
    repeats_last = True

    def __init__(
        self, model: str = "", ckpt: str = "", model_config: str = "", feature: str = FEATURES[0]
    ):
        if feature not in FEATURES:
            raise UsageError(f"s3prl: feature is {' or '.join(FEATURES)}, not {feature!r}")
        self._feature = feature
        given = {"ckpt": ckpt, "model_config": model_config}
        file = Path(model).expanduser().resolve()
        # a name of s3prl has no hyphen
        name = label(f"{file.parent.name}-{file.stem}") if file.suffix == ".py" else model
        with s3prl_manners():
            expert = built(model, {option: path for option, path in given.items() if path})
        source = f"{name}, an expert of s3prl's kind" if file.suffix == ".py" else f"s3prl's {name}"
        options = {option: (path, "") for option, path in given.items()}
        shown = spelled(f"s3prl:{name}", "", **options, feature=(feature, FEATURES[0]))
        super().__init__(expert, shown, source)

    def all_states(self, wav: Tensor) -> Sequence[Tensor]:
        with s3prl_manners():
            given = self.net([wav])
        if not isinstance(given, dict) or self._feature not in given:
            raise UsageError(f"{self.said}: its forward returns no dictionary with {self._feature}")
        states = given[self._feature]
        if self._feature == "last_hidden_state":
            return [states]
        if not all(map(torch.is_tensor, states)) and "last_hidden_state" in given:
            raise UsageError(
                f"{self.said}: its hidden_states are no tensors; read its output alone: "
                "--set feature=last_hidden_state"
            )
        return states

    def frame_rule(self) -> tuple[int, int]:
        """Measured; where the frames of a shortened time are doubled again, as an expert states it
        (`get_downsample_rates`), rounded up, as S3PRLUpstream has it."""
        try:
            return super().frame_rule()
        except UsageError:
            stated = None
            with suppress(Exception):  # a stranger's code may fail in any way
                stated = self.net.get_downsample_rates(self._feature)
            if not isinstance(stated, int) or stated < 1:
                raise
            lost = [-(-n // stated) - len(self._some(n)[0]) for n in VERIFIED]
            if min(lost) < 0 or max(lost) > LOST:
                raise
            return stated, stated - 1
