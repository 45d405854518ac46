"""An encoder's weights: `load` from our files and from every place that publishes them, `save` to
ours.

Each source is read into a plain dictionary of tensors (`checkpoint_formats.py`), its parameters are
renamed to ours (`parameter_names.py`), and the shape that its tensors and its configuration state
is compared with the shape asked for (`checkpoint_shape.py`). The revision is a hash of the
parameters, so one set of weights has one revision, from whichever source it came. Only fairseq and
s3prl checkpoints carry the self-supervised head.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from ...benchmark.errors import UsageError, require
from ...benchmark.storage import atomic
from .checkpoint_formats import read, safetensors_of
from .checkpoint_shape import PROMISED, elsewhere, found_shape
from .hubert import HubertNet
from .hubert_shape import HubertShape
from .parameter_names import family_of, our_names, some
from .shared_tensors import without_shared


def load(
    source: str,
    shape: HubertShape,
    seed: int = 0,
    family: str = "",
    promised: Sequence[str] = PROMISED,
) -> tuple[HubertNet, str]:
    """A network in evaluation mode, and its revision. The global random state is neither used nor
    changed.

    Args:
        source: "random" | our FILE.safetensors | a Hugging Face folder or id |
            "torchaudio:HUBERT_BASE" | FILE.pt, .pth, .ckpt: a torchaudio state dict, a fairseq,
            s3prl or WavLM checkpoint | the file alone of a Hugging Face folder.
        shape: what the caller's tag promises. Biases and kernels of the convolutions, batch norm
            and the size of the head are the source's; a bare state dict does not state `heads`,
            `pre_norm`, `normalise_wav`, `strides` and `max_distance`, which are then the tag's.
        seed: of random weights.
        family: the upstream that the source must be of, where it says of which it is; "" = any.
        promised: the fields of `shape` that the source must have; others are the source's own.

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
        of = facts.pop("family", family_of(state) or family)
        if family and of != family:
            raise UsageError(
                f"weights: {source} holds a {of}, not a {family}; run it as --upstream {of}.TAG"
            )
        try:
            state = our_names(state)
        except (RuntimeError, IndexError) as error:  # a weight norm of two sizes
            raise UsageError(
                f"weights: {source} holds no HuBERT ({' '.join(str(error).split())[:200]})"
            ) from error
        net = _filled(found_shape(state, facts, shape, source, promised), state, source)
    return net.eval(), content_hash(net) + _unusual(net.shape)


def _unusual(shape: HubertShape) -> str:
    """What the same parameters are told to hear that such models as a rule are not."""
    if shape.normalise_wav == (shape.conv_norm == "layer"):
        return ""
    return "-normalised" if shape.normalise_wav else "-unnormalised"


def with_random_blocks(net: HubertNet, seed: int) -> HubertNet:
    """The convolutions and the projection of `net` under the random rest of another network."""
    other, _ = load("random", net.shape, seed)
    other.feature_extractor = net.feature_extractor
    other.feature_projection = net.feature_projection
    return other


def save(
    net: HubertNet,
    path: Path,
    dtype: torch.dtype = torch.float16,
    without: str = "",
    **metadata: str,
) -> None:
    """Our format: the state dict as safetensors, the shape as JSON in its metadata.

    Args:
        without: a shipped model whose tensors are not stored again (`shared_tensors.py`).
    """
    tensors, shared = without_shared(stored(net, dtype), without, safetensors_of)
    write_tensors(tensors, path, shared | {"shape": json.dumps(asdict(net.shape))} | metadata)


def write(
    module: nn.Module, path: Path, dtype: torch.dtype = torch.float16, **metadata: str
) -> None:
    """The parameters of `module` to a temporary file, which is then renamed to `path`.

    Args:
        dtype: in which parameters are stored.
        metadata: strings by name, kept in the file's header.
    """
    write_tensors(stored(module, dtype), path, metadata)


def stored(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    return {k: v.to("cpu", dtype).contiguous() for k, v in module.state_dict().items()}


def write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Tensors and the strings of the header, as `write` writes those of a module.

    Raises: UsageError: some are no numbers, or too large for their type.
    """
    broken = [name for name, t in tensors.items() if not bool(torch.isfinite(t).all())]
    if broken:
        more = f" and {len(broken) - 1} more" if broken[1:] else ""
        kind = str(tensors[broken[0]].dtype).removeprefix("torch.")
        raise UsageError(
            f"{path} is not written: {broken[0]}{more} would hold nan or infinity (as {kind}), so "
            "the training has diverged; begin it anew with a smaller rate, such as a tenth (--set "
            "lr=..., in another --out)"
        )
    safetensors = require("safetensors.torch", "writing weights")
    # not save_file, whose files only their owner may read
    data = safetensors.save(tensors, metadata)
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


def _filled(shape: HubertShape, state: Mapping[str, Tensor], source: str) -> HubertNet:
    """A network with the tensors of `state`; UsageError where names or sizes differ."""
    with torch.device("meta"):  # initial values would be overwritten
        net = HubertNet(shape, with_head="head.label_embs_concat" in state)
    net.to_empty(device="cpu")
    refuse_others(state, net.state_dict(), f"weights: {source}", elsewhere(source))
    net.load_state_dict(state)
    return net


def refuse_others(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str, mend: str = ""
) -> None:
    """UsageError where names, sizes or values are not those of the parameters wanted.

    Args:
        what: holds `state`, as the sentence begins; mend: how it ends.
    """
    other_size = [k for k in wanted if k in state and wanted[k].shape != state[k].shape]
    for fault, names in (
        ("lacks", wanted.keys() - state.keys()),
        ("holds the unknown", state.keys() - wanted.keys()),
        ("has another size of", other_size),
    ):
        if names:
            raise UsageError(f"{what} {fault} {some(names)}{mend}")
    refuse_values(state, what)


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
