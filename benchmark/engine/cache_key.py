"""The name of a feature cache: a hash of all that its numbers depend on, and of nothing else."""

import ast
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..audio import RESAMPLER
from ..contract import Item, Upstream
from .cache_layout import pieces

VERSION = 4  # of the pass and of its files; part of the key


def about(upstream: Upstream, items: Sequence[Item], device: str, keep: str) -> dict[str, Any]:
    """All that the numbers of a feature cache depend on, and nothing else.

    The audio is known by path, place, size and time of change, so that asking opens no file. The
    front-end's policy and every other option are in the upstream's name; code and weights count as
    they are, whatever the card says.
    """
    files = {path: path.stat() for path in dict.fromkeys(item.path for item in items)}
    audio = [
        (str(i.path), i.start, i.samples, files[i.path].st_size, files[i.path].st_mtime_ns)
        for i in pieces(items)[0]
    ]
    return {
        "format": VERSION,
        "upstream": upstream.card.name,
        "revision": upstream.card.revision,
        "evidence": upstream.card.evidence,
        "exits": list(upstream.exits),
        "weights": _weights(upstream),
        "code": _code(upstream),
        "device": torch.device(device).type,
        "keep": keep,
        "resampler": RESAMPLER,
        "dtype": {"states": "float16", "means": "float32"}.get(keep, "as given"),
        "audio": _hash(json.dumps(audio).encode()),
    }


def key(known: Mapping[str, Any]) -> str:
    """16 hexadecimal digits."""
    return _hash(json.dumps(known, sort_keys=True).encode())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _weights(upstream: Upstream) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in upstream.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _code(upstream: Upstream) -> str:
    """A hash of the files that define the upstream's own modules (torch's are not among them), as
    the interpreter sees them: comments, docstrings and layout change no number.
    """
    classes = {kind for module in upstream.modules() for kind in type(module).__mro__} - {object}
    own = {kind for kind in classes if kind.__module__.split(".")[0] != "torch"}
    files = sorted({file for kind in own if (file := inspect.getsourcefile(kind))})
    return _hash("".join(_parsed(Path(file)) for file in files).encode())


def _parsed(file: Path) -> str:
    """A Python file as a syntax tree without docstrings."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if documented and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
