"""One full-depth pass over a split, kept: the states and the evidence of every depth, from which
every exit is replayed.

Evidence is stored as computed (fp32), so a replayed exit is exactly the live one. States are stored
in fp16 and widened when read; the worst rounding error met is written in the manifest. Where the
states would not fit, only the evidence is kept and states are recomputed batch by batch, through
the same `batch` call.

What is kept beside the evidence depends on who reads it (`keep`):

    states    of every depth, for heads that read frames
    means     of each state over its valid frames, in fp32, as it is and layer-normed: a
              head that is linear up to such a mean gets the same logits and gradients from
              it as from all frames
    answers   at every depth that can be left at, exactly as given, of an upstream that answers by
              itself
    evidence  alone, where thresholds are all that is wanted

A trace is a folder named by a hash of all that its numbers depend on (`about`). `extract.py`
writes it; here it is found, checked and read, a batch at a time, so that memory does not
grow with the corpus.
"""

import ast
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..audio import RESAMPLER
from ..contract import Example, Item, Upstream
from ..errors import MachineError, UsageError
from ..exiting import layer_normed
from ..storage import cache_dir, locked
from .extract import extract, padded, pieces

VERSION = 4  # of the pass and of its files; part of the key


@dataclass(frozen=True)
class Batch:
    # layer-normed or not -> (depths, B, T, D), zeros where padded; T = 1 where pooled
    states: Mapping[bool, Tensor]
    frames: Tensor  # (B,)
    samples: Tensor  # (B,)


class FeatureCache:
    """What an upstream made of the items of one split, in their order."""

    def __init__(
        self,
        folder: Path,
        upstream: Upstream,
        items: Sequence[Item],
        load: Callable[[Item], Example],
        device: str,
    ):
        self.folder, self.upstream, self.items, self.load, self.device = (
            folder,
            upstream,
            items,
            load,
            device,
        )
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.depths = self.manifest["about"]["deepest"] + 1
        self.piece = pieces(items)[1]
        # (n, 3): shard, first row in it, rows
        self.index: np.ndarray = np.load(folder / "index.npy")[self.piece]
        # (n, E), nan where there is none
        self.evidence: np.ndarray = np.load(folder / "evidence.npy")[self.piece]
        self.kept, self.keep = self.manifest["kept"], self.manifest["about"]["keep"]
        for shard in self.manifest["shards"] if self.kept else ():
            path = folder / shard["file"]
            found = path.stat().st_size if path.exists() else 0
            if found != shard["bytes"]:
                raise UsageError(
                    f"the trace {folder} is damaged: {path.name} has {found} bytes of "
                    f"{shard['bytes']}; remove it with run_benchmark.py cache rm {folder.name} and "
                    "repeat the command, which records it again"
                )

    def batch(self, rows: Sequence[int]) -> Batch:
        """The states of some items, padded to the longest of them."""
        samples = torch.tensor([self.items[i].samples for i in rows], device=self.device)
        if self.kept and self.keep == "means":
            plain, normed = torch.from_numpy(np.stack([self._stored(i)[0] for i in rows], 2)).to(
                self.device
            )[:, :, :, None]
            return Batch({False: plain, True: normed}, torch.ones_like(samples), samples)
        states, frames = self._widened(rows) if self.kept else self._recomputed(rows)
        return Batch({False: states, True: layer_normed(states)}, frames, samples)

    def answer(self, row: int, depth: int) -> Tensor:
        """What one item was answered at a depth, as recorded; of a trace that keeps answers."""
        shard = self.manifest["shards"][int(self.index[row, 0])]
        with np.load(self.folder / shard["file"]) as answers:
            return torch.from_numpy(answers[f"{self.piece[row]}.{depth}"]).to(self.device)

    def _stored(self, row: int) -> np.ndarray:
        """(1, 2, depths, D) of means, else (T, depths, D). Mapped for this one look, so that no
        pages stay.
        """
        number, first, count = (int(x) for x in self.index[row])
        shard, shape = self.manifest["shards"][number], self.manifest["row"]
        dtype = np.dtype(self.manifest["about"]["dtype"])
        path, at = (
            self.folder / shard["file"],
            shard["at"] + first * int(np.prod(shape)) * dtype.itemsize,
        )
        try:
            return np.array(np.memmap(path, dtype, "r", at, (count, *shape)))
        except (OSError, ValueError) as error:
            raise MachineError(
                f"the trace {path} was removed or cut while it was in use ({error}); repeat the "
                "command, which goes on from the last look at the dev split and records what is "
                "missing"
            ) from error

    def _widened(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        frames = torch.from_numpy(self.index[list(rows), 2])
        out = np.zeros(
            (self.depths, len(rows), int(frames.max()), self.manifest["row"][1]), np.float32
        )
        for b, i in enumerate(rows):
            own = self._stored(i)
            out[:, b, : len(own)] = own.transpose(1, 0, 2)
        return torch.from_numpy(out).to(self.device), frames.to(self.device)

    @torch.no_grad()
    def _recomputed(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        wavs, lengths = padded([self.load(self.items[i]).wav for i in rows], self.device)
        return torch.stack(
            list(islice(self.upstream.states(wavs, lengths), self.depths))
        ), self.upstream.frames(lengths).to(self.device)


def cached_features(
    upstream: Upstream,
    items: Sequence[Item],
    load: Callable[[Item], Example],
    what: str,
    device: str = "cpu",
    keep: str = "states",
    deepest: int | None = None,
) -> FeatureCache:
    """The trace of `items`, from the cache or recorded now (progress and size on stderr).

    Args:
        what: for people, as in "se train".
        keep: what to keep beside the evidence: states, means, answers or evidence (nothing more).
        deepest: the last depth that anybody will ask for; a trace that goes deeper will do. None:
            all.
    """
    blocks, root = upstream.card.depth, cache_dir() / "traces"
    known = about(upstream, items, device, keep)
    for depth in range(blocks if deepest is None else deepest, blocks + 1):
        folder = root / key(known | {"deepest": depth})
        if finished(folder):
            break
    else:
        known["deepest"] = blocks if deepest is None else deepest
        folder = root / key(known)
        with locked(folder.with_suffix(".lock"), f"the trace of {what}"):
            if not finished(folder):
                extract(folder, known, upstream, items, load, what, device)
        depth = known["deepest"]
    found = FeatureCache(folder, upstream, items, load, device)
    if other := [
        k for k, v in (known | {"deepest": depth}).items() if found.manifest["about"].get(k) != v
    ]:
        raise UsageError(
            f"the trace {folder} is of something else ({', '.join(other)} differ: was it copied or "
            f"edited?); remove it: run_benchmark.py cache rm {folder.name}"
        )
    if not found.kept and keep != "evidence":
        print(
            f"{what}: states did not fit when it was recorded, so they are recomputed for every "
            f"batch; once there is room, run_benchmark.py cache rm {folder.name} lets them be kept",
            file=sys.stderr,
        )
    return found


def finished(folder: Path) -> bool:
    """Whether a whole trace lies there; its manifest says so last of all."""
    path = folder / "manifest.json"
    return path.exists() and json.loads(path.read_text())["shards"] is not None


def about(upstream: Upstream, items: Sequence[Item], device: str, keep: str) -> dict:
    """All that the numbers of a trace depend on, and nothing else.

    The audio is known by path, place, size and time of change, so that asking opens no file. The
    front-end's policy and every other option are in the upstream's name; code and weights count as
    they are, whatever the card says.
    """
    files = {path: path.stat() for path in dict.fromkeys(i.path for i in items)}
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


def key(known: Mapping) -> str:
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
    """Of the files in which the upstream's own modules are written (torch's are not among them), as
    the interpreter sees them: comments, docstrings and layout change no number.
    """
    kinds = {kind for module in upstream.modules() for kind in type(module).__mro__} - {object}
    files = {
        inspect.getsourcefile(kind) for kind in kinds if kind.__module__.split(".")[0] != "torch"
    }
    return _hash("".join(_parsed(Path(file)) for file in sorted(f for f in files if f)).encode())


def _parsed(file: Path) -> str:
    """A Python file as a syntax tree without docstrings."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
