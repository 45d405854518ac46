"""Paired differences: identical rows, failures, rates, seeds, speakers."""

import numpy as np
import pandas as pd
import pytest
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.report import paired
from earlyexit_superb.benchmark.report.utterances import mixed, scores
from helpers.rows import kept


def some(n=60, seed=0):
    return np.random.default_rng(seed).normal(2, 0.5, n)


def test_identical_rows_differ_by_nothing(tmp_path):
    a, b = (kept(tmp_path, some(), exit=exit) for exit in ("full", "depth 6"))
    found = paired.difference([a], [b], "pesq")
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert found.n == 60 and found.speakers == 6 and found.seeds == 1 and found.spread is None


def test_a_constant_gain_is_certain_and_turns_its_sign(tmp_path):
    a, b = kept(tmp_path, some() + 0.25), kept(tmp_path, some(), exit="depth 6")
    there, back = (paired.difference(x, y, "pesq") for x, y in (([a], [b]), ([b], [a])))
    assert (there.value, there.low, there.high) == pytest.approx((0.25, 0.25, 0.25))
    assert back.value == -there.value and there.p == back.p == 2 / 2001
    assert there.a - there.b == pytest.approx(there.value)


def test_failures_are_left_out_of_both_and_counted(tmp_path):
    x, y = some(), some(seed=1)
    x[3], y[[5, 6]] = np.nan, np.nan
    a, b = kept(tmp_path, x), kept(tmp_path, y, exit="depth 6")
    found = paired.difference([a], [b], "pesq")
    whole = ~np.isnan(x) & ~np.isnan(y)
    assert (found.n, found.left_out) == (57, 3)
    assert found.value == pytest.approx((x - y)[whole].mean())
    with pytest.raises(UsageError, match="share no utterance"):
        paired.difference([a], [kept(tmp_path, x * np.nan, exit="depth 3")], "pesq")


def test_a_rate_is_total_over_total(tmp_path):
    words = np.arange(1, 61)
    errors = np.random.default_rng(0).integers(0, words + 1)
    fewer = errors // 2
    a, b = (
        kept(tmp_path, 100 * e / words, exit=exit, wholes=words)
        for e, exit in ((errors, "full"), (fewer, "depth 6"))
    )
    found = paired.difference([a], [b], "pesq")
    assert found.value == pytest.approx(100 * (errors.sum() - fewer.sum()) / words.sum())
    other = kept(tmp_path, 100 * errors / words, exit="depth 3", wholes=words + 1)
    with pytest.raises(UsageError, match="different references"):
        paired.difference([a], [other], "pesq")


def test_seeds_are_averaged_by_utterance_and_only_common_ones(tmp_path):
    noise = [some(seed=s) for s in range(4)]
    a = [kept(tmp_path, noise[s], seed=s) for s in (0, 1, 2)]
    b = [kept(tmp_path, noise[0] - s, seed=s, exit="depth 6") for s in (1, 2, 3)]
    found = paired.difference(a, b, "pesq")
    x = np.mean([noise[1] - noise[0] + 1, noise[2] - noise[0] + 2], axis=0)
    assert found.seeds == 2 and found.value == pytest.approx(x.mean())
    each = [(noise[s] - noise[0] + s).mean() for s in (1, 2)]
    assert found.spread == pytest.approx(np.std(each, ddof=1))
    with pytest.raises(UsageError, match=r"no seed in common \(0 and 2, 3\)"):
        paired.difference(a[:1], b[1:], "pesq")
    assert paired.difference(a[:1], b[:1], "pesq").seeds == 1  # asked for by name
    floor = kept(tmp_path, noise[3], seed=None, exit="unprocessed")
    assert paired.difference(a, [floor], "pesq").seeds == 3


def test_a_difference_does_not_depend_on_the_order_of_utterances(tmp_path):
    x, y = some(), some(seed=1)
    a, b = kept(tmp_path, x), kept(tmp_path, y, exit="depth 6")
    first = paired.difference([a], [b], "pesq")
    csv = a.path.with_suffix(".utterances.csv")
    pd.read_csv(csv).sample(frac=1, random_state=0).to_csv(csv, index=False)
    assert paired.difference([type(a).load(a.path)], [b], "pesq") == first


def test_speakers_are_those_of_either_row(tmp_path):
    a, b = kept(tmp_path, some(), speakers=False), kept(tmp_path, some(seed=1), exit="depth 6")
    assert paired.difference([a], [b], "pesq").speakers == 6
    b = kept(tmp_path, some(seed=1), exit="depth 6", speakers=False)
    assert paired.difference([a], [b], "pesq").speakers == 0


def test_a_mixture_is_the_expectation(tmp_path):
    x, y = some(), some(seed=1)
    both = [scores(r, "pesq") for r in (kept(tmp_path, x), kept(tmp_path, y, exit="depth 6"))]
    assert mixed(both, (0.25, 0.75)).part == pytest.approx(0.25 * x + 0.75 * y)


def test_a_row_without_a_table_is_named(tmp_path):
    a = kept(tmp_path, some())
    a.path.with_suffix(".utterances.csv").unlink()
    with pytest.raises(UsageError, match="has no utterances' table .*--force"):
        scores(type(a).load(a.path), "pesq")
    with pytest.raises(UsageError, match="no wer in its"):
        scores(kept(tmp_path, some()), "wer")
