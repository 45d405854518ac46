"""Reading an encoder's tensors from every place that publishes them, under the names used there.

One function a format: our safetensors, pickled state dicts (torchaudio, fairseq, s3prl, WavLM's
authors) and torchaudio bundles; Hugging Face folders and ids are in hugging_face.py. Nothing that a
file holds is ever executed: safetensors, or torch.load(weights_only=True).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...benchmark.errors import UsageError, first_line, require
from .hubert_shape import HubertShape
from .hugging_face import hugging_face
from .shared_tensors import with_shared
from .torchaudio_bundle import bundle
from .transformer import TEMPERATURE

FAMILIES = {  # fairseq's names of models: upstreams of this project
    "hubert": "hubert",
    "hubert_ctc": "hubert",
    "wav2vec2": "wav2vec2",
    "data2vec_audio": "data2vec",
}
# fields of fairseq's configurations of the model and of the task -> ours
MODEL_FIELDS = {"encoder_attention_heads": "heads", "layer_norm_first": "pre_norm"}
# what the configuration of s3prl's distiller means where it does not say so
DISTILLER = {"encoder_attention_heads": 12, "layer_norm_first": False}
TASK_FIELDS = {"normalize": "normalise_wav"}
STATES = ("model_weight", "model", "state_dict", "Distiller")  # s3prl, fairseq, Lightning, s3prl


def read(source: str) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """Tensors by the names that the source gives them, and the fields of HubertShape that its
    configuration states; as `family` the upstream that such a model is of, where it states that.

    Args:
        source: as `hubert_weights.load` takes it, except "random".
    Raises:
        UsageError: no known format, a damaged file, another network.
        MachineError: it is not on this machine and cannot be downloaded.
    """
    if source.startswith("torchaudio:"):
        return _bundle(source.removeprefix("torchaudio:"))
    path = Path(source).expanduser()
    if path.suffix in READERS:
        if not path.is_file():
            raise UsageError(f"weights: there is no file {path}")
        return READERS[path.suffix](path)
    if path.is_dir() or re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", source):
        return hugging_face(source)
    raise UsageError(
        f"weights: {source} is no folder, no Hugging Face id and no file that ends in "
        f"{', '.join(READERS)}"
    )


def safetensors_of(path: Path, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, and the strings of its header.

    Args:
        what: is read, as the sentence about a damaged file begins.
    Raises: UsageError: it is no such file, or a damaged one.
    """
    safetensors = require("safetensors", "reading weights")
    try:
        with safetensors.safe_open(path, "pt") as file:
            # safe_open is no mapping
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except Exception as error:  # a damaged file may fail in any way
        raise UsageError(
            f"{what}: {path} cannot be read as safetensors ({first_line(error)}); copy it again"
        ) from error


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, said = safetensors_of(path, "weights")
    try:
        facts = json.loads(said.get("shape", "{}"))  # files of other tools do not state it
        HubertShape(**facts)
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(
            f"weights: {path} states no shape of a HuBERT ({first_line(error)}); copy it again"
        ) from error
    return with_shared(tensors, said, path, safetensors_of), facts


def _numpy_scalars() -> list[Any]:
    """What a pickled numpy number consists of, such as the best loss that a trainer keeps beside
    the weights. None of it runs code of the file."""
    scalar = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = {type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdg"}
    return [*((scalar, name) for name in names), (np.dtype, "numpy.dtype"), np.dtype, *kinds]


def _pickled(path: Path) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            blob = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may fail in any way
        refused = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
        if refused:
            raise UsageError(
                f"weights: {path} holds a pickled {refused[1]}, which only foreign code could "
                "read, and none is run here; convert a fairseq checkpoint once where fairseq is "
                "installed (python -m s3prl.upstream.hubert.convert FILE --output_dir DIR), or "
                "save the state dict alone"
            ) from error
        raise UsageError(
            f"weights: {path} is no PyTorch checkpoint or a damaged one ({first_line(error)})"
        ) from error
    blob = blob if isinstance(blob, Mapping) else {}
    state = next((blob[k] for k in STATES if isinstance(blob.get(k), Mapping)), blob)
    tensors = {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, Tensor)}
    return tensors, _of_fairseq(blob, path)


def _of_fairseq(blob: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What the configuration in a checkpoint of fairseq, s3prl or WavLM's authors states; nothing
    where there is none.
    """
    cfg = blob["cfg"] if isinstance(blob.get("cfg"), Mapping) else {}
    if "encoder_attention_heads" in cfg:  # WavLM's: model and task in one
        cfg = {"model": cfg, "task": cfg}
    model, task = (
        next((x for x in (blob.get(f"{part}_cfg"), cfg.get(part)) if isinstance(x, Mapping)), {})
        for part in ("model", "task")
    )
    config = blob["Config"] if isinstance(blob.get("Config"), Mapping) else {}
    if isinstance(config.get("distiller"), Mapping):  # s3prl's
        model = DISTILLER | config["distiller"]
    for name, known, what in (
        ("logit_temp", TEMPERATURE, "softmax temperature"),
        ("activation_fn", "gelu", "activation"),
    ):
        if model.get(name, known) != known:
            raise UsageError(
                f"weights: {path} has the {what} {model[name]}; the network here knows {known} only"
            )
    facts = {ours: model[theirs] for theirs, ours in MODEL_FIELDS.items() if theirs in model}
    facts |= {ours: task[theirs] for theirs, ours in TASK_FIELDS.items() if theirs in task}
    if model.get("relative_position_embedding") and isinstance(model.get("max_distance"), int):
        facts["max_distance"] = model["max_distance"]
    if isinstance(model.get("conv_feature_layers"), str):
        facts |= _convolutions(model["conv_feature_layers"])
    if model.get("_name") in FAMILIES:
        facts["family"] = FAMILIES[model["_name"]]
    return facts


def _convolutions(text: str) -> dict[str, tuple[int, ...]]:
    """ "[(512,10,5)] + [(512,3,2)] * 4 + ..." of (channels, kernel, stride) -> both of the latter;
    never evaluated.
    """
    found: list[tuple[str, str]] = []
    for inner, times in re.findall(r"\[([^\]]*)\](?:\s*\*\s*(\d+))?", text):
        pairs = re.findall(r"\(\s*\d+\s*,\s*(\d+)\s*,\s*(\d+)\s*\)", inner)
        found += pairs * int(times or 1)
    if not found:
        return {}
    kernels, strides = zip(*found, strict=True)
    return {"kernels": tuple(map(int, kernels)), "strides": tuple(map(int, strides))}


READERS = {
    ".safetensors": _safetensors,
    ".pt": _pickled,
    ".pth": _pickled,
    ".ckpt": _pickled,
    ".bin": _pickled,
}


def _bundle(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    _, model = bundle(name, "weights: ")
    block = getattr(model, "model", model).encoder.transformer.layers[0]
    facts = {
        # the others are wav2vec 2.0, whatever they are called
        "family": next((of for of in ("hubert", "wavlm") if of in name.lower()), "wav2vec2"),
        "heads": block.attention.num_heads,
        "pre_norm": block.layer_norm_first,
        "normalise_wav": bool(getattr(model, "normalize_waveform", False)),
    }
    if hasattr(block.attention, "max_distance"):
        facts["max_distance"] = block.attention.max_distance
    return model.state_dict(), facts
