"""One full-depth pass over a split, stored: the states and the evidence of every depth, from which
every exit is replayed.

Evidence is stored as computed (fp32), so a replayed exit is exactly the live one. States are stored
in fp16 and widened when read; the worst rounding error met is written in the manifest. Where the
states would not fit, only the evidence is stored and states are recomputed batch by batch, through
the same `batch` call, and rounded alike: free disk space changes the last bits of a row at most.

What is stored beside the evidence depends on who reads it (`keep`):

    states    of every depth, for heads that read frames
    means     of each state over its valid frames, in fp32, as it is and layer-normed: a
              head that is linear up to such a mean gets the same logits and gradients from
              it as from all frames
    answers   at every depth that can be left at, exactly as given, of an upstream that answers by
              itself
    evidence  alone, where thresholds are all that is wanted

A feature cache is a folder named by a hash (`cache_key.py`). `extract.py` writes it; here it is
found, checked and read, a batch at a time, so that memory does not grow with the corpus. Every
file has a digest: of the small ones it is compared when a feature cache is opened, of a shard when
it is first read. What is damaged is recorded anew.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..contract import Example, Item, Upstream
from ..errors import MachineError
from ..exiting import layer_normed
from ..masking import valid_mask
from ..storage import cache_dir, locked
from .cache_key import about, key
from .cache_layout import means, padded, pieces
from .cache_repair import damaged, finished, is_sound, read_manifest
from .extract import extract


@dataclass(frozen=True)
class Batch:
    """States of some items.

    Attributes:
        states: layer-normed or not -> (depths, B, T, D) float32, zeros where padded; T = 1 where
            means are stored.
        frames: (B,) valid frames.
        samples: (B,) samples of audio.
    """

    states: Mapping[bool, Tensor]
    frames: Tensor
    samples: Tensor


class FeatureCache:
    """What an upstream made of the items of one split, in their order.

    Attributes:
        index: (n, 3) int64: shard, first row in it, rows of each item.
        evidence: (n, E) float32, NaN where there is none.
        kept: whether rows or answers are stored, not the evidence alone.
        keep: which of states, means, answers and evidence were asked for.
        what: for people, as in "se train".
        mends: whether this process records anew what it finds damaged; a worker leaves that to
            the process that started it.
    """

    mends = True

    def __init__(
        self,
        folder: Path,
        upstream: Upstream,
        items: Sequence[Item],
        load: Callable[[Item], Example],
        what: str,
        device: str,
    ):
        self.folder = folder
        self.upstream = upstream
        self.items = items
        self.load = load
        self.what = what
        self.device = device
        self.piece = pieces(items)[1]
        self._open()
        self.depths: int = self.manifest["about"]["deepest"] + 1
        self.keep: str = self.manifest["about"]["keep"]
        self.evidence: np.ndarray = np.load(folder / "evidence.npy")[self.piece]

    def _open(self) -> None:
        manifest = read_manifest(self.folder)
        if manifest is None:
            raise MachineError(
                f"the feature cache {self.folder} was removed or damaged just now; repeat the "
                "command, which records it anew"
            )
        self.manifest: dict[str, Any] = manifest
        self.index: np.ndarray = np.load(self.folder / "index.npy")[self.piece]
        self.kept: bool = manifest["kept"]
        self._sound: set[int] = set()  # numbers of shards that were held against their digests

    @property
    def recomputed(self) -> bool:
        """Whether states are wanted and not stored."""
        return not self.kept and self.keep != "evidence"

    def batch(self, rows: Sequence[int]) -> Batch:
        """The states of some items, padded to the longest of them."""
        self._check(rows)
        samples = torch.tensor([self.items[i].samples for i in rows], device=self.device)
        if self.kept and self.keep == "means":
            stored = np.stack([self._stored(i)[0] for i in rows], 2)  # (2, depths, B, D)
            return self._of_means(torch.from_numpy(stored).to(self.device), samples)
        if self.kept:
            states, frames = self._widened(rows)
        else:
            states, frames = self._recomputed(rows)
            if self.keep == "means":
                return self._of_means(torch.stack([means(s, frames) for s in states], 1), samples)
            states = self._rounded(states, frames)
        return Batch({False: states, True: layer_normed(states)}, frames, samples)

    def answer(self, row: int, depth: int) -> Tensor:
        """The answer to one item at a depth, as it was given; where answers are stored."""
        self._check([row])
        shard = self.manifest["shards"][int(self.index[row, 0])]
        with np.load(self.folder / shard["file"]) as answers:
            return torch.from_numpy(answers[f"{self.piece[row]}.{depth}"]).to(self.device)

    def _check(self, rows: Sequence[int]) -> None:
        """Hold the shards of some items against their digests, each once; where one is damaged,
        record it anew.
        """
        if not self.kept:
            return
        for number in set(self.index[list(rows), 0].tolist()) - self._sound:
            if not is_sound(self.folder, self.manifest["shards"][number]):
                self._record_anew()
                return
            self._sound.add(number)

    def _record_anew(self) -> None:
        """Mend the feature cache, or wait for a process that does. The evidence of this object
        stays, since exits and heads follow from it already.
        """
        if not self.mends:
            raise MachineError(
                f"the feature cache {self.folder} is damaged; the process that started this one "
                "records it anew"
            )
        with locked(self.folder.with_suffix(".lock"), f"the feature cache of {self.what}"):
            now = read_manifest(self.folder) if finished(self.folder) else None
            if now is None or damaged(self.folder, now):
                known = self.manifest["about"]
                extract(
                    self.folder, known, self.upstream, self.items, self.load, self.what, self.device
                )
        self._open()
        self._sound = set(range(len(self.manifest["shards"])))

    def _of_means(self, stored: Tensor, samples: Tensor) -> Batch:
        """(2, depths, B, D), as they are and layer-normed, as states of one frame."""
        plain, normed = stored[:, :, :, None]
        return Batch({False: plain, True: normed}, torch.ones_like(samples), samples)

    def _stored(self, row: int) -> np.ndarray:
        """(1, 2, depths, D) of means, else (T, depths, D). Mapped for this one read, so that no
        pages stay.
        """
        number, first, count = (int(x) for x in self.index[row])
        shard, shape = self.manifest["shards"][number], self.manifest["row"]
        dtype = np.dtype(self.manifest["about"]["dtype"])
        path = self.folder / shard["file"]
        at = shard["at"] + first * int(np.prod(shape)) * dtype.itemsize
        try:
            return np.array(np.memmap(path, dtype, "r", at, (count, *shape)))
        except (OSError, ValueError) as error:
            raise MachineError(
                f"the feature cache {path} was removed or truncated while it was in use ({error}); "
                "repeat the command, which resumes from the last validation and extracts what is "
                "missing"
            ) from error

    def _widened(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Stored states: (depths, B, T, D) float32, and (B,) frames."""
        frames = torch.from_numpy(self.index[list(rows), 2])
        shape = (self.depths, len(rows), int(frames.max()), self.manifest["row"][1])
        states = torch.zeros(shape, dtype=torch.float16)
        for b, i in enumerate(rows):
            valid = torch.from_numpy(self._stored(i))
            states[:, b, : len(valid)] = valid.transpose(0, 1)
        # widened by torch: numpy does it number by number
        return states.to(self.device).float(), frames.to(self.device)

    @torch.no_grad()
    def _recomputed(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The same from the audio, not rounded."""
        wavs, lengths = padded([self.load(self.items[i]).wav for i in rows], self.device)
        states = list(islice(self.upstream.states(wavs, lengths), self.depths))
        return torch.stack(states), self.upstream.frames(lengths).to(self.device)

    def _rounded(self, states: Tensor, frames: Tensor) -> Tensor:
        """Recomputed states as they are where they are stored: rounded to fp16, unless they were
        found to be beyond it, and zero where padded.
        """
        valid = valid_mask(frames, states.shape[2])[:, :, None]
        rounded = states.half().float() if self.manifest["fits"] else states
        return torch.where(valid, rounded, 0)


def cached_features(
    upstream: Upstream,
    items: Sequence[Item],
    load: Callable[[Item], Example],
    what: str,
    device: str = "cpu",
    keep: str = "states",
    deepest: int | None = None,
) -> FeatureCache:
    """The features of `items`, from the cache or extracted now (progress and size on stderr).

    Args:
        what: for people, as in "se train".
        keep: what to store beside the evidence: states, means, answers or evidence (nothing more).
        deepest: the last depth that is needed; a cache that goes deeper will do. None: all.

    Raises:
        MachineError: the disk is full or cannot be written.
        UsageError: an audio file has another length than its header said.
    """
    blocks, root = upstream.card.depth, cache_dir() / "traces"
    known = about(upstream, items, device, keep)
    wanted = blocks if deepest is None else deepest
    for depth in range(wanted, blocks + 1):
        complete = known | {"deepest": depth}
        folder = root / key(complete)
        if _usable(folder, complete):
            break
    else:
        complete = known | {"deepest": wanted}
        folder = root / key(complete)
        with locked(folder.with_suffix(".lock"), f"the feature cache of {what}"):
            if not _usable(folder, complete):
                extract(folder, complete, upstream, items, load, what, device)
    found = FeatureCache(folder, upstream, items, load, what, device)
    if found.recomputed:
        print(
            f"{what}: states did not fit when they were extracted, so they are recomputed for "
            f"every batch; once there is room, run_benchmark.py cache rm {folder.name} lets them "
            "be stored",
            file=sys.stderr,
        )
    return found


def _usable(folder: Path, about: Mapping[str, Any]) -> bool:
    """Whether a feature cache is there, complete and of what is asked for (not copied there)."""
    manifest = read_manifest(folder)
    return manifest is not None and manifest["about"] == dict(about) and finished(folder)
