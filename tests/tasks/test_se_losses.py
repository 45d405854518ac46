"""Losses of enhancement, and the clicks that are cut from what is scored, beside s3prl's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks import se
from earlyexit_superb.tasks.shared.masking import without_clicks
from helpers import hubert_frames
from helpers.noisy import example
from oracles import s3prl, s3prl_function, stft_by_definition
from torch.nn.utils.rnn import pad_sequence
from toys.toy import at

V1, V2, MINI = se.SUPERB_V1, se.S3PRL_V2, se.MINI
TASK = tasks.get("se")


# ---- losses ----


def collated(examples, protocol):
    """The dictionaries that s3prl's collate_fn makes, longest utterance first."""

    def attributes(wavs):
        settings = protocol.n_fft, protocol.win, protocol.hop or 320, protocol.pad
        spectra = [torch.from_numpy(stft_by_definition(w.numpy(), *settings)) for w in wavs]
        return {
            "magnitude": pad_sequence([s.abs().float() for s in spectra], batch_first=True),
            "phase": pad_sequence([s.angle().float() for s in spectra], batch_first=True),
        }, [len(s) for s in spectra]

    source, lengths = attributes([e.wav for e in examples])
    target, _ = attributes([e.target for e in examples])
    return source, {key: [value] for key, value in target.items()}, torch.tensor(lengths)


LOSSES = [
    ("superb-v1", {}),
    ("s3prl-v2", {}),
    ("minisuperb", {}),
    ("superb-v1", {"aim": "am"}),
    ("s3prl-v2", {"aim": "npsm", "distance": "mse"}),
]


@pytest.mark.parametrize("name, changes", LOSSES)
def test_losses_equal_s3prl(name, changes):
    protocol = replace(TASK.protocols[name], **changes)
    examples = [example(9_000, 3), example(7_777, 4), example(5_120, 5)]
    source, target, lengths = collated(examples, protocol)
    first = name == "superb-v1"
    module = s3prl("enhancement_stft.loss" if first else "enhancement_stft2.loss")
    module.device = torch.device("cpu")
    objective = (
        module.MSELoss(1, protocol.aim.upper())
        if first
        else module.EnhLoss(1, protocol.distance.upper(), protocol.aim.upper(), protocol.domain)
    )
    masks = torch.rand(source["magnitude"].shape, generator=torch.Generator().manual_seed(0))
    expected = objective.compute_loss([masks], lengths, source, target)
    frames = torch.tensor([hubert_frames(len(e.wav)) for e in examples])
    torch.testing.assert_close(
        se.loss(masks, examples, frames, at(protocol)), expected, atol=1e-5, rtol=1e-5
    )


def test_the_loss_does_not_see_padding():
    examples = [example(9_000, 3), example(5_120, 5)]
    frames = torch.tensor([hubert_frames(9_000), hubert_frames(5_120)])
    masks = torch.rand(2, 29, 257)
    alone = [
        se.loss(masks[i : i + 1], examples[i : i + 1], frames[i : i + 1], at(V1)) for i in (0, 1)
    ]
    masks[1, 1 + 5_120 // 320 :] = 1e6
    torch.testing.assert_close(se.loss(masks, examples, frames, at(V1)), sum(alone) / 2)


# ---- clicks ----


def speech_then(*tail, samples=6_000):
    x = 0.5 * torch.sin(torch.arange(samples) / 7)
    for position, value in tail:
        x[position] = value
    return x


CLICKS = {
    "no click": speech_then(),
    "one": speech_then((5_800, 2.0)),
    "the first of two": speech_then((5_600, -0.9), (5_900, 2.0)),
    "before the last 512": speech_then((5_400, 2.0)),
    "exactly 512 before the end": speech_then((5_488, 2.0)),
    "512 and one before the end": speech_then((5_487, 2.0)),
    "before some zeros": torch.cat([speech_then((5_800, 2.0)), torch.zeros(2_048)]),
    "before too many zeros": torch.cat([speech_then((5_800, 2.0)), torch.zeros(2_049)]),
    "short": speech_then((400, 2.0), samples=512),
    "hardly long enough": speech_then((400, 2.0), samples=514),
}


@pytest.mark.parametrize("case", CLICKS)
def test_clicks_are_cut_as_s3prl_cuts_them(case):
    postprocess = s3prl_function("enhancement_stft.expert", "postprocess", np=np)
    np.testing.assert_array_equal(without_clicks(CLICKS[case]), postprocess(CLICKS[case].numpy()))


def test_clicks_are_cut_from_the_first_one_on():
    for case, first in (
        ("one", 5_800),
        ("the first of two", 5_600),
        ("exactly 512 before the end", 5_488),
    ):
        quiet = without_clicks(CLICKS[case])
        assert torch.equal(quiet[:first], CLICKS[case][:first]) and not quiet[first:].any()
    for case in ("no click", "before the last 512", "before too many zeros", "short"):
        assert torch.equal(without_clicks(CLICKS[case]), CLICKS[case])
    assert not without_clicks(torch.zeros(5_000)).any()
