"""Print whether evidence tells the utterances that more depth helps: python
tests/bench/measure_leavers.py RESULTS

Of every threshold of a results folder's recognisers: the share of utterances that leave at the
first exit, and for them and for the others the error rate there, at the last exit, and the
difference with its 95 % interval (speakers resampled, then all their utterances of all seeds).
Evidence that tells who errs makes the first numbers differ; what exits can win by it is the last.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from earlyexit_superb.benchmark import resampling
from earlyexit_superb.benchmark.report.curve import FIXED
from earlyexit_superb.benchmark.report.folder import load_all
from earlyexit_superb.benchmark.report.result import Result
from earlyexit_superb.benchmark.report.utterances import scores

METRIC = "wer"


def told(name: str, pairs: Sequence[tuple[Result, Result]], chosen: Sequence[np.ndarray]) -> None:
    """(first, last) exits of each seed, (n,) booleans of each."""
    both = [(scores(first, METRIC), scores(last, METRIC)) for first, last in pairs]
    early = np.concatenate([a.part[keep] for (a, _), keep in zip(both, chosen, strict=True)])
    late = np.concatenate([b.part[keep] for (_, b), keep in zip(both, chosen, strict=True)])
    whole = np.concatenate([a.whole[keep] for (a, _), keep in zip(both, chosen, strict=True)])
    names = [
        who
        for (a, _), keep in zip(both, chosen, strict=True)
        for who, kept in zip(a.speakers, keep, strict=True)
        if kept
    ]
    if not names:
        print(f"  {name:7} none")
        return
    low, high = resampling.interval(resampling.totals(late - early, whole, tuple(names)))
    rates = [part.sum() / whole.sum() for part in (early, late, late - early)]
    print(
        f"  {name:7} first exit {rates[0]:.2f}, last {rates[1]:.2f}, {rates[2]:+.2f} "
        f"({low:+.2f} to {high:+.2f}), {100 * np.mean(early == late):.0f} % err alike"
    )


def main() -> None:
    lines = defaultdict(list)
    rows = load_all(Path(sys.argv[1]), "asr")
    for row in rows:
        fixed = FIXED.fullmatch(row.cell.exit)
        who = (
            row.cell.upstream,
            row.detail.get("recipe", ""),
        )  # trainings of another one stand apart
        lines[who, "fixed" if fixed else (row.cell.exit, row.cell.value)].append(row)
    for (who, kind), those in sorted(lines.items(), key=str):
        if kind[0] != "adaptive":
            continue
        pairs, leaving = [], []
        for row in those:
            fixed = [r for r in lines[who, "fixed"] if r.cell.seed == row.cell.seed]
            fixed = [r for r in fixed if r.cell.revision == row.cell.revision]
            fixed.sort(key=lambda r: r.depth)
            pairs.append((fixed[0], fixed[-1]))
            table = row.utterances.sort_values("id", kind="stable")
            leaving.append((table["depth"] == fixed[0].depth).to_numpy())
        share = 100 * np.mean([one.mean() for one in leaving])
        print(f"{who[0]}, {kind[1]:g}: {len(those)} seeds, {share:.0f} % leave at the first exit")
        told("leave", pairs, leaving)
        told("stay", pairs, [~one for one in leaving])


if __name__ == "__main__":
    main()
