"""Recognition: s3prl's own expert, augmentation, dictionary and batches beside ours on shared
weights, and what must hold whoever wrote it.
"""

import random
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.audio import write
from earlyexit_superb.benchmark.contract import Example, Item
from earlyexit_superb.benchmark.engine import heads
from earlyexit_superb.benchmark.engine.feature_cache import Batch
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.benchmark.exiting import layer_normed
from earlyexit_superb.benchmark.metrics import Failure, mean
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.benchmark.validation import opened
from earlyexit_superb.downstreams.specaugment import SpecAugment
from earlyexit_superb.tasks import asr
from earlyexit_superb.tasks.corpora import builtin, manifest
from earlyexit_superb.tasks.corpora.mini import asr as mini
from earlyexit_superb.tasks.shared import ctc_decoder, ctc_text
from earlyexit_superb.tasks.shared.error_rates import errors
from oracles import s3prl_module
from torch import nn
from toys.toy import at

TASK = tasks.get("asr")
SMALL = {
    "superb-v1": replace(asr.SUPERB_V1, hidden=24),
    "minisuperb": replace(asr.MINISUPERB, hidden=12),
}
# s3prl/downstream/asr/char.dict, which its wheel lacks
CHAR_DICT = {
    "|": 1980202,
    "E": 1091870,
    "T": 789572,
    "A": 689048,
    "O": 647720,
    "N": 591778,
    "I": 585614,
    "H": 557204,
    "S": 545238,
    "R": 499568,
    "D": 380912,
    "L": 344952,
    "U": 242014,
    "M": 217730,
    "C": 210734,
    "W": 204598,
    "F": 195086,
    "G": 174098,
    "Y": 168548,
    "P": 146722,
    "B": 129608,
    "V": 81496,
    "K": 65070,
    "'": 19660,
    "X": 12530,
    "J": 12062,
    "Q": 8164,
    "Z": 4916,
}
TEXTS = ["HELLO WORLD", "A BOOK", "DON'T SPEAK NOW", "ZERO"]
FRAMES = [61, 40, 55, 23]


def edits(a, b):
    """Levenshtein's distance between two sequences, row by row; s3prl takes it from the
    package editdistance.
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


@pytest.fixture(scope="module")
def s3prl(tmp_path_factory):
    """s3prl.downstream, with an editdistance of our own and its dictionary file."""
    sys.modules.setdefault("editdistance", types.SimpleNamespace(eval=edits))
    path = tmp_path_factory.mktemp("s3prl") / "char.dict"
    path.write_text("".join(f"{symbol} {count}\n" for symbol, count in CHAR_DICT.items()))
    return types.SimpleNamespace(
        expert=s3prl_module("downstream.asr.expert"),
        specaug=s3prl_module("downstream.specaug"),
        dataset=s3prl_module("downstream.asr.dataset"),
        model=s3prl_module("downstream.asr.model"),
        dictionary=s3prl_module("downstream.asr.dictionary").Dictionary.load(str(path)),
        char_dict=str(path),
    )


def expert(s3prl, protocol, dim):
    """s3prl's downstream with the fields of s3prl/downstream/asr/config.yaml that the protocol
    names.
    """
    n = protocol.layers
    rnns = {
        "total_rate": -1,
        "module": "LSTM",
        "bidirection": True,
        "dim": [protocol.hidden] * n,
        "dropout": [protocol.dropout] * n,
        "layer_norm": [False] * n,
        "proj": [False] * n,
        "sample_rate": [1] * n,
        "sample_style": "concat",
    }
    return s3prl.expert.DownstreamExpert(
        dim,
        320,
        {
            "datarc": {
                "dict_path": s3prl.char_dict,
                "zero_infinity": True,
                "decoder_args": {"decoder_type": "None"},
            },
            "modelrc": {"project_dim": protocol.hidden, "select": "RNNs", "RNNs": rnns},
        },
        "unused",
    )


def twins(s3prl, protocol, dim=20):
    """(theirs, ours) with the same weights, large enough for the outputs to differ from frame to
    frame.
    """
    torch.manual_seed(0)
    theirs, ours = expert(s3prl, protocol, dim), asr.head(at(protocol, dim, 320))
    ours.network.load_state_dict(
        {
            renamed(name): 3 * value
            for name, value in theirs.state_dict().items()
            if name != "best_score"
        }
    )
    for parameter in theirs.parameters():
        parameter.data.mul_(3)
    return theirs.eval(), ours.eval()


def renamed(name):
    """rnns.1.layer.weight_ih_l0_reverse -> lstm.weight_ih_l1_reverse"""
    if not name.startswith("model.rnns."):
        return name.replace("projector.", "project.").replace("model.linear.", "to_symbols.")
    layer, weight = name.removeprefix("model.rnns.").split(".layer.")
    return f"lstm.{weight.replace('_l0', f'_l{layer}')}"


def batch(dim=20, seed=1):
    """Rows of features as s3prl takes them, the same padded, and examples with their texts."""
    torch.manual_seed(seed)
    rows = [torch.randn(n, dim) for n in FRAMES]
    return (
        rows,
        nn.utils.rnn.pad_sequence(rows, batch_first=True),
        [Example(f"u{i}", torch.zeros(320), t) for i, t in enumerate(TEXTS)],
    )


def records():
    """What s3prl's runner hands its expert to fill."""
    return {
        name: []
        for name in (
            "loss",
            "target_tokens",
            "target_words",
            "pred_tokens",
            "pred_words",
            "filenames",
        )
    }


# ---- the head beside s3prl's ----


@pytest.mark.parametrize("name", SMALL)
def test_scores_loss_hypotheses_and_rates_equal_s3prl(s3prl, name):
    theirs, ours = twins(s3prl, SMALL[name])
    rows, padded, examples = batch()
    frames = torch.tensor(FRAMES)
    labels = [
        s3prl.dictionary.encode_line(" ".join(t.replace(" ", "|")) + " |", line_tokenizer=str.split)
        .long()
        .numpy()
        for t in TEXTS
    ]
    kept = records()
    with torch.no_grad():
        log_probs, _ = theirs._get_log_probs(rows)
        expected = theirs("train", rows, labels, ["a", "b", "c", "d"], kept)
        prediction = ours(padded, frames, frames * 320)
    for row, n in enumerate(FRAMES):
        torch.testing.assert_close(
            prediction[row, :n].log_softmax(-1), log_probs[row, :n], atol=1e-5, rtol=1e-5
        )
    torch.testing.assert_close(
        asr.loss(prediction, examples, frames, at(SMALL[name])), expected, atol=1e-5, rtol=1e-5
    )

    scores = [
        asr.score(*row, at(SMALL[name])) for row in zip(prediction, examples, FRAMES, strict=True)
    ]
    assert [s["hypothesis"].split() for s in scores] == kept["pred_words"]
    assert [s["reference"].split() for s in scores] == kept["target_words"]
    # they do say something, each its own
    assert len({tuple(words) for words in kept["pred_words"]}) == 4
    uer, wer = theirs._compute_metrics(
        *(kept[k] for k in ("pred_tokens", "pred_words", "target_tokens", "target_words"))
    )
    assert mean([s["uer"] for s in scores]) == pytest.approx(uer)
    assert mean([s["wer"] for s in scores]) == pytest.approx(wer)


@pytest.mark.parametrize("name, millions", [("superb-v1", 42.83), ("minisuperb", 4.42)])
def test_heads_of_real_size_are_the_published_ones(s3prl, name, millions):
    protocol = TASK.protocols[name]
    with torch.device("meta"):
        ours = asr.head(at(protocol, 768, 320))
        theirs = expert(s3prl, protocol, 768)
    assert round(sum(p.numel() for p in ours.parameters()) / 1e6, 2) == millions
    assert {renamed(n): v.shape for n, v in theirs.state_dict().items() if n != "best_score"} == {
        n: v.shape for n, v in ours.network.state_dict().items()
    }


def test_gradients_equal_s3prl(s3prl):
    protocol = replace(SMALL["superb-v1"], dropout=0.0, warp=0, feature_masks=0, time_masks=0)
    theirs, ours = twins(s3prl, protocol)
    rows, padded, examples = batch()
    labels = [np.array(ctc_text.target(t)) for t in TEXTS]
    theirs.train()("train", rows, labels, [""] * 4, records()).backward()
    frames = torch.tensor(FRAMES)
    asr.loss(ours.train()(padded, frames, frames * 320), examples, frames, at(protocol)).backward()
    own = dict(ours.network.named_parameters())
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(own[renamed(name)].grad, parameter.grad, atol=1e-5, rtol=1e-4)


def test_neighbours_and_padding_do_not_change_a_row():
    for protocol in (SMALL["superb-v1"], replace(asr.MINI, hidden=8, join=2)):
        torch.manual_seed(0)
        head, frames = asr.head(at(protocol, 20, 320)).eval(), torch.tensor(FRAMES)
        # what stands behind a row's end is never read
        features = torch.randn(4, max(FRAMES) + 3, 20)
        together = head(features, frames, frames * 320)
        for row, n in enumerate(FRAMES):
            alone = head(
                features[row : row + 1, :n], frames[row : row + 1], frames[row : row + 1] * 320
            )[0]
            torch.testing.assert_close(
                together[row, : n // protocol.join], alone, atol=1e-5, rtol=1e-5
            )


def test_a_target_that_does_not_fit_its_frames_costs_nothing():
    """zero_infinity: such an utterance is no reason for an infinite gradient."""
    torch.manual_seed(0)
    prediction = torch.randn(2, 12, 32, requires_grad=True)
    examples = [
        Example("short", torch.zeros(1), "A"),
        Example("long", torch.zeros(1), "BOOKKEEPER"),
    ]
    both = asr.loss(prediction, examples, torch.tensor([12, 12]), at(asr.SUPERB_V1))
    alone = asr.loss(prediction[:1], examples[:1], torch.tensor([12]), at(asr.SUPERB_V1))
    torch.testing.assert_close(both, alone / 2)
    assert ctc_text.frames_needed(ctc_text.target("BOOKKEEPER")) == 15 > 12
    both.backward()
    assert prediction.grad[0].any() and not prediction.grad[1].any()


@pytest.mark.parametrize("text", ["A", "BOOKKEEPER", "AA AA"])
def test_the_frames_a_target_needs_are_those_below_which_ctc_is_infinite(text):
    symbols = torch.tensor(ctc_text.target(text))
    for short in (0, 1):
        n = ctc_text.frames_needed(symbols.tolist()) - short
        value = nn.functional.ctc_loss(
            torch.zeros(n, 1, 32).log_softmax(-1),
            symbols[None],
            torch.tensor([n]),
            torch.tensor([len(symbols)]),
        )
        assert bool(value.isinf()) == bool(short)


# ---- SpecAugment ----


def test_augmentation_equals_s3prl_draw_for_draw(s3prl):
    """config.yaml's specaug block, rows long and shorter than the warp."""
    theirs = s3prl.specaug.SpecAug(
        adaptive=False,
        apply_time_warp=True,
        apply_time_mask=True,
        apply_freq_mask=True,
        time_warp_window=5,
        time_mask_width_range=[0, 40],
        freq_mask_width_range=[0, 50],
        num_freq_mask=4,
        num_time_mask=2,
    )
    ours = asr.head(at(asr.SUPERB_V1, 8, 320)).augment.train()
    changed = 0
    for seed in range(20):
        lengths = [90, 70, 9, 41]
        rows = [torch.randn(n, 64) for n in lengths]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        torch.manual_seed(seed)
        expected, _ = theirs([row.clone() for row in rows])
        torch.manual_seed(seed)
        augmented = ours(padded, torch.tensor(lengths))
        for row, n in enumerate(lengths):
            torch.testing.assert_close(augmented[row, :n], expected[row], atol=1e-5, rtol=1e-5)
            assert not augmented[row, n:].any()
        changed += not torch.equal(augmented[0], padded[0])
    assert changed == 20


def test_masks_are_as_many_and_as_wide_as_asked_and_drawn_for_each_utterance():
    torch.manual_seed(0)
    augmented = SpecAugment(
        warp=0, feature_masks=1, feature_width=50, time_masks=1, time_width=40
    ).train()(torch.ones(600, 100, 60), torch.full((600,), 100))
    times, features = (augmented == 0).all(2).sum(1), (augmented == 0).all(1).sum(1)
    assert times.min() == 0 and times.max() == 39 and features.min() == 0 and features.max() == 49
    counts = torch.bincount(times, minlength=40)
    # chi-square with 39 degrees of freedom, p 0.001
    assert ((counts - 15).square() / 15).sum() < 73
    assert augmented.unique().tolist() == [0, 1]


def test_augmentation_belongs_to_training_and_to_torchs_generator():
    head, x, frames = asr.head(at(SMALL["superb-v1"], 20, 320)), batch()[1], torch.tensor(FRAMES)
    assert head.eval().augment(x, frames) is x
    outputs = []
    for seed in (0, 1):  # what else is random must not matter
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(7)
        outputs.append(head.train()(x, frames, frames * 320))
    torch.testing.assert_close(*outputs, atol=0, rtol=0)
    torch.manual_seed(8)
    assert not torch.equal(head(x, frames, frames * 320), outputs[0])


# ---- dictionary, batches, rates ----


def librispeech(root, texts, split="train-clean-100", seconds=2.0):
    """A tree of utterances with transcripts, each a little longer than the one before."""
    for i, text in enumerate(texts):
        folder = root / split / f"{i % 2 + 1}" / "7"
        write(
            folder / f"{i % 2 + 1}-7-{i:04d}.flac",
            np.full(int(seconds * 16_000) + 160 * i, 0.1 * (i % 5 + 1), np.float32),
        )
        with open(folder / f"{i % 2 + 1}-7.trans.txt", "a") as file:
            file.write(f"{i % 2 + 1}-7-{i:04d} {text}\n")
    return root


def test_symbols_targets_and_batches_equal_s3prl(s3prl, tmp_path):
    assert list(ctc_text.SYMBOLS) == s3prl.dictionary.symbols and len(ctc_text.SYMBOLS) == 32
    assert s3prl.dictionary.bos() == ctc_text.BLANK and s3prl.dictionary.eos() == ctc_text.END
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
    theirs = s3prl.dataset.SequenceDataset(
        "train", 4, s3prl.dictionary, str(root), str(tmp_path / "lengths"), train=["train"]
    )
    for name, labels in theirs.Y.items():
        assert ctc_text.target(texts[int(name[-4:])]) == labels.tolist()
    ours = heads.in_buckets([32_000 + 160 * i for i in range(7)], 4)
    assert (
        [[int(Path(x).stem[-4:]) for x in rows] for rows in theirs.X]
        == ours
        == [[6, 5], [4, 3], [2, 1, 0]]
    )


def test_a_last_utterance_alone_is_left_out_and_an_epoch_has_every_batch_once():
    buckets = heads.in_buckets(list(range(65)), 32)
    assert [len(b) for b in buckets] == [16] * 4 and not any(0 in b for b in buckets)
    assert heads.in_buckets([5], 32) == [[0]]  # a corpus of one still trains
    drawn = [heads.batch_rows(4, 1, seed=3, i=i)[0] for i in range(8)]
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


def spoken(text, frames=80):
    """Scores that say `text`: every symbol once, blanks between."""
    symbols = [i for symbol in ctc_text.target(text) for i in (symbol, ctc_text.BLANK)]
    return (
        10
        * nn.functional.one_hot(torch.tensor(symbols + [0] * (frames - len(symbols))), 32).float()
    )


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


# ---- corpora ----


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
    with pytest.raises(UsageError, match="join, hidden and layers are at least 1"):
        replace(asr.SUPERB_V1, join=0)


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
            manifest.Entry(split, split, tmp_path / "long.wav", 16_000 * i, 16_000, "s", "ONE TWO")
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
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "b").rglob("*")}
    TASK.corpus(None, asr.MINI)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "b").rglob("*")}


@pytest.mark.slow
def test_the_whole_built_in_corpus_is_the_usual_one(tmp_path, monkeypatch, caplog):
    pytest.importorskip("espeakng_loader")
    caplog.set_level("WARNING", "earlyexit_superb")
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path))
    assert (builtin.made(mini.BUILTIN) / "pcm.txt").read_text() == mini.PCM and not caplog.text


# ---- training ----


class Recorded:
    """A trace of noise, for heads to train on."""

    def __init__(self, items, seed):
        self.items, self.upstream = (
            items,
            types.SimpleNamespace(card=types.SimpleNamespace(depth=2, dim=12, stride=320)),
        )
        self.states = [
            torch.randn(
                3, item.samples // 320, 12, generator=torch.Generator().manual_seed(seed + i)
            )
            for i, item in enumerate(items)
        ]

    def load(self, item):
        return Example(item.id, torch.zeros(item.samples), item.more["text"])

    def batch(self, rows):
        states = nn.utils.rnn.pad_sequence(
            [self.states[r].transpose(0, 1) for r in rows], batch_first=True
        ).permute(2, 0, 1, 3)
        return Batch(
            {False: states, True: layer_normed(states)},
            torch.tensor([self.states[r].shape[1] for r in rows]),
            torch.tensor([self.items[r].samples for r in rows]),
        )


def test_a_training_cut_short_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    """Augmentation, dropout and the order of batches included."""
    protocol = replace(
        asr.SUPERB_V1, hidden=6, steps=8, eval_every=2, batch=2, bucket=4, time_width=8
    )
    train, dev = (
        Recorded(
            [
                Item(f"{seed}-{i}", Path("x"), 320 * (40 + 3 * i), more={"text": TEXTS[i % 4]})
                for i in range(n)
            ],
            seed,
        )
        for seed, n in ((0, 9), (50, 3))
    )
    plan = heads.Plan("full", False, 4e-3, np.full(9, 2), np.full(3, 2))

    def fitted(folder):
        heads.fit({"k": plan}, TASK, at(protocol, 12), train, dev, tmp_path / folder, 0)
        return (tmp_path / folder / "k.safetensors").read_bytes()

    straight = fitted("straight")
    batch, calls = train.batch, iter(range(5))

    def interrupted(rows):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return batch(rows)

    monkeypatch.setattr(train, "batch", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fitted("cut")
    monkeypatch.setattr(train, "batch", batch)
    seen = []
    monkeypatch.setattr(heads, "batch_rows", lambda *a, **k: seen.append(1) or ORIGINAL(*a, **k))
    assert fitted("cut") == straight and len(seen) == 4  # from the look after the fourth update on


ORIGINAL = heads.batch_rows


# ---- beam search ----


def test_a_language_model_needs_its_files_and_its_extra(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="give both"):
        replace(asr.SUPERB_V1, lm="4-gram.arpa")
    files = {"lm": str(tmp_path / "lm.arpa"), "lexicon": str(tmp_path / "lexicon.lst")}
    with pytest.raises(UsageError, match="lm.arpa: there is no such file"):
        TASK.corpus(None, replace(asr.SUPERB_V1, **files))
    (tmp_path / "lm.arpa").write_text("")
    (tmp_path / "lexicon.lst").write_text("hello h e l l o |\n")
    with pytest.raises(UsageError, match="lexicon.lst line 1 is 'hello h e l l o |'"):
        TASK.corpus(None, replace(asr.SUPERB_V1, **files))
    (tmp_path / "lexicon.lst").write_text("HELLO H E L L O |\n")
    monkeypatch.setitem(sys.modules, "flashlight", None)
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder", None)
    with pytest.raises(MachineError, match=r'run: pip install -c constraints.txt -e ".\[lm\]"'):
        TASK.corpus(None, replace(asr.SUPERB_V1, **files))


ARPA = """\\data\\
ngram 1=6
ngram 2=1

\\1-grams:
-1.0\t<unk>
-99\t<s>
-0.5\t</s>
-3.0\tSEE
-0.3\tSEA
-0.5\tTHE\t0

\\2-grams:
-0.2\tTHE SEA

\\end\\
"""


def test_the_language_model_decides_between_words_that_sound_alike(tmp_path):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="[lm] is not installed")
    (tmp_path / "lm.arpa").write_text(ARPA)
    (tmp_path / "lexicon.lst").write_text("SEE S E E |\nSEA S E A |\nTHE T H E |\n")
    protocol = replace(
        asr.SUPERB_V1, lm=str(tmp_path / "lm.arpa"), lexicon=str(tmp_path / "lexicon.lst")
    )
    scores = spoken("THE SEE")
    # the frame of the second E
    last = 2 * ctc_text.target("THE SEE").index(ctc_text.BOUNDARY) + 6
    scores[last, ctc_text.SYMBOLS.index("A")] = 9.0
    example = Example("u", torch.zeros(1), "THE SEA")
    heard, guessed = (asr.score(scores, example, 80, at(p)) for p in (asr.SUPERB_V1, protocol))
    assert heard["hypothesis"] == "THE SEE" and guessed["hypothesis"] == "THE SEA"
    assert guessed["wer"].part == 0 and guessed["uer"] == heard["uer"] and heard["uer"].part > 0
    assert (
        asr.score(scores, example, 80, at(replace(protocol, lm_weight=0.0)))["hypothesis"]
        == "THE SEE"
    )
    (tmp_path / "bad.arpa").write_text("nothing of the kind")
    with pytest.raises(MachineError, match="cannot be loaded by KenLM"):
        ctc_decoder.decoder(replace(protocol, lm=str(tmp_path / "bad.arpa")))
