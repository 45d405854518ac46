"""What a task's head and loss must do. Heads are built, not trained."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import listed
from .case import STRIDES, Case, predict
from .finding import Findings
from .values import near, same


def learns(case: Case) -> Findings:
    for stride in STRIDES:
        what = f"for features every {stride} samples"
        refused = _refused(case, stride)
        if refused:
            yield True, f"{what} its check refuses the corpus ({refused[0]})"
            continue
        batch = case.batch(stride)
        head = case.task.head(case.setup(stride)).train()
        prediction = predict(head, batch)
        yield len(prediction) == len(case.items), f"{what} a head predicts a row an utterance"
        loss = case.task.loss(prediction, case.examples, batch.frames, case.setup(stride))
        value = float(loss.detach().mean())
        one = loss.shape == () and math.isfinite(value)
        yield one, f"{what} the loss is one finite number ({value:.4g})"
        yield loss.requires_grad, f"{what} the loss can be differentiated"
        if loss.requires_grad:
            yield from _has_gradients(head, loss, what)


def keeps_rows_apart(case: Case) -> Findings:
    setup, batch = case.setup(), case.batch()
    head = case.task.head(setup).eval()
    with torch.no_grad():
        together = predict(head, batch)
        alone = [predict(head, batch.row(i)) for i in range(len(case.items))]
        whole = float(case.task.loss(together, case.examples, batch.frames, setup))
        parts = []
        for i, example in enumerate(case.examples):
            loss = case.task.loss(alone[i], [example], batch.frames[i : i + 1], setup)
            parts.append(float(loss))
    mean = sum(parts) / len(parts)
    said = "the loss of a batch is the mean of its members'"
    yield near(whole, mean), f"{said} ({whole:.5g}, {mean:.5g})"
    different = []
    for i, example in enumerate(case.examples):
        frames = int(batch.frames[i])
        a = case.score(together[i], example, frames)
        b = case.score(alone[i][0], example, frames)
        for metric in case.task.metrics:
            if not same(a.get(metric.name), b.get(metric.name)):
                different.append(f"{example.id} by {metric.name}")
    but = f" (not {listed(different, 3)})" if different else ""
    yield not different, f"an utterance scores the same alone and in a batch{but}"


def sees_means_alone(case: Case) -> Findings:
    if not case.task.pooled:
        return
    batch, head = case.frames_batch(), case.task.head(case.setup()).eval()
    with torch.no_grad():
        frames, means = predict(head, batch), predict(head, batch.means)
    equal = torch.allclose(frames, means, atol=1e-4, rtol=1e-4)
    yield equal, "it says that its head sees means alone, and means give what frames give"


CHECKS = (learns, keeps_rows_apart, sees_means_alone)


def _refused(case: Case, stride: int) -> list[str]:
    """Why the task's own check refuses the utterances at a stride."""
    if not case.task.check:
        return []
    some = replace(case.corpus, splits={"train": (), "dev": (), "test": case.items})
    return list(case.task.check(some, case.protocol, lambda samples: samples // stride))


def _has_gradients(head: nn.Module, loss: Tensor, what: str) -> Findings:
    loss.backward()
    gradients = {name: p.grad for name, p in head.named_parameters()}
    without = [
        name
        for name, gradient in gradients.items()
        if gradient is None or not bool(gradient.isfinite().all())
    ]
    moved = any(bool(g.any()) for g in gradients.values() if g is not None)
    but = f" (not {listed(without)})" if without else ""
    yield (
        not without and moved,
        f"{what} every parameter of the head gets a finite gradient{but}",
    )
