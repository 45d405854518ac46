"""Recognition's recipes and corpora: transcripts checked before training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.audio import write
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.benchmark.validation import opened
from earlyexit_superb.tasks import asr
from earlyexit_superb.tasks.corpora import builtin, entry, manifest
from earlyexit_superb.tasks.corpora.mini import asr as mini
from earlyexit_superb.tasks.shared import ctc_text
from helpers.asr import TEXTS, librispeech

TASK = tasks.get("asr")


def test_recipes_are_the_published_ones():
    v1, mini = TASK.protocols["superb-v1"], TASK.protocols["minisuperb"]
    assert (
        v1.lr,
        v1.steps,
        v1.batch,
        v1.bucket,
        v1.eval_every,
        v1.optimiser,
        v1.clip,
        v1.accumulate,
    ) == (1e-4, 200_000, 16, 32, 2000, "adam", 1, 1)
    assert (v1.layers, v1.hidden, v1.dropout, v1.join, v1.standardise) == (2, 1024, 0.2, 1, False)
    assert (v1.warp, v1.feature_masks, v1.feature_width, v1.time_masks, v1.time_width) == (
        5,
        4,
        50,
        2,
        40,
    )
    assert (v1.beam, v1.beam_threshold, v1.lm_weight, v1.word_score, v1.sil_score) == (
        5,
        25,
        2,
        -1,
        0,
    )
    assert v1.lr_grid == tuple(10.0**-k for k in range(1, 8))
    assert mini == replace(
        v1,
        name=mini.name,
        source=mini.source,
        layers=3,
        hidden=256,
        steps=20_000,
        eval_every=20_000,
        train_set="librispeech_finetuning",
    )
    assert TASK.metrics[0].name == "wer" and not any(m.higher_is_better for m in TASK.metrics)


def test_a_recipe_that_contradicts_itself_is_refused():
    with pytest.raises(UsageError, match="8 and 32 do not go together"):
        replace(asr.SUPERB_V1, batch=8)


def sets(root, train="train-clean-100"):
    for split in (train, "dev-clean", "test-clean"):
        librispeech(root, TEXTS, split)
    return root


def test_librispeech_and_libri_light_to_items(tmp_path):
    full = TASK.corpus(sets(tmp_path / "LibriSpeech"), asr.SUPERB_V1)
    assert {s: len(items) for s, items in full.splits.items()} == {"train": 4, "dev": 4, "test": 4}
    assert [item.more["text"] for item in full.splits["test"]] == [
        "HELLO WORLD",
        "DON'T SPEAK NOW",
        "A BOOK",
        "ZERO",
    ]
    with pytest.raises(UsageError, match="librispeech_finetuning"):
        opened(TASK, tmp_path / "LibriSpeech", asr.MINISUPERB)
    librispeech(
        tmp_path / "LibriSpeech" / "librispeech_finetuning" / "1h" / "0", TEXTS[:3], "clean"
    )
    light = TASK.corpus(tmp_path / "LibriSpeech", asr.MINISUPERB)
    assert {s: len(items) for s, items in light.splits.items()} == {
        "train": 3,
        "dev": 4,
        "test": 4,
    } and light.hash != full.hash
    example = TASK.load(light.splits["train"][0])
    assert example.target == "HELLO WORLD" and len(example.wav) == light.splits["train"][0].samples


def test_a_piece_of_a_recording_is_an_utterance(tmp_path):
    ramp = np.linspace(0, 0.5, 48_000, dtype=np.float32)
    write(tmp_path / "long.wav", ramp)
    manifest.write(
        tmp_path / "manifest.csv",
        [
            entry.Entry(split, split, tmp_path / "long.wav", 16_000 * i, 16_000, "s", "ONE TWO")
            for i, split in enumerate(("train", "dev", "test"))
        ],
    )
    items = TASK.corpus(tmp_path, asr.SUPERB_V1).splits
    for i, split in enumerate(("train", "dev", "test")):
        np.testing.assert_allclose(
            TASK.load(items[split][0]).wav, ramp[16_000 * i : 16_000 * (i + 1)], atol=1e-4
        )


def test_every_bad_transcript_is_named_at_once(tmp_path):
    for split in ("train-clean-100", "test-clean"):
        librispeech(tmp_path, TEXTS, split)
    librispeech(
        tmp_path,
        ["", "NA\u00cfVE 7", "ONE", "FAR TOO MANY WORDS FOR ITS SHORT AUDIO"],
        "dev-clean",
        seconds=0.5,
    )
    with pytest.raises(UsageError) as caught:
        opened(TASK, tmp_path, asr.SUPERB_V1)
    said = str(caught.value)
    assert "\n" not in said and "1-7-0000 has no transcript" in said
    assert "2-7-0001: its transcript has '7' '\u00cf'" in said
    assert "2-7-0003: CTC needs 41 frames for its transcript and its 0.53 s have 26" in said


@pytest.mark.parametrize("join", [1, 2])
def test_a_transcript_must_fit_the_frames_of_the_upstream_that_reads_it(tmp_path, join):
    """What CTC cannot write would train at loss 0."""
    sets(tmp_path)
    needed = max(ctc_text.frames_needed(ctc_text.target(text)) for text in TEXTS)
    protocol = replace(asr.SUPERB_V1, join=join)
    assert opened(
        TASK, tmp_path, protocol, lambda samples: torch.full_like(samples, join * needed)
    ).splits["train"]
    with pytest.raises(
        UsageError,
        match=f"CTC needs {needed} frames for its transcript and its 2.02 s have {needed - 1}",
    ) as said:
        opened(
            TASK, tmp_path, protocol, lambda samples: torch.full_like(samples, join * needed - 1)
        )
    assert ("--set join=1" in str(said.value)) == (join > 1)


def test_the_built_in_corpus_is_made_once_and_the_same_everywhere(tmp_path, monkeypatch, caplog):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(mini, "SIZES", {"train": (2, 4), "dev": (1, 1), "test": (1, 2)})
    corpora = []
    for home in ("a", "b"):
        monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / home))
        corpora.append(TASK.corpus(None, asr.MINI))
    assert corpora[0].hash == corpora[1].hash and corpora[0].name == "mini"
    assert "not sample for sample the usual one" in caplog.text  # true here: it is smaller
    speakers = [{item.speaker for item in items} for items in corpora[0].splits.values()]
    assert len(set.union(*speakers)) == sum(map(len, speakers)) == 4
    said = [{asr.text(item) for item in items} for items in corpora[0].splits.values()]
    assert len(set.union(*said)) == sum(map(len, said))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "b").rglob("*")}
    TASK.corpus(None, asr.MINI)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "b").rglob("*")}


@pytest.mark.slow
def test_the_whole_built_in_corpus_is_the_usual_one(tmp_path, monkeypatch, caplog):
    pytest.importorskip("espeakng_loader")
    caplog.set_level("WARNING", "earlyexit_superb")
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path))
    assert (builtin.made(mini.BUILTIN) / "pcm.txt").read_text() == mini.PCM and not caplog.text
