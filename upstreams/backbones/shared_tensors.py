"""Tensors that a file leaves out because a shipped one holds them: a student whose convolutions
stayed its teacher's, a model of which the blocks alone were tuned.

Beside its tensors such a file says in its metadata which file of `upstreams/` has the others, which
they are, and their digest: of other weights nothing is taken.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...benchmark.errors import UsageError

SHIPPED = Path(__file__).parents[1]
SHARED = "shared"  # the key of the metadata
Tensors = dict[str, Tensor]
Reader = Callable[[Path, str], tuple[Tensors, dict[str, str]]]


def without_shared(tensors: Tensors, model: str, read: Reader) -> tuple[Tensors, dict[str, str]]:
    """What is left of `tensors` (fp16) without those of a shipped model, and the metadata that
    says so; everything, and nothing, where no model of that name is shipped.
    """
    shipped = SHIPPED / f"{model}.safetensors"
    theirs = read(shipped, "weights")[0] if shipped.is_file() else {}
    names = [k for k, v in tensors.items() if k in theirs and torch.equal(v, theirs[k])]
    if not names:
        return tensors, {}
    # of theirs, which is what a reader has: -0 equals 0 in other bits
    said = {"file": shipped.name, "names": names, "digest": _digest(theirs, names)}
    return {k: v for k, v in tensors.items() if k not in names}, {SHARED: json.dumps(said)}


def with_shared(tensors: Tensors, metadata: Mapping[str, str], path: Path, read: Reader) -> Tensors:
    """All tensors of a file: its own, and those that its metadata says a shipped one holds.

    Raises:
        UsageError: the shipped one is another by now, or the metadata is damaged.
    """
    if SHARED not in metadata:
        return tensors
    try:
        said = json.loads(metadata[SHARED])
        names, digest, file = said["names"], said["digest"], Path(said["file"]).name
        theirs = read(SHIPPED / file, "weights")[0]
        shared = {name: theirs[name] for name in names}
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"weights: {path} does not say which tensors it shares with a shipped model; copy it "
            "again"
        ) from error
    if _digest(shared, names) != digest:
        raise UsageError(
            f"weights: {path} was made from other weights than {file} holds now; train it again"
        )
    return tensors | shared


def _digest(tensors: Mapping[str, Tensor], names: list[str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(name.encode() + tensors[name].half().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
