"""Recognition's head: s3prl's own expert beside ours on shared weights, and what must hold whoever
wrote it.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.contract import Example
from earlyexit_superb.benchmark.metrics import mean
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks import asr
from earlyexit_superb.tasks.shared import ctc_text
from helpers.asr import FRAMES, SMALL, TEXTS, batch, expert, records, renamed, twins
from torch import nn
from toys.toy import at

TASK = tasks.get("asr")


@pytest.mark.parametrize("name", SMALL)
def test_scores_loss_hypotheses_and_rates_equal_s3prl(s3prl_asr, name):
    theirs, ours = twins(s3prl_asr, SMALL[name])
    rows, padded, examples = batch()
    frames = torch.tensor(FRAMES)
    labels = [
        s3prl_asr.dictionary.encode_line(
            " ".join(t.replace(" ", "|")) + " |", line_tokenizer=str.split
        )
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
def test_heads_of_real_size_are_the_published_ones(s3prl_asr, name, millions):
    protocol = TASK.protocols[name]
    with torch.device("meta"):
        ours = asr.head(at(protocol, 768, 320))
        theirs = expert(s3prl_asr, protocol, 768)
    assert round(sum(p.numel() for p in ours.parameters()) / 1e6, 2) == millions
    assert {renamed(n): v.shape for n, v in theirs.state_dict().items() if n != "best_score"} == {
        n: v.shape for n, v in ours.network.state_dict().items()
    }


def test_gradients_equal_s3prl(s3prl_asr):
    protocol = replace(SMALL["superb-v1"], dropout=0.0, warp=0, feature_masks=0, time_masks=0)
    theirs, ours = twins(s3prl_asr, protocol)
    rows, padded, examples = batch()
    labels = [np.array(ctc_text.target(t)) for t in TEXTS]
    theirs.train()("train", rows, labels, [""] * 4, records()).backward()
    frames = torch.tensor(FRAMES)
    asr.loss(ours.train()(padded, frames, frames * 320), examples, frames, at(protocol)).backward()
    own = dict(ours.network.named_parameters())
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(own[renamed(name)].grad, parameter.grad, atol=1e-5, rtol=1e-4)


def test_neighbours_and_padding_do_not_change_a_row():
    shapes = {"join": 2}, {"outputs": 3}, {"join": 2, "outputs": 3}
    for protocol in (SMALL["superb-v1"], *(replace(asr.MINI, hidden=8, **s) for s in shapes)):
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
                together[row, : protocol.places(n)], alone, atol=1e-5, rtol=1e-5
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


def test_several_scores_a_frame_are_frames_to_ctc():
    """What one frame gives stands side by side, as if there had been as many frames."""
    protocol = replace(asr.MINI, hidden=8, layers=0, join=1, outputs=2, standardise=False)
    torch.manual_seed(0)
    head, frames, features = asr.head(at(protocol, 20, 320)).eval(), 9, torch.randn(1, 9, 20)
    prediction = head(features, torch.tensor([frames]), torch.tensor([9 * 320]))
    assert prediction.shape == (1, 18, 32)
    linear = head.network.to_symbols
    hidden = head.network.project(features[0])
    for part in (0, 1):
        rows = slice(32 * part, 32 * part + 32)
        expected = hidden @ linear.weight[rows].T + linear.bias[rows]
        torch.testing.assert_close(prediction[0, part::2], expected)
    example = Example("long", torch.zeros(1), "BOOKKEEPER")  # 15 frames, of which 9 are no room
    loss = asr.loss(prediction, [example], torch.tensor([9]), at(protocol))
    one = replace(protocol, outputs=1)
    assert float(loss) == pytest.approx(
        float(asr.loss(prediction, [example], torch.tensor([18]), at(one)))
    )
    assert not asr.loss(prediction[:, :9], [example], torch.tensor([9]), at(one))
    scores = asr.score(prediction[0], example, 9, at(protocol))
    assert scores == asr.score(prediction[0], example, 18, at(one))


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
