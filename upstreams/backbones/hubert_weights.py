"""HuBERT's weights, wherever they are: one `load` for our own files and for every place
that publishes them.

Each source is read into a plain dictionary of tensors, its parameters take our names (those of
transformers), and what its tensors and its configuration say of the shape is held against the shape
asked for. Nothing that a file holds is ever executed: safetensors, or
torch.load(weights_only=True). The revision is a hash of the parameters, so one set of weights has
one revision, from whichever source it came. Only fairseq and s3prl checkpoints carry the
self-supervised head.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...benchmark.errors import MachineError, UsageError, did_you_mean, require
from ...benchmark.storage import atomic
from .hubert import KERNELS, STRIDES, TEMPERATURE, HubertNet, HubertShape

# Other conventions' names -> ours, applied in this order. No two conventions use one name for two
# things, so one table serves them all; fine-tuned models and torchaudio's wrapper for normalised
# waveforms put one word before every name.
RENAMES = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"^(model|hubert|wav2vec2)\.", ""),
        # torchaudio: hubert_base() and the like, hubert_pretrain_base() and the like
        (r"^encoder\.transformer\.", "encoder."),
        (r"^encoder\.feature_projection\.", "feature_projection."),
        (r"^logit_generator\.label_embeddings$", "head.label_embs_concat"),
        (r"^logit_generator\.final_proj\.", "head.final_proj."),
        # fairseq, and s3prl, which keeps its names
        (r"^(feature_extractor\.conv_layers\.\d+)\.0\.", r"\1.conv."),
        (r"^(feature_extractor\.conv_layers\.\d+)\.2\.(1\.)?", r"\1.layer_norm."),
        (r"^layer_norm\.", "feature_projection.layer_norm."),
        (r"^post_extract_proj\.", "feature_projection.projection."),
        (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
        (r"\.self_attn\.", ".attention."),
        (r"\.self_attn_layer_norm\.", ".layer_norm."),
        (r"\.fc1\.", ".feed_forward.intermediate_dense."),
        (r"\.fc2\.", ".feed_forward.output_dense."),
        (r"^(final_proj\.|label_embs_concat$)", r"head.\1"),
        # torch's older weight norm -> its newer one
        (r"\.weight_g$", ".parametrizations.weight.original0"),
        (r"\.weight_v$", ".parametrizations.weight.original1"),
    )
)
# mask embeddings, recognition heads
UNUSED = ("mask_emb", "masked_spec_embed", "mask_generator.", "aux.", "lm_head.")
# by a tag
PROMISED = (
    "dim",
    "depth",
    "heads",
    "ffn",
    "conv_dim",
    "conv_norm",
    "pos_kernel",
    "pos_groups",
    "pre_norm",
)
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


def load(source: str, shape: HubertShape, seed: int = 0) -> tuple[HubertNet, str]:
    """A network in evaluation mode, and its revision. The global random state is
    neither used nor moved.

    Args:
        source: "random" | our own FILE.safetensors | a Hugging Face folder or id (HubertModel,
            Wav2Vec2Model) | "torchaudio:HUBERT_BASE" | FILE.pt, .pth, .ckpt: a torchaudio state
            dict, a fairseq or s3prl checkpoint | the file alone of a Hugging Face folder.
        shape: what the caller's tag promises. Biases of the convolutions and the size of the head
            are the source's own; a bare state dict says nothing of `heads`, `pre_norm` and
            `normalise_wav`, Hugging Face nothing of the last.
        seed: of random weights.
    """
    with torch.random.fork_rng(devices=[]):
        if source == "random":
            # torch.manual_seed would also reseed the accelerators
            torch.default_generator.manual_seed(seed)
            return HubertNet(shape).eval(), f"random-{seed}"
        state, facts = _read(source)
        state = _our_names(state)
        net = _filled(_shape(state, facts, shape, source), state, source)
    return net.eval(), content_hash(net)


def save(net: HubertNet, path: Path, dtype: torch.dtype = torch.float16, **metadata: str) -> None:
    """Our own format: the state dict as safetensors, the shape as JSON in its metadata."""
    write(net, path, dtype, shape=json.dumps(asdict(net.shape)), **metadata)


def write(
    module: nn.Module, path: Path, dtype: torch.dtype = torch.float16, **metadata: str
) -> None:
    """The parameters of `module` to `path`, whole or not at all."""
    safetensors = require("safetensors.torch", "writing weights")
    # not save_file, whose files only their owner may read
    data = safetensors.save(
        {k: v.to("cpu", dtype).contiguous() for k, v in module.state_dict().items()}, metadata
    )
    with atomic(path, durable=True) as beside:
        beside.write_bytes(data)


def content_hash(module: nn.Module) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of all parameters as float32, in the
    order of their names.
    """
    digest = hashlib.sha256()
    for _, value in sorted(module.state_dict().items()):
        digest.update(value.detach().cpu().float().contiguous().numpy())
    return digest.hexdigest()[:12]


def _read(source: str) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """The tensors under the source's own names, and the fields of HubertShape that its
    configuration states.
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


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    safetensors = require("safetensors", "reading weights")
    try:
        with safetensors.safe_open(path, "pt") as file:
            # others' files do not state it
            facts = json.loads((file.metadata() or {}).get("shape", "{}"))
            HubertShape(**facts)
            # safe_open is no mapping
            return {key: file.get_tensor(key) for key in file.keys()}, facts  # noqa: SIM118
    except Exception as error:  # a damaged file may fail in any way
        raise UsageError(
            f"weights: {path} cannot be read ({_first_line(error)}); copy it again"
        ) from error


def _pickled(path: Path) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    try:
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
    model, task = (blob.get(f"{part}_cfg") or cfg.get(part) or {} for part in ("model", "task"))
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
        (blob[k] for k in ("model_weight", "model") if isinstance(blob.get(k), Mapping)), blob
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
            if config.model_type not in ("hubert", "wav2vec2"):
                raise UsageError(
                    f"weights: {source} holds a {config.model_type}, not a HuBERT or wav2vec 2.0"
                )
            for name, value in HUGGING_FACE.items():
                theirs = getattr(config, name, value)
                if (tuple(theirs) if isinstance(theirs, list) else theirs) != value:
                    raise UsageError(
                        f"weights: {source} has {name} {theirs}; HubertNet's is {value}"
                    )
            # safetensors where there are any, else the .bin files, which the published Base model
            # has
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
            # no network, no such model, a damaged file: each fails in its own way
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
    # transformers has made up values for these
    absent = [k for k in info["missing_keys"] if not k.startswith(UNUSED)]
    if absent:
        raise UsageError(f"weights: {source} lacks {_some(absent)}")
    return model.state_dict(), {
        "heads": config.num_attention_heads,
        "pre_norm": config.do_stable_layer_norm,
    }


def _our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out = {}
    for key, value in state.items():
        for pattern, ours in RENAMES:
            key = pattern.sub(ours, key)
        if not key.startswith(UNUSED):
            out[key] = value
    conv = "encoder.pos_conv_embed.conv"
    # weight norm: one magnitude a kernel position, folded in
    if f"{conv}.parametrizations.weight.original1" in out:
        g, v = (out.pop(f"{conv}.parametrizations.weight.original{i}").float() for i in (0, 1))
        out[f"{conv}.weight"] = v * (g / v.norm(dim=(0, 1), keepdim=True))
    # fine-tuned models and wav2vec 2.0: a projection to nothing
    if "head.label_embs_concat" not in out:
        out = {k: v for k, v in out.items() if not k.startswith("head.")}
    return out


def _shape(
    state: Mapping[str, Tensor], facts: dict[str, Any], asked: HubertShape, source: str
) -> HubertShape:
    """The shape of what was read; it must be the one asked for in all that is promised."""
    try:
        dim, per_group, pos_kernel = state["encoder.pos_conv_embed.conv.weight"].shape
        found = {
            "dim": dim,
            "pos_kernel": pos_kernel,
            "pos_groups": dim // per_group,
            "depth": 1
            + max(int(k.split(".")[2]) for k in state if k.startswith("encoder.layers.")),
            "ffn": len(state["encoder.layers.0.feed_forward.intermediate_dense.weight"]),
            "conv_dim": len(state["feature_extractor.conv_layers.0.conv.weight"]),
            "conv_norm": "layer"
            if "feature_extractor.conv_layers.1.layer_norm.weight" in state
            else "group",
            "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in state,
        }
        if "head.label_embs_concat" in state:
            found["units"], found["unit_dim"] = state["head.label_embs_concat"].shape
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"weights: {source} holds no HuBERT under any names known here (no {error.args[0]})"
        ) from error
    found = replace(asked, **facts | found)
    wrong = [name for name in PROMISED if getattr(found, name) != getattr(asked, name)]
    if wrong:
        has, wants = (
            ", ".join(f"{name} {getattr(s, name)}" for name in wrong) for s in (found, asked)
        )
        raise UsageError(
            f"weights: {source} has {has} where {wants} was asked for; choose the tag that fits"
        )
    return found


def _filled(shape: HubertShape, state: Mapping[str, Tensor], source: str) -> HubertNet:
    with torch.device("meta"):  # no time for initial values that would be overwritten
        net = HubertNet(shape, with_head="head.label_embs_concat" in state)
    net.to_empty(device="cpu")
    wanted = net.state_dict()
    for what, names in (
        ("lacks", wanted.keys() - state.keys()),
        ("holds the unknown", state.keys() - wanted.keys()),
        (
            "has another size of",
            [k for k in wanted if k in state and wanted[k].shape != state[k].shape],
        ),
    ):
        if names:
            raise UsageError(f"weights: {source} {what} {_some(names)}")
    net.load_state_dict(state)
    return net


def _some(names: Iterable[str]) -> str:
    first, *others = sorted(names)
    return f"{first} and {len(others)} more" if others else first


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
