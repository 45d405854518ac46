"""What one cell of the benchmark leaves behind: one JSON and one CSV of its utterances, each
written whole or not at all.

The annotations are the schema that a JSON is held against when it is read (schema.py), with their
ranges; `utterance_table.py` holds it against its utterances. Older schemas are read by
`migration.py`.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field

from ..contract import Metric
from ..metrics import Failure, Ratio, bootstrap_interval, mean
from ..migration import SCHEMA
from ..storage import write_text

if TYPE_CHECKING:
    import pandas as pd

FIX = (
    "free some space or choose another folder with --results, and repeat the command: "
    "what is finished is kept"
)


CHOSEN = ("budget ", "max loss ")  # begin the exits whose test threshold no knob's value gave

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
Name = Annotated[str, Field(max_length=1000)]
Number = Annotated[float, Field(ge=-1e12, le=1e12)]
Amount = Annotated[float, Field(ge=0, le=1e12)]
Percent = Annotated[float, Field(ge=-1e12, le=100)]  # that is saved: below 0 where it costs more
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=10**12)]


@dataclass(frozen=True)
class Cell:
    """What identifies a result. Device, workers and folders are not in it: they change no number.

    Attributes:
        protocol: a published name, or "custom" when a field differs.
        settings: a short hash of every field of the protocol.
        exit: unprocessed, full, depth 6, adaptive, ...: what the row's reader needs first.
        layer_norm: before the weighted sum; None where no head is trained.
        knob, value, span: of an adaptive row: "rho", 0.7 and "mean" for DAISY.
        test_value: the knob's value at test, where it is not the one the head was trained with.
        seed: of head weights, batches and dropout.
    """

    __pydantic_config__ = STRICT

    upstream: Name
    revision: Name
    task: Name
    task_version: Count
    protocol: Name
    settings: Name
    corpus: Name
    corpus_hash: Name
    exit: Name
    layer_norm: bool | None = None
    knob: Name | None = None
    value: Number | None = None
    span: Name | None = None
    seed: Count | None = None
    test_value: Number | None = None

    def path(self, root: Path) -> Path:
        """<task>/<corpus>/<protocol>/<upstream>/<exit>-<hash of the whole cell>.json, all slugs."""
        exit = [self.exit, "ln" if self.layer_norm and not self.knob else ""]
        exit += [f"{self.knob} {self.value:g}"] if self.knob else []
        exit += [] if self.test_value is None else [f"test {self.test_value:g}"]
        exit += [self.span or ""] if self.knob else []
        exit += [] if self.seed is None else [f"seed {self.seed}"]
        known = asdict(self)
        if self.test_value is None:  # a row without it keeps its place
            del known["test_value"]
        told = json.dumps(known, sort_keys=True).encode()
        parts = [
            self.task,
            f"{self.corpus}-{self.corpus_hash}",
            f"{self.protocol}-{self.settings}",
            f"{self.upstream}-{self.revision}" if self.revision else self.upstream,
        ]
        name = slug(" ".join(exit)) + "-" + hashlib.sha256(told).hexdigest()[:8] + ".json"
        return root.joinpath(*map(slug, parts), name)


def slug(text: str, longest: int = 80) -> str:
    """Letters, digits, dots and hyphens: a name that every shell and file system takes as it is."""
    cleaned = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:longest]
    return cleaned.strip("-.") or "none"


@dataclass(frozen=True)
class Score:
    """A metric over the utterances that scored, and why the others did not.

    Attributes:
        mean: of ratios: total over total. None when nothing scored.
        low, high: its 95 % bootstrap interval, over speakers where they are known, then
            utterances.
        n, failed: utterances with and without a score; reasons: of the latter, counted.
    """

    __pydantic_config__ = STRICT

    mean: Number | None
    low: Number | None
    high: Number | None
    n: Count
    failed: Count = 0
    reasons: Mapping[str, Count] = field(default_factory=dict)

    @classmethod
    def over(
        cls, values: Sequence[float | Ratio | Failure], speakers: Sequence[str] = ()
    ) -> "Score":
        """Args: speakers: of each value, where they are known."""
        good = [v for v in values if not isinstance(v, Failure)]
        names = [s for v, s in zip(values, speakers, strict=False) if not isinstance(v, Failure)]
        reasons: dict[str, int] = {}
        for value in values:
            if isinstance(value, Failure):
                reasons[value.reason] = reasons.get(value.reason, 0) + 1
        if not good:
            return cls(None, None, None, 0, len(values), reasons)
        low, high = bootstrap_interval(good, names)
        return cls(mean(good), low, high, len(good), len(values) - len(good), reasons)


@dataclass(frozen=True)
class Cost:
    """The compute of one row, each number in its own unit and none mixed with another.

    Attributes:
        gmacs_per_s: 10^9 multiply-accumulates a second of audio over the test split, the upstream
            with every branch and answer that was computed.
        rtfx: seconds of audio a second of the upstream, batch 1, on the row's device.
        params_m: millions of parameters needed to reach the deepest exit taken, tested branches
            included; params_all_m: those of a full pass with every branch.
        peak_mib: memory of a live run beyond the weights, batch 1, the longest timed utterance.
        reference: what savings are against: an upstream at its full depth, nothing tested.
        macs_saved: percent of its multiply-accumulates over the test split.
        time_saved: percent of its time, the median over passes of the ratio within a pass, with
            the quartiles time_saved_low and time_saved_high.
        timed: utterances timed; timed_macs_saved: macs_saved over exactly those.
    """

    __pydantic_config__ = STRICT

    gmacs_per_s: Amount | None = None
    rtfx: Amount | None = None
    params_m: Amount | None = None
    params_all_m: Amount | None = None
    peak_mib: Amount | None = None
    reference: Name | None = None
    macs_saved: Percent | None = None
    time_saved: Percent | None = None
    time_saved_low: Percent | None = None
    time_saved_high: Percent | None = None
    timed: Count | None = None
    timed_macs_saved: Percent | None = None


@dataclass(frozen=True)
class Result:
    """One row of a table and everything that it was made of.

    Attributes:
        scores: by metric. depth: mean over utterances.
        exit_histogram: utterances that left at depth 0, 1, ..., L.
        answered_by: "head", or "upstream" where no head was trained; "" for an unprocessed row.
        tuned_on: the labelled data that the upstream's weights have seen.
        layer_weights: the softmax of the learned weighted sum, depth 0, 1, ..., to a fixed exit or
            the last; () without a head.
        detail: exit, calibration, training, protocol fields, versions, command, and of its upstream
            `kind`, `stepped`, `recipe` and more, as the card has them.
        path: the JSON it was read from; sealed: the digests that it keeps of itself and of its
            utterances' table. Neither is one of its fields.
    """

    __pydantic_config__ = STRICT

    cell: Cell
    scores: Annotated[Mapping[Name, Score], Field(min_length=1)]
    depth: Amount | None = None
    exit_histogram: Sequence[Count] = ()
    cost: Cost = Cost()
    device: Name | None = None
    answered_by: Name = "head"
    tuned_on: Name = ""
    layer_weights: Sequence[Share] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA
    path: Path | None = field(default=None, compare=False)
    sealed: Mapping[str, str] | None = field(default=None, compare=False)

    @cached_property
    def utterances(self) -> "pd.DataFrame | None":
        """The table beside the JSON that it was read from; None where there is none.

        Raises: Damaged where the result does not follow from it.
        """
        from . import utterance_table

        path = self.path.with_suffix(".utterances.csv") if self.path else None
        table = utterance_table.read(path, self.sealed) if path else None
        if path and table is not None:
            utterance_table.check(table, self, bounded(self), path)
        return table

    def save(self, root: Path, utterances: Sequence[Mapping[str, Any]] = ()) -> Path:
        """Write <cell>.json after its utterances' CSV: the JSON says that the cell is finished, and
        keeps digests of both.
        """
        from . import schema, utterance_table

        path, sealed = self.cell.path(root), {}
        if utterances:
            import pandas as pd

            table = pd.DataFrame(list(utterances)).to_csv(index=False, lineterminator="\n")
            write_text(path.with_suffix(".utterances.csv"), table, FIX)
            sealed["utterances"] = utterance_table.digest(table.encode())
        kept = asdict(self)
        del kept["path"], kept["sealed"]
        kept = json.loads(json.dumps(kept, allow_nan=False))  # names of fields as JSON has them
        sealed["row"] = schema.digest(kept)
        kept["detail"][schema.DIGESTS] = sealed
        write_text(path, json.dumps(kept, indent=1, sort_keys=True) + "\n", FIX)
        return path

    @classmethod
    def load(cls, path: Path) -> "Result":
        """A result of this or an older schema, its numbers in their ranges; its utterances' table
        is looked at when it is asked for.

        Raises: Damaged where the file holds none; NewerSchema where a newer version wrote it.
        """
        from . import schema

        found, sealed = schema.checked(path, cls)
        weights = tuple(found.layer_weights)
        found = replace(found, layer_weights=weights, path=path, sealed=sealed)
        stored = {metric.name for metric in measured(found)}
        if stored != found.scores.keys():
            raise schema.refused(path, "its scores are not those of its metrics")
        for metric in bounded(found):
            score = found.scores[metric.name]
            for value in (score.mean, score.low, score.high):
                if value is not None and schema.out_of_range(value, metric):
                    raise schema.refused(path, f"{metric.name} {value:g} is out of its range")
        return found


def measured(result: Result) -> Sequence[Metric]:
    """What its task measures, as the result says; one of before results said it asks the task."""
    if found := result.detail.get("metrics"):
        return [Metric(**metric) for metric in found]
    if found := declared(result.cell.task):
        return found
    from .schema import Damaged

    raise Damaged(
        result.path or Path(result.cell.exit),
        f"does not say what was measured, and no task is called {result.cell.task!r:.40} here",
        "move it away, or install the task",
    )


def bounded(result: Result) -> list[Metric]:
    """What was measured, with the ranges that its task declares by now, where it is there."""
    known = {(m.name, m.unit): m for m in declared(result.cell.task)}
    return [known.get((m.name, m.unit), m) for m in measured(result)]


@cache
def declared(task: str) -> Sequence[Metric]:
    """The metrics of a task that is installed here, else (): a file's word imports nothing else."""
    from ..registry import tasks

    return tasks.get(task).metrics if task in tasks.names() and not tasks.probe(task) else ()
