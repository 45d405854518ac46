"""The checks of a task, in order: what it says of itself, its corpus and what it reads of it; then
those of `head.py` and `scores.py`, which need a few real utterances.
"""

from collections.abc import Sequence
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..audio import read
from ..contract import FIELDS, Corpus, Example, Item, Protocol, Task
from ..errors import listed
from ..validation import problems, usual_frames
from . import head, scores
from .case import Case
from .finding import Finding, Findings, findings, name_of

FEW = 3  # test utterances that heads are tried on, the shortest


def check_task(
    task: Task, data: Path | None = None, protocol: Protocol | None = None
) -> list[Finding]:
    """Hold a task against the contract. A check that crashes is a finding, and the rest go on as
    far as they can.

    Args:
        data: a corpus; None = the built-in one.
        protocol: None = the one that a run on that corpus takes.
    Returns: a sentence for everything that was checked; all are `ok` where the contract is met.
    """
    found = _seeded("what it says of itself", described(task))
    if not all(finding.ok for finding in found):
        return found
    protocol = protocol or task.protocols[task.builtin if data is None else task.default]
    corpora: list[Corpus] = []
    found += _seeded("its corpus", opens(task, data, protocol, corpora))
    for corpus in corpora:
        found += _seeded("its corpus", separate(task, data, protocol, corpus))
        items = sorted(corpus.splits["test"], key=lambda item: item.samples)[:FEW]
        examples: list[Example] = []
        found += _seeded("load", reads(task, items, examples))
        if len(examples) == len(items):
            case = Case(task, protocol, corpus, items, examples)
            for check in (*head.CHECKS, *scores.CHECKS):
                found += _seeded(name_of(check), check(case))
    return found


def _seeded(what: str, checks: Findings) -> list[Finding]:
    """The findings of a check, its random numbers the same whatever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return findings(what, checks)


# ---- what it says of itself ----


def described(task: Task) -> Findings:
    names = [metric.name for metric in task.metrics]
    numbered = isinstance(task.version, int) and task.version >= 1
    yield numbered, f"its version is a number from 1, {task.version!r}"
    said = "it measures something, each metric under a name of its own"
    yield bool(names) and len(set(names)) == len(names), f"{said} ({', '.join(names)})"
    for which in ("builtin", "default"):
        name = getattr(task, which)
        yield (
            name in task.protocols,
            f"its {which} protocol, {name}, is among its protocols ({', '.join(task.protocols)})",
        )
    unknown = [name for name in task.needs if name not in FIELDS]
    needs = ", ".join(task.needs) or "nothing"
    said = f"what it needs of an utterance ({needs}) is among what readers know"
    yield not unknown, f"{said}: {', '.join(FIELDS)}"
    for name, protocol in task.protocols.items():
        yield (
            protocol.name == name and _sound(protocol),
            f"protocol {name} is sound: its own name, a source, rates and steps above 0, a "
            "validation within them, known at_test fields",
        )


def _sound(p: Protocol) -> bool:
    positive = min(p.lr, p.steps, p.batch, p.accumulate, p.clip, *p.lr_grid) > 0
    known = set(p.at_test) <= {field.name for field in fields(p)}
    return bool(p.source) and positive and 0 < p.eval_every <= p.steps and known


# ---- its corpus ----


def opens(task: Task, data: Path | None, protocol: Protocol, found: list[Corpus]) -> Findings:
    corpus = task.corpus(data, protocol)
    wrong = problems(task, corpus, protocol, usual_frames)
    yield not wrong, f"its corpus can be used{': ' + listed(wrong) if wrong else ''}"
    sizes = {split: len(corpus.splits.get(split, ())) for split in ("train", "dev", "test")}
    shown = ", ".join(f"{count} {split}" for split, count in sizes.items())
    yield all(sizes.values()), f"train, dev and test have utterances ({shown})"
    if all(sizes.values()):
        found.append(corpus)


def separate(task: Task, data: Path | None, protocol: Protocol, corpus: Corpus) -> Findings:
    again = task.corpus(data, protocol)
    same = bool(corpus.hash) and again.hash == corpus.hash and again.splits == corpus.splits
    yield same, f"opened twice the corpus is the same, with the same hash ({corpus.hash or 'none'})"
    repeated = [
        split for split, items in corpus.splits.items() if len({i.id for i in items}) < len(items)
    ]
    but = f" (not in {listed(repeated)})" if repeated else ""
    yield not repeated, f"in each split every utterance has an id of its own{but}"
    twice = []
    for a, b in combinations(corpus.splits, 2):
        shared = _shared(corpus.splits[a], corpus.splits[b])
        twice += [f"{name} in {a} and {b}" for name in shared]
    but = f" ({listed(twice, 3)})" if twice else ""
    yield not twice, f"no audio is in two splits{but}"


def _shared(one: Sequence[Item], other: Sequence[Item]) -> list[str]:
    """The utterances of `other` whose samples overlap with those of `one`."""
    places: dict[Path, list[Item]] = {}
    for item in one:
        places.setdefault(item.path, []).append(item)
    return [
        item.id
        for item in other
        for seen in places.get(item.path, ())
        if item.start < seen.start + seen.samples and seen.start < item.start + item.samples
    ]


def reads(task: Task, items: Sequence[Item], examples: list[Example]) -> Findings:
    for item in items:
        example = task.load(item)
        wav = example.wav
        finite = wav.dtype == torch.float32 and bool(wav.isfinite().all())
        sound = wav.shape == (item.samples,) and finite and example.id == item.id
        said = f"{item.id} is read as its {item.samples} finite samples in float32"
        yield sound, f"{said} (read: {tuple(wav.shape)}, {wav.dtype})"
        if sound:
            file = torch.from_numpy(read(item.path, item.start, item.samples))
            sound = torch.equal(wav, file)
        said = f"{item.id} is read as its file has it"
        yield sound, f"{said}: the features of a file are extracted once for all tasks"
        if task.target:
            same = _equal(task.target(item), example.target)
            yield same, f"the target of {item.id} is the same without its audio"
        examples.append(example)


def _equal(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)
