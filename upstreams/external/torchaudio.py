"""torchaudio:BUNDLE - HuBERT, wav2vec 2.0 and WavLM as torchaudio publishes and runs them.

All depths are computed at once. State 0 is what enters block 1, state k what `extract_features`
gives of block k (with a pre-norm model, before the final layer-norm).
"""

from typing import Any

import torch
from torch import Tensor

from ...benchmark.errors import MachineError, UsageError, did_you_mean, require
from ...benchmark.registry import upstreams
from ..backbones.whole_model import WholeModel


@upstreams.register("torchaudio:")
class Torchaudio(WholeModel):
    """
    Args:
        model: a Wav2Vec2Bundle's name in torchaudio.pipelines, such as WAVLM_BASE_PLUS.
    """

    def __init__(self, model: str = ""):
        net, labels = _loaded(model)
        source = f"torchaudio.pipelines.{model}"
        super().__init__(net, f"torchaudio:{model}", source, labels)

    def all_states(self, wav: Tensor) -> list[Tensor]:
        blocks = getattr(self.net, "model", self.net).encoder.transformer.layers
        entered: list[Tensor] = []
        hook = blocks[0].register_forward_pre_hook(lambda _, given: entered.append(given[0]))
        try:
            states, _ = self.net.extract_features(wav[None])
        finally:
            hook.remove()
        return [*entered, *states]


def _loaded(name: str) -> tuple[Any, str]:
    """The bundle's model, and the labels that it was tuned on."""
    pipelines = require("torchaudio.pipelines", "a torchaudio bundle", "torchaudio")
    bundles = {n: b for n, b in vars(pipelines).items() if isinstance(b, pipelines.Wav2Vec2Bundle)}
    if name not in bundles:
        raise UsageError(f"torchaudio has no bundle {name!r}: {did_you_mean(name, bundles)}")
    bundle = bundles[name]
    if bundle.sample_rate != 16_000:
        raise UsageError(
            f"torchaudio:{name} hears {bundle.sample_rate:g} Hz, and every task here has 16 kHz"
        )
    try:
        with torch.random.fork_rng(devices=[]):  # initial values, which are overwritten
            net = bundle.get_model(dl_kwargs={"weights_only": True})
    except (OSError, RuntimeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise MachineError(
            f"torchaudio:{name} is not here and its download failed ({said}); run this once where "
            "there is a network and copy ~/.cache/torch/hub, or use hf: with a local folder"
        ) from error
    tuned = isinstance(bundle, pipelines.Wav2Vec2ASRBundle)
    return net, "transcripts (a recognition bundle)" if tuned else ""
