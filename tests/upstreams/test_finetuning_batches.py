"""Batches of transcribed speech: alike in length, shared, and functions of the seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark import distributed
from earlyexit_superb.benchmark.contract import Example
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.upstreams.training.balanced_batches import Balanced
from earlyexit_superb.upstreams.training.recognition_data import Transcripts
from helpers.spelling import LETTER, RECIPE, Small, run_in, transcribed

LENGTHS = np.random.default_rng(0).integers(1000, 9000, 203)


@pytest.mark.parametrize(("most", "samples"), [(8, 0), (0, 40_000), (8, 40_000)])
def test_every_utterance_is_heard_once_an_epoch_within_the_limits(most, samples):
    batches = Balanced(LENGTHS, most, samples, seed=1)
    heard, i = [], 0
    while len(heard) < len(LENGTHS):
        rows = batches.rows(i)
        longest = LENGTHS[rows].max()
        assert not most or len(rows) <= most
        assert not samples or len(rows) * longest <= samples
        heard += rows
        i += 1
    assert sorted(heard) == list(range(len(LENGTHS)))
    # the next epoch is drawn anew, and both are functions of the number alone
    assert batches.rows(i) != batches.rows(0)
    assert Balanced(LENGTHS, most, samples, seed=1).rows(i + 3) == batches.rows(i + 3)
    assert Balanced(LENGTHS, most, samples, seed=2).rows(0) != batches.rows(0)


def test_batches_are_balanced():
    def padding(batches, count):
        rows = [LENGTHS[batches(i)] for i in range(count)]
        return sum(len(r) * r.max() for r in rows) / sum(r.sum() for r in rows)

    drawn = np.random.default_rng(0).permutation(200).reshape(25, 8)
    assert padding(Balanced(LENGTHS, 8, 0, seed=0).rows, 25) < 1.1
    assert padding(lambda i: drawn[i], 25) > 1.4


def test_an_utterance_beyond_the_limit_is_a_batch_of_its_own():
    batches = Balanced([500, 9000, 500], 0, 1000, seed=0)
    assert sorted(map(sorted, (batches.rows(i) for i in range(2)))) == [[0, 2], [1]]


def test_in_ascending_order_no_epoch_differs():
    batches = Balanced(LENGTHS, 50, 0, seed=0, ascending=True)
    order = [LENGTHS[row] for i in range(5) for row in batches.rows(i)]
    assert order == sorted(order) and batches.rows(0) == batches.rows(5)


def test_processes_share_a_batch_and_what_disturbs_it(monkeypatch):
    recipe = replace(RECIPE, batch=3, speeds=(0.9, 1.0, 1.1), chunks=2)

    def heard(i, rank=0, size=1):
        monkeypatch.setattr(distributed, "rank_and_size", lambda: (rank, size))
        speech = Transcripts(recipe, transcribed(), run_in(), Small())
        return speech.batch(i)

    whole, parts = heard(0), [heard(0, rank, 2) for rank in range(2)]
    assert [batch.of_all for batch in (whole, *parts)] == [3, 3, 3]
    assert [parts[0].texts[0], parts[1].texts[0], parts[0].texts[1]] == list(whole.texts)
    length = int(parts[1].lengths[0])
    assert torch.equal(parts[1].wavs[0], whole.wavs[1, :length]) and length == whole.lengths[1]
    # more processes than utterances: one keeps step with another's and adds nothing
    spare = heard(0, 3, 4)
    assert spare.share == 0 and spare.texts == whole.texts[:1] and whole.share == 1


def test_what_cannot_be_learned_from_is_left_out_or_refused(caplog):
    texts = ["AB", "A" * 9, "CAB"]
    data = transcribed(texts=texts)
    short = data.corpus.splits["train"][1]
    data.corpus.splits["train"][1] = replace(short, samples=LETTER)  # 6 frames
    speech = Transcripts(RECIPE, data, run_in(), Small())
    assert [item.more["text"] for item in speech.items] == ["AB", "CAB"]
    assert "1 of 3 training transcripts, such as train1, need more frames" in caplog.text
    long = Transcripts(replace(RECIPE, most=2), data, run_in(), Small())
    assert len(long.items) == 1 and "1 of 3 training utterances are too long" in caplog.text
    for bad, sentence in (("A?", "train0: the alphabet characters lacks '?'"), ("", "empty")):
        with pytest.raises(UsageError, match=sentence.replace("?", r"\?")):
            Transcripts(RECIPE, transcribed(texts=[bad]), run_in(), Small())
    with pytest.raises(UsageError, match="no utterance of tones is left to learn from: 0 of 3"):
        Transcripts(replace(RECIPE, longest=0.01), transcribed(texts=texts), run_in(), Small())
    data.corpus.splits["dev"] = []
    with pytest.raises(UsageError, match="tones has no dev split"):
        Transcripts(RECIPE, data, run_in(), Small())


def test_speech_is_not_sped_up_beyond_what_its_transcript_takes():
    """AAAAAAAAA needs 17 frames: of its audio there are 24, at twice the speed 12."""
    data = transcribed(texts=["A" * 9, "AB"])
    at = data.corpus.splits["train"]
    at[0], at[1] = replace(at[0], samples=4 * LETTER), replace(at[1], samples=4 * LETTER)
    task = replace(data.task, load=lambda item: Example(item.id, torch.zeros(item.samples), ""))
    recipe = replace(RECIPE, batch=2, speeds=(2.0,))
    speech = Transcripts(recipe, replace(data, task=task), run_in(), Small())
    assert len(speech.items) == 2
    batch = speech.batch(0)
    lengths = dict(zip(batch.texts, batch.lengths.tolist(), strict=True))
    assert lengths == {"A" * 9: 4 * LETTER, "AB": 2 * LETTER}


def test_dev_transcripts_without_room_are_counted(caplog):
    data = transcribed()
    data.corpus.splits["dev"][1] = replace(data.corpus.splits["dev"][1], samples=400)
    assert len(Transcripts(RECIPE, data, run_in(), Small()).dev_items) == 3
    assert "1 of 3 dev transcripts need more frames than small gives" in caplog.text


def test_looks_at_dev_keep_to_both_limits():
    recipe = replace(RECIPE, batch=4, seconds=2.0)
    speech = Transcripts(recipe, transcribed(dev=12), run_in(), Small())
    looks = list(speech.dev())
    assert sum(len(batch.texts) for batch in looks) == 12
    for batch in looks:
        count, longest = len(batch.texts), int(batch.lengths.max())
        assert count <= 4 and (count == 1 or count * longest <= 2 * 16_000)
    assert any(len(batch.texts) < 4 for batch in looks[:-1])  # seconds did decide


def test_the_utterances_of_an_update_are_counted():
    recipe = replace(RECIPE, batch=3, accumulate=2)
    speech = Transcripts(recipe, transcribed(train=8), run_in(), Small())
    pairs = [(speech.batch(i), speech.batch(i + 1)) for i in (0, 2, 4)]
    for one, other in pairs:
        assert one.of_update == other.of_update == (one.of_all + other.of_all) / 2


def test_dev_may_be_thinned():
    data = transcribed(dev=10)
    few = Transcripts(replace(RECIPE, dev_limit=4), data, run_in(), Small())
    assert [item.id for item in few.dev_items] == ["dev0", "dev2", "dev5", "dev7"]
    lengths = torch.cat([batch.lengths for batch in few.dev()]).tolist()
    assert lengths == sorted(lengths, reverse=True) and len(lengths) == 4
