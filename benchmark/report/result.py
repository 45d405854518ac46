"""What one cell of the benchmark leaves behind: one JSON and one CSV of its utterances, each
written whole or not at all. Older schemas are read by `migration.py`.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract import Metric
from ..errors import UsageError
from ..metrics import Failure, Ratio, bootstrap_interval, mean
from ..migration import SCHEMA, upgraded
from ..storage import write_text

if TYPE_CHECKING:
    import pandas as pd

FIX = (
    "free some space or choose another folder with --results, and repeat the command: "
    "what is finished is kept"
)


CHOSEN = ("budget ", "max loss ")  # begin the exits whose test threshold no knob's value gave


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

    upstream: str
    revision: str
    task: str
    task_version: int
    protocol: str
    settings: str
    corpus: str
    corpus_hash: str
    exit: str
    layer_norm: bool | None = None
    knob: str | None = None
    value: float | None = None
    span: str | None = None
    seed: int | None = None
    test_value: float | None = None

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
        low, high: its 95 % bootstrap interval, over speakers where they are known, then utterances.
        n, failed: utterances with and without a score; reasons: of the latter, counted.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    failed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)

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

    gmacs_per_s: float | None = None
    rtfx: float | None = None
    params_m: float | None = None
    params_all_m: float | None = None
    peak_mib: float | None = None
    reference: str | None = None
    macs_saved: float | None = None
    time_saved: float | None = None
    time_saved_low: float | None = None
    time_saved_high: float | None = None
    timed: int | None = None
    timed_macs_saved: float | None = None


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
        detail: exit, calibration, training, protocol fields, versions, command.
        path: the JSON it was read from; not kept in it.
    """

    cell: Cell
    scores: Mapping[str, Score]
    depth: float | None = None
    exit_histogram: Sequence[int] = ()
    cost: Cost = Cost()
    device: str | None = None
    answered_by: str = "head"
    tuned_on: str = ""
    layer_weights: Sequence[float] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA
    path: Path | None = field(default=None, compare=False)

    @cached_property
    def utterances(self) -> "pd.DataFrame | None":
        """The table beside the JSON that it was read from; None where there is none."""
        import pandas as pd

        table = self.path.with_suffix(".utterances.csv") if self.path else None
        if table is None or not table.exists():
            return None
        text = {"id": str, "speaker": str, "noise": str}  # which may be called NA
        found = pd.read_csv(table, dtype=text, keep_default_na=False, na_values=[""])
        named = [name for name in text if name in found]
        return found.fillna(dict.fromkeys(named, ""))

    def save(self, root: Path, utterances: Sequence[Mapping[str, Any]] = ()) -> Path:
        """Write <cell>.json after its utterances' CSV: the JSON says that the cell is finished."""
        path = self.cell.path(root)
        if utterances:
            import pandas as pd

            table = pd.DataFrame(list(utterances)).to_csv(index=False, lineterminator="\n")
            write_text(path.with_suffix(".utterances.csv"), table, FIX)
        kept = asdict(self)
        del kept["path"]
        text = json.dumps(kept, indent=1, sort_keys=True, allow_nan=False)
        write_text(path, text + "\n", FIX)
        return path

    @classmethod
    def load(cls, path: Path) -> "Result":
        """A result of this or an older schema. UsageError where it is none."""
        try:
            raw = upgraded(json.loads(path.read_text(encoding="utf-8")), path)
            scores = {name: Score(**score) for name, score in raw.pop("scores").items()}
            cell, cost = Cell(**raw.pop("cell")), Cost(**raw.pop("cost"))
            weights = tuple(raw.pop("layer_weights", ()))
            return cls(cell=cell, scores=scores, cost=cost, layer_weights=weights, path=path, **raw)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{path} is not a result of this benchmark ({error}); move it away, or run its "
                "command again with --force"
            ) from error


def load_all(root: Path, task: str | None = None) -> list[Result]:
    """Every cell below `root`, in the order of their paths; of a cell that is there twice, once
    where an older version wrote it, the one at its own path."""
    found: dict[Cell, tuple[Path, Result]] = {}
    for path in sorted(root.glob(f"{slug(task) if task else '*'}/*/*/*/*.json")):
        result = Result.load(path)
        if result.cell not in found or path == result.cell.path(root):
            found[result.cell] = path, result
    return [result for _, result in sorted(found.values(), key=lambda at: at[0])]


def measured(result: Result) -> Sequence[Metric]:
    """What its task measures, as the result says; one of before results said it asks the task."""
    if found := result.detail.get("metrics"):
        return [Metric(**metric) for metric in found]
    from ..registry import tasks

    return tasks.get(result.cell.task).metrics
