"""What one cell of the benchmark leaves behind: one JSON, written whole or not at all, and one CSV of its utterances."""
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import UsageError
from .metrics import Failure, Ratio, bootstrap_interval, mean
from .paths import write_text

SCHEMA = 1
FIX = ("free some space or choose another folder with --results, and repeat the command: "
       "what is finished is kept")


@dataclass(frozen=True)
class Cell:
    """What identifies a result. Device, workers and folders are not in it: they cannot change a number."""
    upstream: str
    revision: str
    task: str
    task_version: int
    protocol: str                    # a published name, or "custom" when a field differs
    settings: str                    # short hash of every protocol field
    corpus: str
    corpus_hash: str
    exit: str                        # "unprocessed", "full", "depth 6", "adaptive": what the row's reader needs first
    layer_norm: bool | None = None
    knob: str | None = None          # "rho" for DAISY
    value: float | None = None
    span: str | None = None
    seed: int | None = None

    def path(self, root: Path) -> Path:
        exit = self.exit + ("+ln" if self.layer_norm and not self.knob else "") + (
            f",{self.knob}={self.value:g},{self.span}" if self.knob else "") + (
            f",seed={self.seed}" if self.seed is not None else "")
        parts = [self.task, f"{self.corpus}-{self.corpus_hash}", f"{self.protocol}-{self.settings}", self.upstream,
                 f"{self.revision or 'none'}.{exit}.json"]
        return root.joinpath(*(re.sub(r"[^\w.,=+()-]+", "_", part) for part in parts))


@dataclass(frozen=True)
class Score:
    """A mean (of ratios: total over total) over the utterances that scored, with a 95 % bootstrap interval, and why the others did not."""
    mean: float | None
    low: float | None
    high: float | None
    n: int
    failed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def over(cls, values: Sequence[float | Ratio | Failure]) -> "Score":
        good = [v for v in values if not isinstance(v, Failure)]
        reasons: dict[str, int] = {}
        for value in values:
            if isinstance(value, Failure):
                reasons[value.reason] = reasons.get(value.reason, 0) + 1
        if not good:
            return cls(None, None, None, 0, len(values), reasons)
        low, high = bootstrap_interval(good)
        return cls(mean(good), low, high, len(good), len(values) - len(good), reasons)


@dataclass(frozen=True)
class Result:
    cell: Cell
    scores: Mapping[str, Score]
    depth: float | None = None                     # mean over utterances
    exit_histogram: Sequence[int] = ()             # utterances that left at depth 0, 1, ..., L
    macs_saved: float | None = None                # percent of the full upstream without branches
    time_saved: float | None = None                # percent, upstream alone, batch 1, same run
    device: str | None = None
    answered_by: str = "head"                      # or "upstream": no head was trained
    tuned_on: str = ""                             # the labelled data its upstream has seen
    detail: Mapping[str, Any] = field(default_factory=dict)   # calibration, cost, training, protocol fields, versions, command
    schema: int = SCHEMA

    def save(self, root: Path, utterances: Sequence[Mapping[str, Any]] = ()) -> Path:
        """Write <cell>.json, after its utterances' CSV: the JSON's presence says the cell is finished."""
        path = self.cell.path(root)
        if utterances:
            import pandas as pd
            table = pd.DataFrame(list(utterances)).to_csv(index=False, lineterminator="\n")
            write_text(path.with_suffix(".utterances.csv"), table, FIX)
        text = json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False)
        write_text(path, text + "\n", FIX)
        return path

    @classmethod
    def load(cls, path: Path) -> "Result":
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if raw["schema"] != SCHEMA:
                raise UsageError(f"{path}: result schema {raw['schema']}, this version reads {SCHEMA}; run it again with --force")
            scores = {name: Score(**score) for name, score in raw.pop("scores").items()}
            return cls(cell=Cell(**raw.pop("cell")), scores=scores, **raw)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{path} is not a result of this benchmark ({error}); move it away, or run its command again with "
                             "--force") from error


def load_all(root: Path, task: str | None = None) -> list[Result]:
    """Every result below `root`, in the order of their paths."""
    return [Result.load(p) for p in sorted(root.glob(f"{task or '*'}/*/*/*/*.json"))]
