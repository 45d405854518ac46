"""What a task's head and loss must do: the part of `check task NAME` that needs a few real
utterances.

Heads are built, not trained, and fed with random features of the right shapes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .contract import Corpus, Example, Item, Protocol, Setup, Task
from .errors import listed
from .metrics import Failure, Ratio

DIM, STRIDES = 24, (320, 640)
NEAR = 1e-3  # of a value: what a row may change by in other company

Findings = Iterator[tuple[bool, str]]


@dataclass(frozen=True)
class Case:
    """A task with a recipe, a corpus, and a few of its test utterances, the shortest, read."""

    task: Task
    protocol: Protocol
    corpus: Corpus
    items: Sequence[Item]
    examples: Sequence[Example]

    def setup(self, stride: int = STRIDES[0]) -> Setup:
        return Setup(self.protocol, self.corpus, DIM, stride)

    @cached_property
    def scored(self) -> list[tuple[Example, Tensor, int, dict]]:
        """Of each example: a prediction row, its frames, its scores."""
        setup, batch = self.setup(), _given(self.task, _batch(self))
        with torch.no_grad():
            prediction = _predict(self.task.head(setup).eval(), batch)
        return [
            (example, row, n, self.task.score(row, example, n, setup))
            for row, example, n in zip(
                prediction, self.examples, batch.frames.tolist(), strict=True
            )
        ]

    @cached_property
    def floors(self) -> dict[str, dict]:
        """Of each example what doing nothing scores."""
        return (
            {e.id: self.task.unprocessed(e, self.protocol) for e in self.examples}
            if self.task.unprocessed
            else {}
        )


@dataclass(frozen=True)
class Batch:
    """Random features for some examples. (B, T, D), (B,), (B,)"""

    features: Tensor
    frames: Tensor
    samples: Tensor

    def row(self, i: int) -> "Batch":
        n = int(self.frames[i])
        return Batch(self.features[i : i + 1, :n], self.frames[i : i + 1], self.samples[i : i + 1])


def _batch(case: Case, stride: int = STRIDES[0]) -> Batch:
    samples = torch.tensor([item.samples for item in case.items])
    frames = (samples // stride).clamp(min=1)
    rows = [torch.randn(int(n), DIM) for n in frames]
    return Batch(nn.utils.rnn.pad_sequence(rows, batch_first=True), frames, samples)


def _given(task: Task, batch: Batch) -> Batch:
    """As the machine hands it over: the means alone where the task asks for no more."""
    if not task.pooled:
        return batch
    means = torch.stack(
        [
            row[:n].mean(0, keepdim=True)
            for row, n in zip(batch.features, batch.frames.tolist(), strict=True)
        ]
    )
    return replace(batch, features=means, frames=torch.ones_like(batch.frames))


def _predict(head: nn.Module, batch: Batch) -> Tensor:
    return head(batch.features, batch.frames, batch.samples)


def learns(case: Case) -> Findings:
    some = replace(case.corpus, splits={"train": (), "dev": (), "test": case.items})
    for stride in STRIDES:
        what = f"for features every {stride} samples"
        if refused := list(
            case.task.check(some, case.protocol, lambda n, s=stride: n // s)
            if case.task.check
            else ()
        ):
            yield True, f"{what} its check refuses the corpus ({refused[0]})"
            continue
        setup, batch = case.setup(stride), _given(case.task, _batch(case, stride))
        head = case.task.head(setup).train()
        prediction = _predict(head, batch)
        yield len(prediction) == len(case.items), f"{what} a head predicts a row an utterance"
        value = case.task.loss(prediction, case.examples, batch.frames, setup)
        number = float(value.detach().mean())
        yield (
            value.shape == () and math.isfinite(number),
            f"{what} the loss is one finite number ({number:.4g})",
        )
        yield value.requires_grad, f"{what} the loss can be differentiated"
        if value.requires_grad:
            yield from _moved(head, value, what)


def _moved(head: nn.Module, loss: Tensor, what: str) -> Findings:
    loss.backward()
    without = [
        name
        for name, p in head.named_parameters()
        if p.grad is None or not bool(p.grad.isfinite().all())
    ]
    moved = any(bool(p.grad.any()) for p in head.parameters() if p.grad is not None)
    yield (
        not without and moved,
        (
            f"{what} every parameter of the head gets a finite "
            f"gradient{f' (not {listed(without)})' * bool(without)}"
        ),
    )


def keeps_rows_apart(case: Case) -> Findings:
    setup, batch = case.setup(), _given(case.task, _batch(case))
    head = case.task.head(setup).eval()
    with torch.no_grad():
        together = _predict(head, batch)
        alone = [_predict(head, batch.row(i)) for i in range(len(case.items))]
        whole = float(case.task.loss(together, case.examples, batch.frames, setup))
        parts = [
            float(case.task.loss(p, [e], batch.frames[i : i + 1], setup))
            for i, (p, e) in enumerate(zip(alone, case.examples, strict=True))
        ]
    mean, off = sum(parts) / len(parts), []
    yield (
        near(whole, mean),
        f"the loss of a batch is the mean of its members' ({whole:.5g}, {mean:.5g})",
    )
    for i, example in enumerate(case.examples):
        a, b = (
            case.task.score(row, example, int(batch.frames[i]), setup)
            for row in (together[i], alone[i][0])
        )
        off += [
            f"{example.id} by {m.name}"
            for m in case.task.metrics
            if not same(a.get(m.name), b.get(m.name))
        ]
    yield (
        not off,
        (
            "an utterance scores the same alone and in a "
            f"batch{f' (not {listed(off, 3)})' * bool(off)}"
        ),
    )


def sees_means_alone(case: Case) -> Findings:
    if not case.task.pooled:
        return
    batch, head = _batch(case), case.task.head(case.setup()).eval()
    with torch.no_grad():
        frames, means = _predict(head, batch), _predict(head, _given(case.task, batch))
    yield (
        torch.allclose(frames, means, atol=1e-4, rtol=1e-4),
        "it says that its head sees means alone, and means give what frames give",
    )


def notes(case: Case) -> Findings:
    for stride in STRIDES if case.task.notices else ():
        said = list(case.task.notices(case.setup(stride)))
        yield (
            all(isinstance(s, str) and s for s in said),
            f"of a stride of {stride} it notes: {listed(said) or 'nothing'}",
        )


def number(value: Any) -> float:
    return value.part / value.whole if isinstance(value, Ratio) else float(value)


def near(a: float, b: float) -> bool:
    return abs(a - b) <= NEAR * max(1.0, abs(a), abs(b))


def same(a: Any, b: Any, exactly: bool = False) -> bool:
    if a is None or b is None or isinstance(a, Failure) or isinstance(b, Failure):
        return a == b and a is not None
    return a == b if exactly else near(number(a), number(b))


CHECKS = (learns, keeps_rows_apart, sees_means_alone, notes)
