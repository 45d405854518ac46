"""The name of a feature cache: a hash of all that its numbers depend on, and of nothing else."""

import ast
import hashlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..audio import RESAMPLER
from ..contract import Item, Upstream
from .cache_layout import pieces

HOUSE = __name__.split(".")[0]
VERSION = 5  # of the pass and of its files; part of the key


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
        # in the first versions a GPU multiplied in TF32 (precision.py)
        **({} if torch.device(device).type == "cpu" else {"products": "float32"}),
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
    """A hash of the files that an upstream's numbers come from, as the interpreter sees them:
    comments, docstrings and layout change no number.
    """
    modules = (sys.modules[name] for name in modules_behind(upstream))
    # one that was made in memory has no file
    files = {inspect.getsourcefile(m) for m in modules if getattr(m, "__file__", None)}
    return _hash("".join(_parsed(Path(file)) for file in sorted(f for f in files if f)).encode())


def modules_behind(upstream: Upstream) -> set[str]:
    """The Python modules that define the upstream's own torch modules, and those of its package
    whose functions and classes they use; torch and the training of weights are not among them.
    """
    kinds = {kind for module in upstream.modules() for kind in type(module).__mro__} - {object}
    found = {kind.__module__ for kind in kinds if kind.__module__.split(".")[0] != "torch"}
    waiting = list(found)
    while waiting:
        user = waiting.pop()
        for value in vars(sys.modules[user]).values():
            name = getattr(value, "__module__", getattr(value, "__name__", None))
            if isinstance(name, str) and name not in found and _belongs(name, user):
                found.add(name)
                waiting.append(name)
    return found


def _belongs(name: str, user: str) -> bool:
    """Whether module `name`, which `user` imports from, can change what an upstream computes."""
    if name not in sys.modules or name.startswith(f"{HOUSE}.upstreams.training"):
        return False
    if name.split(".")[0] == HOUSE:
        return name == f"{HOUSE}.benchmark.masking" or name.startswith(f"{HOUSE}.upstreams.")
    return name.split(".")[0] == user.split(".")[0]


def _parsed(file: Path) -> str:
    """A Python file as a syntax tree without docstrings. A library's is taken as it is: nobody
    edits its comments, and there may be a hundred."""
    if "site-packages" in file.parts and HOUSE not in file.parts:
        return file.read_text(encoding="utf-8")
    return _tree(file.read_bytes())


@cache
def _tree(source: bytes) -> str:
    """Kept, since every run of a table asks for the same files."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if documented and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
