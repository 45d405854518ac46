"""Comparing values of metrics: numbers, ratios (of sums over a corpus) and failures."""

import math
from collections.abc import Mapping
from typing import Any

from ..contract import Metric, Task
from ..errors import listed
from ..metrics import Failure, Ratio

NEAR = 1e-3  # of a value: what an utterance may change by in a batch with others
CLOSE = 0.01  # of a value: how near to its best the truth must be judged


def number(value: Any) -> float:
    return value.part / value.whole if isinstance(value, Ratio) else float(value)


def near(a: float, b: float) -> bool:
    return abs(a - b) <= NEAR * max(1.0, abs(a), abs(b))


def same(a: Any, b: Any, exactly: bool = False) -> bool:
    """Whether two values of a metric agree; a missing one agrees with none."""
    if a is None or b is None:
        return False
    if exactly or isinstance(a, Failure) or isinstance(b, Failure):
        return bool(a == b)
    return near(number(a), number(b))


def is_best(value: Any, best: float) -> bool:
    """Whether a value is the best there is, within CLOSE."""
    if value is None or isinstance(value, Failure):
        return False
    return abs(number(value) - best) <= CLOSE * max(1.0, abs(best))


def at_least(value: Any, other: Any, metric: Metric) -> bool:
    """Whether a value is no worse than another, within CLOSE; anything beats a failure."""
    if value is None or isinstance(value, Failure):
        return False
    if other is None or isinstance(other, Failure):
        return True
    gain = number(value) - number(other)
    allowed = CLOSE * max(1.0, abs(number(other)))
    return (gain if metric.higher_is_better else -gain) >= -allowed


def complete(task: Task, scores: Mapping[str, Any]) -> bool:
    """Whether every metric has a finite number, a ratio or a failure."""
    values = [scores.get(metric.name) for metric in task.metrics]
    return all(isinstance(value, Failure) or _finite(value) for value in values)


def plain(value: Any) -> str:
    """A value for a sentence."""
    if isinstance(value, Failure):
        return value.reason
    return "missing" if value is None else f"{number(value):.4g}"


def formatted(task: Task, scores: Mapping[str, Any]) -> str:
    """Every metric and its value, for a sentence."""
    return ", ".join(f"{metric.name} {plain(scores.get(metric.name))}" for metric in task.metrics)


def exceptions(holds: Mapping[str, bool]) -> str:
    """Of which utterances something does not hold, for the end of a sentence."""
    wrong = [name for name, ok in holds.items() if not ok]
    return f" (not for {listed(wrong, 3)})" if wrong else ""


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float, Ratio)) and math.isfinite(number(value))
