"""What a result's JSON must be before anything believes it: types and ranges first (pydantic, from
the annotations in result.py), then that its numbers agree with one another.

What was written is not trusted: files are damaged, edited by hand, merged by synchronising
programs. Whatever is wrong is one sentence, a UsageError, and nothing of the file is used.
"""

import hashlib
import json
import math
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    FiniteFloat,
    PositiveInt,
    StrictBool,
    StrictStr,
    TypeAdapter,
)
from pydantic import ValidationError as Invalid

from ..contract import Metric
from ..errors import UsageError, listed
from ..migration import UPDATE, NewerSchema, refuse_newer, upgraded
from ..soundness import once
from .escaping import plain

LARGEST = 2**26  # bytes of a JSON that is read; a result has some ten thousand
DIGESTS = "digests"  # the key of `detail` that has them
BROKEN = (AttributeError, ArithmeticError, RecursionError)
SLACK = 1e-6  # by which equal numbers may differ, relative to their size
NEAR = 0.01  # a metric's `best` is what the truth scores to within 1 %


class Damaged(UsageError):
    """What a file holds cannot be believed. `why`: what is wrong, as it follows the file's name."""

    def __init__(self, path: Path, why: str, mend: str):
        super().__init__(f"{plain(str(path))} {why}; {mend}")
        self.path, self.why = path, why


@dataclass(frozen=True)
class _Metric(Metric):
    """No field but its own, each of its own type."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Exit(BaseModel):
    depths: list[int] = []
    tau: FiniteFloat | list[FiniteFloat] | None = None
    patience: int = 1
    compares_exits: bool = False


class _Calibration(BaseModel):
    depth_means: list[FiniteFloat]
    exits: list[int] | None = None
    n: int
    evidence: StrictStr


class _Training(BaseModel):
    device: StrictStr | None = None


class _Budget(BaseModel):
    saved: FiniteFloat


class _MaxLoss(BaseModel):
    unit: StrictStr
    risk: FiniteFloat
    n: int
    test_risk: FiniteFloat | None
    held: StrictBool | None


class Detail(BaseModel):
    """The parts of a result's detail that anything here reads; the rest may be what it likes."""

    metrics: list[_Metric] | None = None
    exit: _Exit | None = None
    calibration: _Calibration | None = None
    training: _Training | None = None
    budget: _Budget | None = None
    max_loss: _MaxLoss | None = None
    control: dict[str, Any] | None = None
    kind: StrictStr = ""
    recipe: StrictStr = ""
    stepped: StrictBool = True
    dim: PositiveInt | None = None
    stride: PositiveInt | None = None


def text_of(path: Path) -> str:
    """What a result's file holds. Damaged where it is no regular file (a FIFO would never end),
    is too large, or is not UTF-8."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is no regular file")
        if about.st_size > LARGEST:
            raise ValueError(f"it has {about.st_size / 2**20:.0f} MiB")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise refused(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise refused(path, str(error)) from error


def checked(path: Path, of: type) -> tuple[Any, dict[str, str] | None]:
    """The result (an `of`) that a file holds, of this or an older schema, and the digests that it
    keeps; None where an older version wrote it.

    Raises: Damaged, in one sentence, where it holds none, or one that contradicts itself;
        NewerSchema where a newer version wrote it.
    """
    sealed = None
    try:
        raw = json.loads(text_of(path), object_pairs_hook=once, parse_constant=_no_constant)
        if not isinstance(raw, dict):
            raise ValueError("no fields")
        refuse_newer(raw["schema"], path)  # which may have other digests, too
        sealed = raw.get("detail", {}).pop(DIGESTS, None)
        if sealed is not None and sealed.get("row") != digest(raw):
            raise ValueError(
                "it was changed after it was written; where that was meant, remove the "
                f"{DIGESTS} from its detail"
            )
        raw = upgraded(raw)
        Detail.model_validate_json(json.dumps(raw["detail"]), strict=True)
        result = _adapter(of).validate_json(json.dumps(raw))
    except Invalid as error:
        if sealed is not None and _only_unknown(error):
            raise NewerSchema(
                f"{plain(str(path))} is as it was written, by a version that knows more fields "
                f"({plain(_said(error), 300)}); {UPDATE}"
            ) from error
        raise refused(path, _said(error)) from error
    except (LookupError, TypeError, ValueError, *BROKEN) as error:
        raise refused(path, _short(error)) from error
    if wrong := contradictions(result):
        raise refused(path, listed(wrong, 3))
    return result, sealed


def refused(path: Path, why: str) -> Damaged:
    """The sentence about a file that is no result."""
    return Damaged(
        path,
        f"is not a result of this benchmark ({plain(why, 300)})",
        "move it away, or run its command again with --force",
    )


def digest(raw: Mapping[str, Any]) -> str:
    """Of a result's fields, however they are laid out in the file."""
    return hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()


def contradictions(result: Any) -> list[str]:
    """Where the numbers of a result cannot all be true, a few words each."""
    wrong = []
    cell, scores, cost = result.cell, result.scores, result.cost
    if (cell.knob is None) != (cell.value is None):
        wrong.append("a knob without a value, or a value without a knob")
    for name, score in scores.items():
        wrong += [f"{name}: {why}" for why in _of_score(score)]
    counts = {score.n + score.failed for score in scores.values()}
    if len(counts) != 1:
        wrong.append("its metrics are not over the same utterances")
    wrong += _of_depths(result, max(counts, default=0))
    if not _ordered(cost.time_saved_low, cost.time_saved, cost.time_saved_high):
        wrong.append("time_saved is not between its quartiles")
    if not _ordered(cost.params_m, cost.params_all_m):
        wrong.append("params_m is above params_all_m")
    return wrong


def _of_score(score: Any) -> list[str]:
    numbers = (score.mean, score.low, score.high)
    wrong = []
    if not all((number is None) == (score.n == 0) for number in numbers):
        wrong.append("a mean without utterances, or utterances without a mean")
    elif score.n and score.low > score.high:
        wrong.append("low is above high")
    if sum(score.reasons.values()) != score.failed:
        wrong.append("its reasons do not add up to failed")
    return wrong


def _of_depths(result: Any, utterances: int) -> list[str]:
    """The mean depth is that of the histogram, which counts every utterance once."""
    histogram, depth = result.exit_histogram, result.depth
    if not histogram:
        return ["a depth without a histogram"] if depth is not None else []
    if depth is None or sum(histogram) != utterances:
        return ["its histogram does not count its utterances"]
    mean = sum(k * n for k, n in enumerate(histogram)) / max(1, utterances)
    return [] if close(mean, depth) else [f"depth {depth:g}, its histogram says {mean:g}"]


def out_of_range(value: float, metric: Metric) -> bool:
    """Whether no utterance and no mean can have that score."""
    low, high = metric.least, metric.most
    if metric.best is not None:
        slack = NEAR * max(1.0, abs(metric.best))
        if metric.higher_is_better and high is None:
            high = metric.best + slack
        elif not metric.higher_is_better and low is None:
            low = metric.best - slack if metric.best else 0.0
    below = low is not None and value < low - SLACK * max(1.0, abs(low))
    return below or (high is not None and value > high + SLACK * max(1.0, abs(high)))


def close(a: float, b: float, size: float = 1.0) -> bool:
    return abs(a - b) <= SLACK * max(1.0, size, abs(b))


def _ordered(*values: float | None) -> bool:
    known = [value for value in values if value is not None]
    return all(a <= b or math.isclose(a, b) for a, b in pairwise(known))


@cache
def _adapter(of: type) -> TypeAdapter:
    return TypeAdapter(of)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _said(error: Invalid) -> str:
    wrong = error.errors(include_url=False, include_context=False, include_input=False)
    return listed([f"{'.'.join(map(str, of['loc']))}: {of['msg']}" for of in wrong], 3)


def _only_unknown(error: Invalid) -> bool:
    """Whether nothing is wrong but that fields are there which this version does not have."""
    kinds = {of["type"] for of in error.errors(include_url=False, include_input=False)}
    return kinds <= {"extra_forbidden", "unexpected_keyword_argument"}


def _short(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "its brackets are nested too deep"
    return f"no {error}" if isinstance(error, KeyError) else str(error)
