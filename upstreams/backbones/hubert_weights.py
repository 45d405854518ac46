"""HuBERT's weights: `load` from our files and from every place that publishes them, `save` to ours.

Each source is read into a plain dictionary of tensors (`checkpoint_formats.py`), its parameters are
renamed to ours (`parameter_names.py`), and the shape that its tensors and its configuration state
is compared with the shape asked for. The revision is a hash of the parameters, so one set of
weights has one revision, from whichever source it came. Only fairseq and s3prl checkpoints carry
the self-supervised head.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...benchmark.errors import UsageError, require
from ...benchmark.storage import atomic
from .checkpoint_formats import read
from .hubert import HubertNet
from .hubert_shape import HubertShape
from .parameter_names import our_names, some

# fields that a tag promises
PROMISED = (
    *("dim", "depth", "heads", "ffn", "conv_dim", "conv_norm", "pos_kernel", "pos_groups"),
    "pre_norm",
)


def load(source: str, shape: HubertShape, seed: int = 0) -> tuple[HubertNet, str]:
    """A network in evaluation mode, and its revision. The global random state is neither used nor
    changed.

    Args:
        source: "random" | our FILE.safetensors | a Hugging Face folder or id (HubertModel,
            Wav2Vec2Model) | "torchaudio:HUBERT_BASE" | FILE.pt, .pth, .ckpt: a torchaudio state
            dict, a fairseq or s3prl checkpoint | the file alone of a Hugging Face folder.
        shape: what the caller's tag promises. Biases of the convolutions and the size of the head
            are the source's; a bare state dict does not state `heads`, `pre_norm` and
            `normalise_wav`, Hugging Face not the last.
        seed: of random weights.

    Raises:
        UsageError: the source is not what it is taken for, or has another shape.
        MachineError: it is not on this machine and cannot be downloaded.
    """
    with torch.random.fork_rng(devices=[]):
        if source == "random":
            # torch.manual_seed would also reseed the accelerators
            torch.default_generator.manual_seed(seed)
            return HubertNet(shape).eval(), f"random-{seed}"
        state, facts = read(source)
        try:
            state = our_names(state)
        except (RuntimeError, IndexError) as error:  # a weight norm of two sizes
            raise UsageError(
                f"weights: {source} holds no HuBERT ({' '.join(str(error).split())[:200]})"
            ) from error
        net = _filled(_shape(state, facts, shape, source), state, source)
    return net.eval(), content_hash(net)


def with_random_blocks(net: HubertNet, seed: int) -> HubertNet:
    """The convolutions and the projection of `net` under the random rest of another network."""
    other, _ = load("random", net.shape, seed)
    other.feature_extractor = net.feature_extractor
    other.feature_projection = net.feature_projection
    return other


def save(net: HubertNet, path: Path, dtype: torch.dtype = torch.float16, **metadata: str) -> None:
    """Our format: the state dict as safetensors, the shape as JSON in its metadata."""
    write(net, path, dtype, shape=json.dumps(asdict(net.shape)), **metadata)


def write(
    module: nn.Module, path: Path, dtype: torch.dtype = torch.float16, **metadata: str
) -> None:
    """The parameters of `module` to a temporary file, which is then renamed to `path`.

    Args:
        dtype: in which parameters are stored.
        metadata: strings by name, kept in the file's header.
    """
    safetensors = require("safetensors.torch", "writing weights")
    state = {k: v.to("cpu", dtype).contiguous() for k, v in module.state_dict().items()}
    data = safetensors.save(state, metadata)  # not save_file, whose files only their owner may read
    with atomic(path, durable=True) as temporary:
        temporary.write_bytes(data)


def content_hash(module: nn.Module) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of all parameters as float32, in the
    order of their names.
    """
    digest = hashlib.sha256()
    for _, value in sorted(module.state_dict().items()):
        digest.update(value.detach().cpu().float().contiguous().numpy())
    return digest.hexdigest()[:12]


def _shape(
    state: Mapping[str, Tensor], facts: dict[str, Any], asked: HubertShape, source: str
) -> HubertShape:
    """The shape of what was read; UsageError where a promised field differs from `asked`."""
    try:
        stated = _stated_by_tensors(state)
    except (KeyError, ValueError, TypeError, IndexError, ArithmeticError) as error:
        raise UsageError(
            f"weights: {source} holds no HuBERT under any names known here (no {error.args[0]})"
        ) from error
    found = replace(asked, **facts | stated)
    wrong = [name for name in PROMISED if getattr(found, name) != getattr(asked, name)]
    if wrong:
        has = ", ".join(f"{name} {getattr(found, name)}" for name in wrong)
        wants = ", ".join(f"{name} {getattr(asked, name)}" for name in wrong)
        raise UsageError(
            f"weights: {source} has {has} where {wants} was asked for; choose the tag that fits"
        )
    return found


def _stated_by_tensors(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of HubertShape that follow from the sizes of tensors. KeyError or ValueError where
    they are not a HuBERT's.
    """
    convolutions = "feature_extractor.conv_layers"
    dim, per_group, pos_kernel = state["encoder.pos_conv_embed.conv.weight"].shape
    last_block = max(int(k.split(".")[2]) for k in state if k.startswith("encoder.layers."))
    every_norm = f"{convolutions}.1.layer_norm.weight" in state
    stated = {
        "dim": dim,
        "pos_kernel": pos_kernel,
        "pos_groups": dim // per_group,
        "depth": 1 + last_block,
        "ffn": len(state["encoder.layers.0.feed_forward.intermediate_dense.weight"]),
        "conv_dim": len(state[f"{convolutions}.0.conv.weight"]),
        "conv_norm": "layer" if every_norm else "group",
        "conv_bias": f"{convolutions}.0.conv.bias" in state,
    }
    if "head.label_embs_concat" in state:
        stated["units"], stated["unit_dim"] = state["head.label_embs_concat"].shape
    return stated


def _filled(shape: HubertShape, state: Mapping[str, Tensor], source: str) -> HubertNet:
    """A network with the tensors of `state`; UsageError where names or sizes differ."""
    with torch.device("meta"):  # initial values would be overwritten
        net = HubertNet(shape, with_head="head.label_embs_concat" in state)
    net.to_empty(device="cpu")
    wanted = net.state_dict()
    other_size = [k for k in wanted if k in state and wanted[k].shape != state[k].shape]
    for what, names in (
        ("lacks", wanted.keys() - state.keys()),
        ("holds the unknown", state.keys() - wanted.keys()),
        ("has another size of", other_size),
    ):
        if names:
            raise UsageError(f"weights: {source} {what} {some(names)}")
    refuse_values(state, f"weights: {source}")
    net.load_state_dict(state)
    return net


def refuse_values(state: Mapping[str, Tensor], what: str) -> None:
    """UsageError where a tensor holds what no trained parameter is: nan, infinity, no fractions.

    Args:
        what: holds them, as the sentence begins.
    """
    whole = [name for name, tensor in state.items() if not tensor.is_floating_point()]
    if whole:
        raise UsageError(f"{what} holds whole numbers in {some(whole)}, not weights")
    broken = [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise UsageError(
            f"{what} holds nan or infinity in {some(broken)}; copy it again, or take an earlier "
            "checkpoint of its training"
        )
