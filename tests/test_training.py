"""The recipes of hubert.tiny and daisy.tiny, small: they run to the end, resume, and leave what the loaders read."""
import json

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.upstreams import _hubert_weights, _masked_prediction
from earlyexit_superb.upstreams._pool import Pool, listed
from earlyexit_superb.upstreams.daisy import Daisy
from helpers import SMALL, fit


def test_a_backbone_is_trained_and_a_second_call_changes_nothing(speech, tmp_path):
    path = fit(speech, tmp_path)
    first = path.read_bytes()
    net, revision = _hubert_weights.load(str(path), SMALL)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["revision"] == revision and net.head.label_embs_concat.shape == (8, 12) and card["recipe"]["block_steps"] == 3
    assert {"masked@2", "unmasked", "carry_error"} <= card["last_look"]["block"].keys()
    assert fit(speech, tmp_path) == path and path.read_bytes() == first


def test_branches_are_trained_on_a_given_backbone(speech, tmp_path):
    few = {"weights": "random", "steps": "3", "batch": "2", "every": "2", "heard": "2", "frames": "64"}
    path = Daisy.fit("tiny", [speech / "clips"], [speech / "noise"], tmp_path, 0, "cpu", few)
    daisy = Daisy("tiny", weights="random", branches=str(path))
    card = json.loads(path.with_suffix(".json").read_text())
    assert daisy.card.revision == f"{card['backbone_revision']}+{card['revision']}" and "argmax" in card["targets"]
    assert len(daisy.branches) == 12 and {"entropy@1", "agreement@12"} <= card["held_out_clean"].keys()


def test_masks_are_spans():
    """Spans are masked, never everything, never nothing."""
    mask = _masked_prediction.span_mask(np.random.default_rng(0), 200, 125, 0.08, 10)
    assert mask.any(1).all() and 0.4 < mask.float().mean() < 0.65
    runs = torch.diff(mask.int(), dim=1)
    assert int((runs == 1).sum()) > 200


def test_crops_start_on_frames_and_held_out_clips_stay_out(speech):
    pool = Pool([speech / "clips"], [speech / "noise"])
    seen = {clip for i in range(30) for clip, _ in pool.crops(np.random.default_rng(i), 8, 16_000)[1]}
    assert not seen & set(pool.held_out) and len(seen) > 40
    wavs, places = pool.crops(np.random.default_rng(3), 4, 16_000)
    for wav, (clip, start) in zip(wavs, places, strict=True):
        source = torch.from_numpy(pool.wav(clip)[start * 320: start * 320 + 16_000])
        assert torch.corrcoef(torch.stack([wav, source]))[0, 1] > 0.9999
    assert torch.equal(pool.crops(np.random.default_rng(3), 4, 16_000)[0], wavs)


def test_only_the_training_part_of_an_identification_split_is_heard(tmp_path):
    for i in range(3):
        audio.write(tmp_path / "WAVE" / f"{i}.wav", np.zeros(8, np.float32))
    (tmp_path / "iden_split.txt").write_text("1 0.wav\n2 1.wav\n3 2.wav\n")
    assert [p.name for p in listed(tmp_path)] == ["0.wav"]


def test_bad_training_input_is_one_sentence(speech, tmp_path):
    with pytest.raises(UsageError, match="has no setting 'mfc_steps': did you mean mfcc_steps"):
        fit(speech, tmp_path, mfc_steps="1")
    with pytest.raises(UsageError, match="0 clips of at least"):
        Pool([speech / "noise"])


def test_training_goes_on_from_trained_weights(speech, tmp_path):
    first = fit(speech, tmp_path / "first")
    second = fit(speech, tmp_path / "second", warm=str(first), block_units="6")
    card = json.loads(second.with_suffix(".json").read_text())
    assert card["warm_from"] == json.loads(first.with_suffix(".json").read_text()) and card["warm_from"]["revision"] != card["revision"]
    assert card["shape"]["units"] == 6 and set(card["last_look"]) == {"block"}
    one, two = (_hubert_weights.load(str(path), SMALL)[0] for path in (first, second))
    assert all(torch.equal(a, b) for a, b in zip(one.feature_extractor.parameters(), two.feature_extractor.parameters(), strict=True))
