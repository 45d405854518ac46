"""torchaudio:BUNDLE - HuBERT, wav2vec 2.0 and WavLM as torchaudio publishes and runs them.

All depths are computed at once. State 0 is what enters block 1, state k what `extract_features`
gives of block k (with a pre-norm model, before the final layer-norm).
"""

from torch import Tensor

from ...benchmark.registry import upstreams
from ..backbones.torchaudio_bundle import bundle
from ..backbones.whole_model import WholeModel


@upstreams.register("torchaudio:")
class Torchaudio(WholeModel):
    """
    Args:
        model: a Wav2Vec2Bundle's name in torchaudio.pipelines, such as WAVLM_BASE_PLUS.
    """

    def __init__(self, model: str = ""):
        found, net = bundle(model)
        # only a bundle for recognition knows letters
        tuned = hasattr(found, "get_labels")
        super().__init__(
            net,
            f"torchaudio:{model}",
            source=f"torchaudio.pipelines.{model}",
            tuned_on="transcripts (a recognition bundle)" if tuned else "",
        )

    def all_states(self, wav: Tensor) -> list[Tensor]:
        blocks = getattr(self.net, "model", self.net).encoder.transformer.layers
        entered: list[Tensor] = []
        hook = blocks[0].register_forward_pre_hook(lambda _, given: entered.append(given[0]))
        try:
            states, _ = self.net.extract_features(wav[None])
        finally:
            hook.remove()
        return [*entered, *states]
