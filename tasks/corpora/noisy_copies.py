"""Utterances with noise added, or as they are, written with a manifest: the common part of corpora
at several noise ratios (`make_snr.py`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...benchmark.audio import read, to_pcm, write
from ...benchmark.contract import Corpus, Item
from ...benchmark.errors import UsageError, did_you_mean
from ...benchmark.storage import write_text
from . import manifest
from .entry import Entry, sha
from .layouts import NOTICES
from .manifest_row import CLEAN
from .noise_pools import KINDS, Pool, pool
from .noisy_pairs import TRIES, Part, mixed
from .recordings import fingerprint


@dataclass(frozen=True)
class Noises:
    """What is added, and where it comes from.

    Attributes:
        kinds: of `noise_pools.KINDS`.
        folders: kind -> recordings of it; built-in where there is none.
    """

    kinds: Sequence[str] = ("noise",)
    folders: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in (*self.kinds, *self.folders):
            if kind not in KINDS:
                raise UsageError(f"there is no kind of noise {kind!r}: {did_you_mean(kind, KINDS)}")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise UsageError("--kinds takes each kind of noise once, and at least one")
        if unused := set(self.folders) - set(self.kinds):
            raise UsageError(
                f"{' and '.join(sorted(unused))}: a folder is given but --kinds does not ask for "
                f"it; add it: --kinds {' '.join(k for k in KINDS if k in {*self.kinds, *unused})}"
            )
        places = [folder.resolve() for folder in self.folders.values()]
        if any(a in (b, *b.parents) for a in places for b in places if a is not b):
            raise UsageError(
                "two kinds of noise would be drawn from one folder, and a recording from two "
                "splits; give each kind a folder of its own, such as musan/noise and musan/music"
            )

    def pools(self, speech: Corpus, builtin: bool, seed: int) -> dict[str, Pool]:
        """By kind. See `noise_pools.pool`."""
        return {k: pool(k, self.folders.get(k), speech, builtin, seed) for k in self.kinds}


class Job(NamedTuple):
    """One file to be made.

    Attributes:
        kind: of noise; "" = none.
        ratio: dB; None = as it is.
        draw: the same number draws the same cut of the same noise.
    """

    id: str
    split: str
    item: Item
    kind: str = ""
    ratio: float | None = None
    draw: int = 0


def request_of(options: Sequence, pools: Mapping[str, Pool]) -> str:
    """16 digits that change with all that the files of a corpus depend on.

    Args:
        options: that, beside the recordings of noise.
    """
    files = {f"{kind}/{name}": p for kind, of in pools.items() for name, p in of.files.items()}
    return fingerprint(list(options), files)


def write_copies(
    out: Path,
    jobs: Sequence[Job],
    pools: Mapping[str, Pool],
    seed: int,
    request: str,
    about: str,
) -> int | None:
    """Make what is missing of `jobs` in `out`, and at last its manifest.

    A killed run goes on: what a job gives follows from the request, and files appear whole.

    Args:
        about: for the README.txt; lines "notice: ..." go into rows.

    Returns: how many files were made now; None where the whole corpus was there already.
    Raises: UsageError where `out` holds something else.
    """
    request, readme = f"request: {request}\n", out / NOTICES
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not readme.is_file() or request not in readme.read_text(
            encoding="utf-8", errors="replace"
        ):
            raise UsageError(
                f"{out} exists and is not what this command makes (other recordings, shares, seed "
                f"or limit); choose another --out, or remove it: rm -r {out}"
            )
        if (out / manifest.NAME).is_file():
            return None
    write_text(readme, f"{about}{request}")
    made, entries = 0, []
    for job in _shown(jobs):
        path = out / job.split / f"{job.id}.wav"
        name, noise = _drawn(job, pools, seed)
        if not path.is_file():
            write(path, _samples(job, name, noise, seed))
            made += 1
        ratio = CLEAN if job.ratio is None else job.ratio
        more = {"snr": ratio, "noise": job.kind, "noise_file": name}
        text, who = job.item.more.get("text", ""), job.item.speaker
        entry = Entry(job.id, job.split, path, 0, job.item.samples, who, text, more=more)
        entries.append(replace(entry, sha=sha(entry)))
    manifest.write(out / manifest.NAME, entries)
    return made


def file_names(ids: Sequence[str]) -> list[str]:
    """The ids where they can be names of files, else with other letters, and a number where two
    would be the same."""
    names = [re.sub(r"[^\w.-]+", "_", id).lstrip(".") or "utterance" for id in ids]
    seen: dict[str, int] = {}
    for n, name in enumerate(names):
        seen[name] = seen.get(name, -1) + 1
        if seen[name]:
            names[n] = f"{name}-{n}"
    return names


def _shown(jobs: Sequence[Job]):
    from tqdm import tqdm

    return tqdm(jobs, "mixing", unit="file", mininterval=0.5, disable=len(jobs) < 50)


def _drawn(job: Job, pools: Mapping[str, Pool], seed: int):
    """What is added, in words, and where its samples come from; ("", None) where nothing is."""
    if not job.kind:
        return "", None
    # `mixed` draws from [seed, draw, attempt] with fewer than TRIES attempts
    rng = np.random.default_rng([seed, job.draw, TRIES])
    return pools[job.kind].draws[job.split](rng, job.item)


def _samples(job: Job, name: str, noise, seed: int) -> np.ndarray:
    """(N,) int16."""
    item = job.item
    speech = read(item.path, item.start, item.samples)
    if noise is None:
        return to_pcm(speech)
    part = Part(job.split, "", item.speaker, name, job.ratio, str(item.path), speech, noise())
    clean, added, _ = mixed(part, seed, job.draw)
    return clean + added
