"""Augmentation: s3prl's draws beside ours, and whose randomness it takes."""

import random

import numpy as np
import torch
from earlyexit_superb.downstreams.specaugment import SpecAugment
from earlyexit_superb.tasks import asr
from helpers.asr import FRAMES, SMALL, batch
from torch import nn
from toys.toy import at


def test_augmentation_equals_s3prl_draw_for_draw(s3prl_asr):
    """config.yaml's specaug block, rows long and shorter than the warp."""
    theirs = s3prl_asr.specaug.SpecAug(
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
