"""Print what an exit gets wrong, and in how long utterances: python tests/bench/measure_lengths.py
RESULTS UPSTREAM EXIT

Of the rows of that exit ("depth 4", "full") of an upstream of exactly that name, all seeds: words
substituted, left out and added, and the word error rate by the number of words that were said.
"""

import sys
from pathlib import Path

import pandas as pd
from earlyexit_superb.benchmark.report.folder import load_all

KINDS = ("substitutions", "deletions", "insertions")


def main() -> None:
    folder, upstream, exit = sys.argv[1:]
    rows = [
        row.utterances
        for row in load_all(Path(folder), "asr")
        if (row.cell.upstream, row.cell.exit) == (upstream, exit)
    ]
    table = pd.concat(rows)
    for name in ("wer", *KINDS):
        table[name] = table[name] * table[f"{name}_of"] / 100  # from percent to words
    said = table["wer_of"].sum()
    print(", ".join(f"{name} {100 * table[name].sum() / said:.1f} %" for name in KINDS))
    by_length = table.groupby("wer_of")[["wer"]].sum()["wer"]
    for words, errors in by_length.items():
        of = table.loc[table["wer_of"] == words, "wer_of"].sum()
        print(f"{words:g} words: {100 * errors / of:.1f} % of {of:g} in {len(rows)} rows")


if __name__ == "__main__":
    main()
