"""Reading HuBERT's tensors from every place that publishes them, under the names used there.

One function a format: our safetensors, pickled state dicts (torchaudio, fairseq, s3prl), torchaudio
bundles, Hugging Face folders and ids. Nothing that a file holds is ever executed: safetensors, or
torch.load(weights_only=True).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...benchmark.errors import MachineError, UsageError, did_you_mean, require
from .hubert_shape import KERNELS, STRIDES, HubertShape
from .parameter_names import UNUSED, some
from .transformer import TEMPERATURE

# what a Hugging Face configuration must say, because HubertNet has no other
HUGGING_FACE = {
    "conv_kernel": KERNELS,
    "conv_stride": STRIDES,
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    # what HubertNet does
    "layer_norm_eps": 1e-5,
    "conv_pos_batch_norm": False,
    "feat_proj_layer_norm": True,
}


def read(source: str) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """Tensors by the names that the source gives them, and the fields of HubertShape that its
    configuration states.

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
        return _hugging_face(source)
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
            f"{what}: {path} cannot be read as safetensors ({_first_line(error)}); copy it again"
        ) from error


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, said = safetensors_of(path, "weights")
    try:
        facts = json.loads(said.get("shape", "{}"))  # files of other tools do not state it
        HubertShape(**facts)
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(
            f"weights: {path} states no shape of a HuBERT ({_first_line(error)}); copy it again"
        ) from error
    return tensors, facts


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
            f"weights: {path} is no PyTorch checkpoint or a damaged one ({_first_line(error)})"
        ) from error
    blob = blob if isinstance(blob, Mapping) else {}
    cfg = blob["cfg"] if isinstance(blob.get("cfg"), Mapping) else {}
    model, task = (
        next((x for x in (blob.get(f"{part}_cfg"), cfg.get(part)) if isinstance(x, Mapping)), {})
        for part in ("model", "task")
    )
    if model.get("logit_temp", TEMPERATURE) != TEMPERATURE:
        raise UsageError(
            f"weights: {path} has the softmax temperature {model['logit_temp']}; HubertNet's is "
            f"{TEMPERATURE}"
        )
    known = (
        (model, "encoder_attention_heads", "heads"),
        (model, "layer_norm_first", "pre_norm"),
        (task, "normalize", "normalise_wav"),
    )
    facts = {ours: said[theirs] for said, theirs, ours in known if theirs in said}
    state = next(
        # s3prl, fairseq, Lightning
        (
            blob[k]
            for k in ("model_weight", "model", "state_dict")
            if isinstance(blob.get(k), Mapping)
        ),
        blob,
    )
    return {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, Tensor)}, facts


READERS = {
    ".safetensors": _safetensors,
    ".pt": _pickled,
    ".pth": _pickled,
    ".ckpt": _pickled,
    ".bin": _pickled,
}


def _bundle(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    pipelines = require("torchaudio.pipelines", "a torchaudio bundle", "torchaudio")
    known = [n for n in dir(pipelines) if n.startswith(("HUBERT", "WAV2VEC2"))]
    if name not in known:
        raise UsageError(f"weights: torchaudio has no bundle {name!r}: {did_you_mean(name, known)}")
    try:
        model = getattr(pipelines, name).get_model(dl_kwargs={"weights_only": True})
    except (OSError, RuntimeError) as error:
        raise MachineError(
            f"weights: torchaudio:{name} is not here and its download failed "
            f"({_first_line(error)}); name a local file instead (a .pth with its state dict, or a "
            "Hugging Face folder)"
        ) from error
    block = getattr(model, "model", model).encoder.transformer.layers[0]
    return model.state_dict(), {
        "heads": block.attention.num_heads,
        "pre_norm": block.layer_norm_first,
        "normalise_wav": bool(getattr(model, "normalize_waveform", False)),
    }


def _hugging_face(source: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    transformers = require("transformers", "a Hugging Face model", "hf")
    folder = Path(source).expanduser()
    where = folder if folder.is_dir() else source
    for local in (True, False):  # what is on disk already needs no network
        try:
            config = transformers.AutoConfig.from_pretrained(where, local_files_only=local)
            _check_config(config, source)
            # safetensors where there are any, else the .bin files of the published Base model
            model, info = transformers.AutoModel.from_pretrained(
                where,
                config=config,
                local_files_only=local,
                weights_only=True,
                output_loading_info=True,
            )
            break
        except UsageError:
            raise
        except Exception as error:
            # no network, no such model, a damaged file: each fails in another way
            if folder.is_dir():
                raise UsageError(
                    f"weights: {source} is not a whole Hugging Face folder ({_first_line(error)})"
                ) from error
            if not local:
                raise MachineError(
                    f"weights: {source} is not here and its download failed "
                    f"({_first_line(error)}); name a local folder instead, fetched where there is "
                    f"a network: hf download {source} --local-dir DIR"
                ) from error
    # transformers has filled these with random values
    absent = [k for k in info["missing_keys"] if not k.startswith(UNUSED)]
    if absent:
        raise UsageError(f"weights: {source} lacks {some(absent)}")
    facts = {"heads": config.num_attention_heads, "pre_norm": config.do_stable_layer_norm}
    return model.state_dict(), facts


def _check_config(config: Any, source: str) -> None:
    """UsageError where a Hugging Face configuration is of another network than HubertNet."""
    if config.model_type not in ("hubert", "wav2vec2"):
        raise UsageError(
            f"weights: {source} holds a {config.model_type}, not a HuBERT or wav2vec 2.0"
        )
    for name, value in HUGGING_FACE.items():
        theirs = getattr(config, name, value)
        theirs = tuple(theirs) if isinstance(theirs, list) else theirs
        if theirs != value:
            raise UsageError(f"weights: {source} has {name} {theirs}; HubertNet's is {value}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
