"""Results to tables: a pure function of the JSONs, so the same files give the same bytes."""
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .paths import locked, write_text
from .result import Result, load_all

LEADING = [
    "upstream", "revision", "tuned_on", "answered_by", "task", "task_version", "protocol", "corpus",
    "exit", "knob", "value", "rho", "span", "seed",
]
TRAILING = ["n", "failed", "depth", "macs_saved", "time_saved", "device"]


def row(result: Result) -> dict:
    """One result as one line. Numbers stay numbers; what does not apply is empty."""
    from .registry import tasks
    cell = result.cell
    scores = {m.name: result.scores[m.name] for m in tasks.get(cell.task).metrics}      # as the task orders them
    exit = cell.exit + (" + layer-norm" if cell.layer_norm and not cell.knob else "")
    means = {name: _rounded(s.mean) for name, s in scores.items()}
    intervals = {f"{name}_{end}": _rounded(getattr(s, end)) for name, s in scores.items() for end in ("low", "high")}
    return {"upstream": cell.upstream, "revision": cell.revision, "tuned_on": result.tuned_on,
            "answered_by": result.answered_by, "task": cell.task, "task_version": cell.task_version,
            "protocol": cell.protocol if cell.protocol != "custom" else f"custom-{cell.settings}",
            "corpus": f"{cell.corpus}@{cell.corpus_hash}", "exit": exit,
            "knob": cell.knob, "value": cell.value,
            # what DAISY's users look for
            "rho": cell.value if cell.knob == "rho" else None, "span": cell.span, "seed": cell.seed, **means, **intervals,
            "n": min(s.n for s in scores.values()), "failed": max(s.failed for s in scores.values()),
            "depth": _rounded(result.depth), "macs_saved": _rounded(result.macs_saved, 2),
            "time_saved": _rounded(result.time_saved, 2), "device": result.device}


def board(results: Sequence[Result]) -> pd.DataFrame:
    """The leaderboard of one task: corpora and protocols apart, then by the ranking metric, best first."""
    if not results:
        return pd.DataFrame(columns=LEADING + TRAILING)
    from .registry import tasks
    metrics = tasks.get(results[0].cell.task).metrics
    names = [m.name for m in metrics]
    columns = LEADING + names + [f"{n}_{end}" for n in names for end in ("low", "high")] + TRAILING
    frame = pd.DataFrame([row(r) for r in results], columns=columns).astype({"seed": "Int64"})
    return frame.sort_values(["corpus", "protocol", names[0], "depth", "upstream", "exit", "value", "span", "seed"],
                             ascending=[True, True, not metrics[0].higher_is_better] + [True] * 6,
                             kind="stable", ignore_index=True)


def write(root: Path, task: str) -> list[Path]:
    """Rebuild leaderboard_<task>.csv and .md in `root` from the JSONs below it."""
    paths = [root / f"leaderboard_{task}.csv", root / f"leaderboard_{task}.md"]
    with locked(root / f"leaderboard_{task}.lock"):     # of two who write at once the later has read both's rows
        frame = board(load_all(root, task))
        write_text(paths[0], _safe(frame).to_csv(index=False, lineterminator="\n"))
        write_text(paths[1], f"# {task}\n\n{markdown(screen(frame))}\n")
    return paths


def screen(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns a person compares, as text: metrics with half their interval, savings in percent."""
    metrics = [c.removesuffix("_low") for c in frame.columns if c.endswith("_low")]
    out = frame[["upstream", "exit", "knob", "value", "span"]].copy()
    for name in ("tuned_on", "answered_by"):  # said where a row is not of the usual kind
        if not frame[name].isin(["", "head"]).all():
            out.insert(1, name, frame[name])
    for name in metrics:
        half = (frame[f"{name}_high"] - frame[f"{name}_low"]) / 2
        out[name] = [_text(m, 3) + (f" ±{h:.3f}" if h == h and m == m else "") for m, h in
                     zip(frame[name].astype(float), half.astype(float), strict=True)]
    for name, digits in (("depth", 2), ("macs_saved", 1), ("time_saved", 1)):
        out[name] = [_text(v, digits) + (" %" if name != "depth" and v == v else "") for v in frame[name].astype(float)]
    out["failed"] = frame["failed"].astype(int).astype(str)
    out["n"] = frame["n"].astype(int).astype(str)
    out["value"] = [_text(v, 2) for v in frame["value"].astype(float)]
    return out.fillna("").astype(str)


def markdown(frame: pd.DataFrame) -> str:
    lines = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _text(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value == value else ""


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)


def _safe(frame: pd.DataFrame) -> pd.DataFrame:
    """Text that a spreadsheet would run as a formula gets a leading apostrophe: names come from strangers."""
    return frame.map(lambda v: f"'{v}" if isinstance(v, str) and v[:1] in "=+-@\t\r" else v)
