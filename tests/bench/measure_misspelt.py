"""Print which words a recogniser gets wrong at its exits, most often first: python
tests/bench/measure_misspelt.py UPSTREAM WEIGHTS EXIT [EXIT ...]

On the test split of the built-in sentences, each utterance alone, as rows hear them.
"""

import sys
from collections import Counter

import jiwer
import torch
from earlyexit_superb.benchmark.audio import read
from earlyexit_superb.benchmark.exiting import Exit, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream, tasks
from earlyexit_superb.tasks.asr import text


def main() -> None:
    name, weights, *exits = sys.argv[1:]
    upstream, task = build_upstream(name, {"weights": weights}).eval(), tasks.get("asr")
    corpus = task.corpus(None, task.protocols[task.builtin])
    for depth in map(int, exits):
        wrong: Counter[str] = Counter()
        for item in corpus.splits["test"]:
            wav = torch.as_tensor(read(item.path, item.start, item.samples)).float()[None]
            left = run_until_exit(upstream, wav, torch.tensor([wav.shape[1]]), Exit((depth,)))
            aligned = jiwer.process_words(text(item), upstream.decode(left.answers[0], "asr"))
            for part in aligned.alignments[0]:
                if part.type != "equal":
                    meant = aligned.references[0][part.ref_start_idx : part.ref_end_idx]
                    said = aligned.hypotheses[0][part.hyp_start_idx : part.hyp_end_idx]
                    wrong[f"{' '.join(meant) or '-'} as {' '.join(said) or '-'}"] += max(
                        len(meant), len(said)
                    )
        most = ", ".join(f"{words} {count}" for words, count in wrong.most_common(6))
        print(f"exit {depth}: {wrong.total()} errors: {most}")


if __name__ == "__main__":
    main()
