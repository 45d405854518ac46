"""Models of Hugging Face: a folder, or an id that is on this machine or can be downloaded.

transformers reads the tensors, from safetensors where there are any, whole or sharded; what it
would fill with random values is refused. How a model wants to hear its audio stands beside its
weights, in preprocessor_config.json.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from ...benchmark.audio import SAMPLE_RATE
from ...benchmark.errors import UsageError, first_line, require
from .hub import from_hub
from .parameter_names import UNUSED, some

FAMILIES = {  # of its models: upstreams of this project
    "hubert": "hubert",
    "wav2vec2": "wav2vec2",
    "wavlm": "wavlm",
    "data2vec-audio": "data2vec",
}
# what a configuration must say, because the network has no other
REQUIRED = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
    "adapter_attn_dim": None,
}
# fields of a configuration -> ours
FIELDS = {
    "num_attention_heads": "heads",
    "do_stable_layer_norm": "pre_norm",
    "conv_kernel": "kernels",
    "conv_stride": "strides",
    "feat_proj_layer_norm": "feature_norm",
    "conv_pos_batch_norm": "pos_batch_norm",
    "max_bucket_distance": "max_distance",
}
# files that state how a model hears; transformers 5 writes the latter for fine-tuned ones
EXTRACTORS = ("preprocessor_config.json", "processor_config.json")
OURS = re.compile(r"(^|\.)(encoder|feature_extractor|feature_projection)\.")


def hugging_face(source: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """As `checkpoint_formats.read`, of a folder or an id."""
    transformers = require("transformers", "a Hugging Face model", "hf")

    def loaded(where: Path | str, how: dict[str, bool]) -> tuple[Any, dict, dict[str, Any]]:
        config = transformers.AutoConfig.from_pretrained(where, **how)
        facts = _of_config(config, source) | _heard(where, source, how["local_files_only"])
        model, info = transformers.AutoModel.from_pretrained(
            where, config=config, weights_only=True, output_loading_info=True, **how
        )
        return model, info, facts

    model, info, facts = from_hub(source, f"weights: {source}", loaded)
    _refuse_gaps(info["missing_keys"], info["unexpected_keys"], source)
    return model.state_dict(), facts


def _of_config(config: Any, source: str) -> dict[str, Any]:
    """What a configuration states; UsageError where it is of another network."""
    if config.model_type not in FAMILIES:
        raise UsageError(
            f"weights: {source} holds a {config.model_type}, none of {', '.join(FAMILIES)}; what "
            f"does not step here runs whole: --upstream hf:{source}"
        )
    for name, value in REQUIRED.items():
        theirs = getattr(config, name, value)
        if theirs != value:
            raise UsageError(
                f"weights: {source} has {name} {theirs}; the network here knows {value} only"
            )
    facts = {ours: getattr(config, name) for name, ours in FIELDS.items() if hasattr(config, name)}
    return facts | {"family": FAMILIES[config.model_type]}


def _heard(where: Path | str, source: str, local: bool) -> dict[str, Any]:
    """`normalise_wav`, as the feature extractor's file states it; nothing where there is none.

    Raises:
        UsageError: it states another sample rate, or is damaged.
    """
    paths = (beside(where, name, local) for name in EXTRACTORS)
    path = next((path for path in paths if path is not None), None)
    if path is None:
        return {}
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        said = said.get("feature_extractor", said)
        rate, normalise = said.get("sampling_rate", SAMPLE_RATE), said.get("do_normalize")
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(
            f"weights: {path.name} of {source} is damaged ({first_line(error)}); copy it again"
        ) from error
    if rate != SAMPLE_RATE:
        raise UsageError(
            f"weights: {source} hears {rate} samples a second ({path.name}), where everything here "
            f"is {SAMPLE_RATE}; choose a model that was trained on {SAMPLE_RATE}"
        )
    return {} if normalise is None else {"normalise_wav": bool(normalise)}


def beside(where: Path | str, name: str, local: bool) -> Path | None:
    """A file of the model; None where the model has none. LocalEntryNotFoundError where nobody
    here knows whether it has one.
    """
    if isinstance(where, Path):
        return where / name if (where / name).is_file() else None
    import huggingface_hub  # comes with transformers
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    known = huggingface_hub.try_to_load_from_cache(where, name)
    if isinstance(known, str):
        return Path(known)
    if known is not None:  # it was asked for once, and there was none
        return None
    try:
        return Path(huggingface_hub.hf_hub_download(where, name, local_files_only=local))
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError:
        return None


def _refuse_gaps(missing: Iterable[str], unexpected: Iterable[str], source: str) -> None:
    """UsageError where transformers has filled parameters with random values, or has left some of
    the network's own unread."""
    absent = [k for k in missing if not k.startswith(UNUSED)]
    if absent:
        raise UsageError(f"weights: {source} lacks {some(absent)}")
    unread = [k for k in unexpected if OURS.search(k)]
    if unread:
        raise UsageError(
            f"weights: {source} holds {some(unread)}, for which its config.json has no place"
        )
