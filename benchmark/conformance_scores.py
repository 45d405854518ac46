"""What a task's scores must do: the part of `check task NAME` that is about numbers."""

import math
from collections.abc import Mapping
from typing import Any

from .conformance_head import Case, Findings, number, same
from .contract import Metric, Task
from .errors import listed
from .metrics import Failure, Ratio

CLOSE = 0.01  # of a value: how near to its best the truth must be judged


def _complete(task: Task, scored: Mapping[str, Any]) -> bool:
    values = [scored.get(metric.name) for metric in task.metrics]
    return all(
        isinstance(v, Failure) or (isinstance(v, (int, float, Ratio)) and math.isfinite(number(v)))
        for v in values
    )


def scores(case: Case) -> Findings:
    again = {}
    for example, row, n, scored in case.scored:
        yield (
            _complete(case.task, scored),
            (
                f"{example.id} gets every metric, a finite number, a ratio or a failure "
                f"({_told(case.task, scored)})"
            ),
        )
        again[example.id] = all(
            same(
                case.task.score(row, example, n, case.setup()).get(m.name),
                scored.get(m.name),
                exactly=True,
            )
            for m in case.task.metrics
        )
    yield all(again.values()), f"scored twice an utterance gets the same{_but(again)}"


def selects(case: Case) -> Findings:
    if not case.task.select:
        return
    first = case.task.metrics[0].name
    agree = {
        e.id: same(
            case.task.select(row, e, n, case.setup()).get(first), scored.get(first), exactly=True
        )
        for e, row, n, scored in case.scored
    }
    yield all(agree.values()), f"select gives the {first} that score gives{_but(agree)}"


def judges(case: Case) -> Findings:
    task, floors = (
        case.task,
        {"an untrained head": {e.id: scored for e, _, _, scored in case.scored}},
    )
    if case.floors:
        floors["doing nothing"] = case.floors
    judged = {
        e.id: task.judge(task.truth(e) if task.truth else e.target, e, case.protocol)
        for e in case.examples
    }
    for metric in task.metrics:
        values = {id: scored.get(metric.name) for id, scored in judged.items()}
        told = ", ".join(map(_plain, values.values()))
        if metric.best is not None:
            best = {id: _is(value, metric.best) for id, value in values.items()}
            yield (
                all(best.values()),
                f"the truth has the best {metric.name} there is, {metric.best:g} ({told})",
            )
            continue
        for what, floor in floors.items():
            better = {
                id: _at_least(value, floor[id].get(metric.name), metric)
                for id, value in values.items()
            }
            yield (
                all(better.values()),
                f"the truth has no worse {metric.name} than {what} ({told}){_but(better)}",
            )


def starts_from_a_floor(case: Case) -> Findings:
    if case.floors:
        whole = {id: _complete(case.task, floor) for id, floor in case.floors.items()}
        yield all(whole.values()), f"doing nothing gets every metric{_but(whole)}"


def _but(holds: Mapping[str, bool]) -> str:
    """Of which utterances it does not hold, for the end of a sentence."""
    wrong = [id for id, ok in holds.items() if not ok]
    return f" (not for {listed(wrong, 3)})" if wrong else ""


def _is(value: Any, best: float) -> bool:
    return (
        value is not None
        and not isinstance(value, Failure)
        and abs(number(value) - best) <= CLOSE * max(1.0, abs(best))
    )


def _at_least(value: Any, other: Any, metric: Metric) -> bool:
    if value is None or isinstance(value, Failure):
        return False
    if other is None or isinstance(other, Failure):
        return True
    gain = number(value) - number(other)
    return (gain if metric.higher_is_better else -gain) >= -CLOSE * max(1.0, abs(number(other)))


def _plain(value: Any) -> str:
    return (
        value.reason
        if isinstance(value, Failure)
        else "missing"
        if value is None
        else f"{number(value):.4g}"
    )


def _told(task: Task, scored: Mapping[str, Any]) -> str:
    return ", ".join(f"{metric.name} {_plain(scored.get(metric.name))}" for metric in task.metrics)


CHECKS = (scores, selects, judges, starts_from_a_floor)
