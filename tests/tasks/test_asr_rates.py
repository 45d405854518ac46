"""Symbols, batches and error rates: s3prl's dictionary and buckets beside ours, and rates that
belong to a corpus.
"""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.contract import Example
from earlyexit_superb.benchmark.engine import head_batches
from earlyexit_superb.benchmark.metrics import Failure, mean
from earlyexit_superb.tasks import asr
from earlyexit_superb.tasks.shared import ctc_text
from earlyexit_superb.tasks.shared.error_rates import errors
from helpers.asr import TEXTS, edits, librispeech, spoken
from toys.toy import at


def test_symbols_targets_and_batches_equal_s3prl(s3prl_asr, tmp_path):
    assert list(ctc_text.SYMBOLS) == s3prl_asr.dictionary.symbols and len(ctc_text.SYMBOLS) == 32
    assert (
        s3prl_asr.dictionary.bos() == ctc_text.BLANK and s3prl_asr.dictionary.eos() == ctc_text.END
    )
    texts = [TEXTS[i % 4] + " AND" * (i % 3) for i in range(7)]
    root = librispeech(tmp_path, texts)
    files = sorted(root.rglob("*.flac"))
    (tmp_path / "lengths").mkdir()
    (tmp_path / "lengths" / "train.csv").write_text(
        "file_path,length,label\n"
        + "".join(
            f"{f.relative_to(root)},{32_000 + 160 * int(f.stem[-4:])},x\n"
            for f in files
            if f.stem[-4:] < "0007"
        )
    )
    theirs = s3prl_asr.dataset.SequenceDataset(
        "train", 4, s3prl_asr.dictionary, str(root), str(tmp_path / "lengths"), train=["train"]
    )
    for name, labels in theirs.Y.items():
        assert ctc_text.target(texts[int(name[-4:])]) == labels.tolist()
    ours = head_batches.in_buckets([32_000 + 160 * i for i in range(7)], 4)
    assert (
        [[int(Path(x).stem[-4:]) for x in rows] for rows in theirs.X]
        == ours
        == [[6, 5], [4, 3], [2, 1, 0]]
    )


def test_a_last_utterance_alone_is_left_out_and_an_epoch_has_every_batch_once():
    buckets = head_batches.in_buckets(list(range(65)), 32)
    assert [len(b) for b in buckets] == [16] * 4 and not any(0 in b for b in buckets)
    assert head_batches.in_buckets([5], 32) == [[0]]  # a corpus of one still trains
    drawn = [head_batches.batch_rows(4, 1, seed=3, i=i)[0] for i in range(8)]
    assert sorted(drawn[:4]) == sorted(drawn[4:]) == [0, 1, 2, 3]


def test_rates_belong_to_the_corpus_and_their_kinds_add_up():
    pairs = [
        ("A B C D E F G H", "A B C D E F G H"),
        ("A", "B C"),
        ("A B", ""),
        ("DON'T GO", "DON'T X GO"),
    ]
    rates = [
        errors(reference, hypothesis, list((hypothesis + " ").replace(" ", "|")))
        for reference, hypothesis in pairs
    ]
    totals = {name: mean([rate[name] for rate in rates]) for name in asr.METRICS}
    words = sum(len(r.split()) for r, _ in pairs)
    assert totals["wer"] == pytest.approx(
        100 * sum(edits(r.split(), h.split()) for r, h in pairs) / words
    )
    assert totals["cer"] == pytest.approx(
        100 * sum(edits(r, h) for r, h in pairs) / sum(len(r) for r, _ in pairs)
    )
    assert totals["substitutions"] + totals["deletions"] + totals["insertions"] == pytest.approx(
        totals["wer"]
    )
    assert totals["wer"] != pytest.approx(
        np.mean([rate["wer"].part / rate["wer"].whole for rate in rates])
    )
    assert [
        totals[k] * words / 100 for k in ("substitutions", "deletions", "insertions")
    ] == pytest.approx([1, 2, 2])


def test_random_rates_equal_the_distances():
    draw = random.Random(0)
    for _ in range(200):
        reference, hypothesis = (
            " ".join(draw.choices(["A", "BE", "SEE"], k=draw.randint(low, 6))) for low in (1, 0)
        )
        rates = errors(reference, hypothesis, [])
        assert rates["wer"].part == 100 * edits(reference.split(), hypothesis.split()) and rates[
            "wer"
        ].whole == len(reference.split())
        assert rates["cer"].part == 100 * edits(reference, hypothesis) and rates[
            "cer"
        ].whole == len(reference)
        assert rates["uer"].part == 100 * len(reference + "|")


def test_scores_that_spell_the_transcript_are_without_error_and_nan_is_a_failure():
    example = Example("u", torch.zeros(1), "DON'T SPELL IT")
    score = asr.score(spoken(example.target), example, 80, at(asr.SUPERB_V1))
    assert (
        all(score[name].part == 0 for name in asr.METRICS)
        and score["hypothesis"] == score["reference"] == example.target
    )
    # only its own frames
    assert (
        asr.score(spoken(example.target), example, 12, at(asr.SUPERB_V1))["hypothesis"] == "DON'T"
    )
    # greedy symbols spell exactly that
    assert asr.judge(score["hypothesis"], example, asr.SUPERB_V1) == score
    assert asr.judge("", example, asr.SUPERB_V1)["wer"].part == 100 * 3
    broken = asr.score(torch.full((80, 32), torch.nan), example, 80, at(asr.SUPERB_V1))
    assert broken == dict.fromkeys(asr.METRICS, Failure("prediction is not finite"))
