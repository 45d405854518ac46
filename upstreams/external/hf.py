"""hf:ID - any audio encoder of transformers, from a folder or a Hugging Face id, as transformers
runs it.

All depths are computed at once. State k is `hidden_states[k]`. The audio goes through the feature
extractor that the model was published with, which normalises it where the model wants that. Of an
encoder and decoder (Whisper) the encoder is used; Whisper fills every utterance up to 30 s, which
is what it costs, and the frames of the padding are cut off.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...benchmark.audio import SAMPLE_RATE
from ...benchmark.errors import UsageError, listed, require
from ...benchmark.registry import as_type_of, spelled, upstreams
from ..backbones.hub import from_hub
from ..backbones.hugging_face import EXTRACTORS, beside
from ..backbones.whole_model import WholeModel, label

FULL = 30 * SAMPLE_RATE  # samples that Whisper fills up to
ID = r"[\w-][\w.-]*(/[\w-][\w.-]*)?"
UNUSED = ("masked_spec_embed",)  # a mask embedding may be missing: nothing is masked here


@upstreams.register("hf:")
class HuggingFace(WholeModel):
    """
    Args:
        model: a folder or an id.
        normalise: yes or no, whether the model hears audio of zero mean and unit variance; "" = as
            its preprocessor_config.json says.
    """

    def __init__(self, model: str = "", normalise: str = ""):
        transformers = require("transformers", "a Hugging Face model", "hf")
        folder = Path(model).expanduser()
        if not folder.is_dir() and not re.fullmatch(ID, model):
            raise UsageError(f"hf:{model} is no folder here and no Hugging Face id")
        net, extractor = _loaded(transformers, model)
        self._extractor = _hearing(transformers, extractor, model, normalise)
        config = net.config
        tuned = [
            a for a in config.architectures or () if not a.endswith(("Model", "ForPreTraining"))
        ]
        whisper = type(self._extractor).__name__ == "WhisperFeatureExtractor"
        net = net.get_encoder() if config.is_encoder_decoder else net
        name = label((folder.resolve() if folder.is_dir() else folder).name)
        super().__init__(
            net,
            spelled(f"hf:{name}", "", normalise=(normalise, "")),
            source=f"{type(net).__name__} of transformers",
            tuned_on=f"labels ({', '.join(tuned)})" if tuned else "transcripts" if whisper else "",
            frames=(320, 319) if whisper else None,
            heard=FULL if whisper else 0,
        )

    def all_states(self, wav: Tensor) -> list[Tensor]:
        if self.heard and len(wav) > self.heard:
            raise UsageError(f"{self.said} hears 30 s at most, not {len(wav) / SAMPLE_RATE:.1f} s")
        given = self._extractor(wav.cpu().numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        given = {name: value.to(wav.device) for name, value in given.items()}
        states = self.net(**given, output_hidden_states=True).hidden_states
        if not self.heard:
            return list(states)
        return [state[:, : (len(wav) + 319) // 320] for state in states]


def _loaded(transformers: Any, model: str) -> tuple[Any, Any]:
    """The model in float32 and its feature extractor, None where it has none."""

    def loaded(where: Path | str, how: dict[str, bool]) -> tuple[Any, Any]:
        config = transformers.AutoConfig.from_pretrained(where, **how)
        with torch.random.fork_rng(devices=[]):
            net, info = transformers.AutoModel.from_pretrained(
                where, config=config, weights_only=True, output_loading_info=True, **how
            )
        hears = net.main_input_name
        if hears not in ("input_values", "input_features"):
            raise UsageError(
                f"hf:{model} is a {config.model_type}, which hears no audio but {hears}"
            )
        # transformers has filled these with random values
        absent = sorted(key for key in info["missing_keys"] if not key.endswith(UNUSED))
        if absent:
            raise UsageError(f"hf:{model} lacks weights: {listed(absent, 3)}")
        # some are stored in half precision
        return net.float(), _extractor(transformers, where, how)

    return from_hub(model, f"hf:{model}", loaded)


def _extractor(transformers: Any, where: Path | str, how: dict[str, bool]) -> Any:
    stated = (beside(where, name, how["local_files_only"]) for name in EXTRACTORS)
    if not any(stated):
        return None
    return transformers.AutoFeatureExtractor.from_pretrained(where, **how)


def _hearing(transformers: Any, extractor: Any, model: str, normalise: str) -> Any:
    """The feature extractor to use; UsageError where nothing says how the model hears."""
    if extractor is None and not normalise:
        raise UsageError(
            f"hf:{model} has no preprocessor_config.json, so nothing says whether it hears "
            "normalised audio; add --set normalise=yes or normalise=no"
        )
    extractor = extractor or transformers.Wav2Vec2FeatureExtractor()
    if extractor.sampling_rate != SAMPLE_RATE:
        raise UsageError(
            f"hf:{model} hears {extractor.sampling_rate} Hz, and every task here has 16 kHz"
        )
    if normalise and not hasattr(extractor, "do_normalize"):
        raise UsageError(
            f"hf:{model} hears the spectra of {type(extractor).__name__}: there is no waveform to "
            "normalise, leave the option out"
        )
    if normalise:
        extractor.do_normalize = as_type_of(True, normalise, f"hf:{model}: normalise")
    return extractor
