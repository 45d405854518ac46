"""What a submitted task must pass, told in plain sentences: the same checks `check task NAME`
prints and the tests run.

Here is what a task says of itself, its corpus and what it reads of it; `conformance_head.py` and
`conformance_scores.py` have what its functions do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import conformance_head, conformance_scores
from .audio import read
from .conformance import Finding
from .contract import FIELDS, Corpus, Example, Item, Protocol, Task
from .errors import BenchmarkError, listed
from .validation import problems, usual_frames

FEW = 3  # test utterances that heads are tried on, the shortest

Findings = Iterator[tuple[bool, str]]


def check_task(
    task: Task, data: Path | None = None, protocol: Protocol | None = None
) -> list[Finding]:
    """Every check, in order; one that crashes is a finding, and the rest go on as far as they can.

    Args:
        data: a corpus; None = the built-in one.
        protocol: the recipe; None = the one that a run on that corpus takes.
    """
    findings = _made("what it says of itself", described(task))
    if not all(f.ok for f in findings):
        return findings
    protocol = protocol or task.protocols[task.builtin if data is None else task.default]
    corpora: list[Corpus] = []
    findings += _made("its corpus", opens(task, data, protocol, corpora))
    for corpus in corpora:
        findings += _made("its corpus", separate(task, data, protocol, corpus))
        items = sorted(corpus.splits["test"], key=lambda item: item.samples)[:FEW]
        examples: list[Example] = []
        findings += _made("load", reads(task, items, examples))
        if len(examples) == len(items):
            case = conformance_head.Case(task, protocol, corpus, items, examples)
            for check in (*conformance_head.CHECKS, *conformance_scores.CHECKS):
                findings += _made(check.__name__.replace("_", " "), check(case))
    return findings


def _made(what: str, checks: Findings) -> list[Finding]:
    findings: list[Finding] = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        try:
            findings += [Finding(bool(ok), sentence) for ok, sentence in checks]
        except BenchmarkError as error:
            findings.append(Finding(False, f"{what}: {error}"))
        except Exception as error:  # a stranger's code may fail in any way
            findings.append(
                Finding(False, f"{what}: it crashes with {type(error).__name__}: {error}")
            )
    return findings


# ---- what it says of itself ----


def described(task: Task) -> Findings:
    names = [metric.name for metric in task.metrics]
    yield (
        isinstance(task.version, int) and task.version >= 1,
        f"its version is a number from 1, {task.version!r}",
    )
    yield (
        bool(names) and len(set(names)) == len(names),
        f"it measures something, each metric under a name of its own ({', '.join(names)})",
    )
    for which in ("builtin", "default"):
        name = getattr(task, which)
        yield (
            name in task.protocols,
            f"its {which} protocol, {name}, is among its protocols ({', '.join(task.protocols)})",
        )
    unknown = [name for name in task.needs if name not in FIELDS]
    yield (
        not unknown,
        (
            f"what it needs of an utterance ({', '.join(task.needs) or 'nothing'}) is among what "
            f"readers know: {', '.join(FIELDS)}"
        ),
    )
    for name, p in task.protocols.items():
        sound = (
            min(p.lr, p.steps, p.batch, p.accumulate, p.clip, *p.lr_grid) > 0
            and 0 < p.eval_every <= p.steps
        )
        known = set(p.at_test) <= {f.name for f in fields(p)}
        yield (
            p.name == name and bool(p.source) and sound and known,
            (
                f"protocol {name} is sound: its own name, a source, rates and steps above 0, a "
                "look at dev within them, known at_test fields"
            ),
        )


# ---- its corpus ----


def opens(task: Task, data: Path | None, protocol: Protocol, found: list[Corpus]) -> Findings:
    corpus = task.corpus(data, protocol)
    wrong = problems(task, corpus, protocol, usual_frames)
    sizes = {split: len(corpus.splits.get(split, ())) for split in ("train", "dev", "test")}
    yield not wrong, f"its corpus can be used{': ' + listed(wrong) if wrong else ''}"
    yield (
        all(sizes.values()),
        f"train, dev and test have utterances ({', '.join(f'{n} {s}' for s, n in sizes.items())})",
    )
    if all(sizes.values()):
        found.append(corpus)


def separate(task: Task, data: Path | None, protocol: Protocol, corpus: Corpus) -> Findings:
    again = task.corpus(data, protocol)
    same = bool(corpus.hash) and again.hash == corpus.hash and again.splits == corpus.splits
    yield same, f"opened twice the corpus is the same, with the same hash ({corpus.hash or 'none'})"
    repeated = [
        split for split, items in corpus.splits.items() if len({i.id for i in items}) < len(items)
    ]
    yield (
        not repeated,
        (
            "in each split every utterance has an id of its "
            f"own{f' (not in {listed(repeated)})' * bool(repeated)}"
        ),
    )
    twice = [
        f"{id} in {a} and {b}"
        for a, b in combinations(corpus.splits, 2)
        for id in _shared(corpus.splits[a], corpus.splits[b])
    ]
    yield not twice, f"no audio is in two splits{f' ({listed(twice, 3)})' * bool(twice)}"


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
        sound = (
            wav.shape == (item.samples,)
            and wav.dtype == torch.float32
            and bool(wav.isfinite().all())
        )
        yield (
            sound and example.id == item.id,
            (
                f"{item.id} is read as its {item.samples} finite samples in float32 (read: "
                f"{tuple(wav.shape)}, {wav.dtype})"
            ),
        )
        yield (
            sound and torch.equal(wav, torch.from_numpy(read(item.path, item.start, item.samples))),
            f"{item.id} is heard as its file has it: what an upstream made of a file is recorded "
            "once for all tasks",
        )
        if task.target:
            yield (
                _equal(task.target(item), example.target),
                f"the target of {item.id} is the same without its audio",
            )
        examples.append(example)


def _equal(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b
