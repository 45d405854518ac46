"""Separation: s3prl's networks and losses and asteroid's metrics again, and what masks must
do whoever wrote them.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.contract import Example, Item
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.metrics import Failure, si_sdr
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks import ss
from earlyexit_superb.tasks.shared.stft import stft_of
from helpers import hubert_frames, wav
from oracles import s3prl, stft_by_definition, twins
from torch.nn.utils.rnn import pack_sequence, pad_sequence
from toys.toy import at

V1, V2, MINI = ss.SUPERB_V1, ss.S3PRL_V2, ss.MINI
TASK = tasks.get("ss")


def example(samples, seed=0):
    talkers = torch.stack([wav(samples, seed), wav(samples, seed + 100).roll(700)])
    return Example(f"u{seed}", talkers.sum(0), talkers)


def ideal(e, protocol):
    """The masks that bring each talker's loss to nothing, as far as masks can."""
    stft = stft_of(at(protocol), len(e.wav))
    mixture, talkers = stft(e.wav), stft(e.target)
    aim = talkers.abs() * torch.relu(torch.cos(mixture.angle() - talkers.angle()))
    return (
        aim.log1p() / mixture.abs().log1p() if protocol.domain == "log1p" else aim / mixture.abs()
    )


def improvement(e, estimates, permutation="si_sdr"):
    return ss.improvement(e.target.numpy(), np.asarray(estimates), e.wav.numpy(), permutation)


# ---- the head and its loss, against s3prl ----


@pytest.mark.parametrize(
    "module, protocol, millions", [("separation_stft", V1, 51.43), ("separation_stft2", V2, 5.78)]
)
def test_masks_equal_s3prl(module, protocol, millions):
    torch.manual_seed(0)
    theirs, ours = twins(f"{module}.model", protocol, 768, protocol.n_fft // 2 + 1, sources=2)
    assert round(sum(p.numel() for p in ours.parameters()) / 1e6, 2) == millions
    rows = [torch.randn(n, 768) for n in (9, 5)]
    with torch.no_grad():
        expected = theirs(pack_sequence(rows))
        masks = ours(pad_sequence(rows, batch_first=True), torch.tensor([9, 5]))
    for row, n in enumerate((9, 5)):
        for source in (0, 1):
            torch.testing.assert_close(
                masks[row, source, :n], expected[source][row, :n], atol=1e-5, rtol=1e-5
            )
    built = ss.head(at(protocol, 768, 320)).masks  # and that is the head the recipe builds
    assert {n: p.shape for n, p in built.named_parameters()} == {
        n: p.shape for n, p in ours.named_parameters()
    }


def collated(examples, protocol):
    """The dictionaries that s3prl's collate_fn makes, longest utterance first."""

    def attributes(wavs):
        spectra = [
            torch.from_numpy(
                stft_by_definition(w.numpy(), protocol.n_fft, protocol.win, 320, protocol.pad)
            )
            for w in wavs
        ]
        return (
            pad_sequence([s.abs().float() for s in spectra], batch_first=True),
            pad_sequence([s.angle().float() for s in spectra], batch_first=True),
            torch.tensor([len(s) for s in spectra]),
        )

    magnitude, phase, lengths = attributes([e.wav for e in examples])
    talkers = [attributes([e.target[k] for e in examples]) for k in (0, 1)]
    return (
        {"magnitude": magnitude, "phase": phase},
        {"magnitude": [t[0] for t in talkers], "phase": [t[1] for t in talkers]},
        lengths,
    )


@pytest.mark.parametrize(
    "name, changes",
    [
        ("superb-v1", {}),
        ("s3prl-v2", {}),
        ("minisuperb", {}),
        ("superb-v1", {"aim": "am"}),
        ("s3prl-v2", {"distance": "l1"}),
    ],
)
def test_losses_and_gradients_equal_s3prl(name, changes):
    protocol = replace(TASK.protocols[name], **changes)
    examples = [example(9_000, 3), example(7_777, 4), example(5_120, 5)]
    mixture, talkers, lengths = collated(examples, protocol)
    first = name == "superb-v1"
    module = s3prl("separation_stft.loss" if first else "separation_stft2.loss")
    module.device = torch.device("cpu")
    objective = (
        module.MSELoss(2, protocol.aim.upper())
        if first
        else module.SepLoss(2, protocol.distance.upper(), protocol.aim.upper(), protocol.domain)
    )
    masks = torch.rand(
        3, 2, *mixture["magnitude"].shape[1:], generator=torch.Generator().manual_seed(0)
    )
    for row, n in enumerate(lengths):  # behind an utterance's end the LSTM's masks are no matter
        masks[row, :, n:] = 0
    masks.requires_grad_(True)
    expected = objective.compute_loss([masks[:, 0], masks[:, 1]], lengths, mixture, talkers)
    frames = torch.tensor([hubert_frames(len(e.wav)) for e in examples])
    ours = ss.loss(masks, examples, frames, at(protocol))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(ours, masks), torch.autograd.grad(expected, masks), atol=1e-6, rtol=1e-4
    )


@pytest.mark.parametrize("name", TASK.protocols)
def test_the_loss_does_not_see_order_or_padding(name):
    protocol = TASK.protocols[name]
    examples = [example(9_000, 3), example(5_120, 5)]
    frames = torch.tensor([hubert_frames(9_000), hubert_frames(5_120)])
    masks = torch.rand(2, 2, 29, protocol.n_fft // 2 + 1)
    alone = [
        ss.loss(masks[i : i + 1], examples[i : i + 1], frames[i : i + 1], at(protocol))
        for i in (0, 1)
    ]
    masks[1, :, 1 + 5_120 // 320 :] = 1e6
    together = ss.loss(masks, examples, frames, at(protocol))
    torch.testing.assert_close(together, sum(alone) / 2)
    swapped = torch.stack([masks[0].flip(0), masks[1]])  # each utterance has an order of its own
    torch.testing.assert_close(ss.loss(swapped, examples, frames, at(protocol)), together)


def test_every_parameter_learns_and_neighbours_do_not_change_a_row():
    torch.manual_seed(0)
    head, features = ss.head(at(MINI, 24, 320)), torch.randn(2, 18, 24)
    batch, samples = [example(6_000, 1), example(5_000, 2)], torch.tensor([6_000, 5_000])
    frames = torch.tensor([hubert_frames(int(n)) for n in samples])
    ss.loss(head(features, frames, samples), batch, frames, at(MINI)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    head.eval()
    alone = head(features[1:, : frames[1]], frames[1:], samples[1:])[0]
    torch.testing.assert_close(
        head(features, frames, samples)[1, :, : alone.shape[1]], alone, atol=1e-5, rtol=1e-5
    )


# ---- masks and waveforms ----


@pytest.mark.parametrize("name", TASK.protocols)
def test_ideal_masks_have_no_loss_and_separate(name):
    protocol, e = TASK.protocols[name], example(16_000)
    masks, frames = ideal(e, protocol), hubert_frames(16_000)
    assert ss.loss(masks.flip(0)[None], [e], torch.tensor([frames]), at(protocol)) < 1e-6
    scored = ss.score(masks, e, frames, at(protocol))
    assert list(scored) == ["si_sdr_improvement"] and scored["si_sdr_improvement"] > 4
    assert scored == ss.score(masks.flip(0), e, frames, at(protocol))


def test_separated_waveforms_are_those_of_enhancement():
    """One mask at a time through the code that tests/tasks/test_se.py holds to s3prl's."""
    from earlyexit_superb.tasks import se

    e = example(16_159)
    for protocol in (V1, V2):
        masks = torch.rand(
            2,
            1 + 16_159 // 320,
            protocol.n_fft // 2 + 1,
            generator=torch.Generator().manual_seed(0),
        )
        both = ss.separate(masks, e.wav, at(protocol))
        for estimate, mask in zip(both, masks, strict=True):
            torch.testing.assert_close(estimate, se.enhance(mask, e.wav, at(protocol)))


# ---- the metric and its permutation ----


def leaky(e, share):
    """Estimates of both talkers that each hold `share` of the other."""
    return np.stack([(e.target[k] + share * e.target[1 - k]).numpy() for k in (0, 1)])


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_improvement_equals_asteroid(order):
    """v1: BSS-eval decides (compute_permutation); v2: the better of all orders. Both as the
    experts call get_metrics.
    """
    from asteroid.metrics import get_metrics

    e = example(8_000, 7)
    estimates = (leaky(e, 0.3) + 0.01 * np.random.default_rng(0).standard_normal((2, 8_000)))[
        order
    ].astype(np.float32)
    mixture, talkers = e.wav.numpy()[None], e.target.numpy()

    def theirs(given, compute_permutation):
        values = get_metrics(
            mixture, talkers, given, 16_000, ["si_sdr"], compute_permutation=compute_permutation
        )
        return values["si_sdr"] - values["input_si_sdr"]

    assert improvement(e, estimates, "bss_eval") == pytest.approx(
        theirs(estimates, compute_permutation=True), abs=1e-4
    )
    best = max(theirs(estimates[[a, b]], compute_permutation=False) for a, b in ((0, 1), (1, 0)))
    assert improvement(e, estimates, "si_sdr") == pytest.approx(best, abs=1e-4)


def test_the_two_rules_can_disagree():
    """BSS-eval forgives a filter of 512 taps, SI-SDR does not: a delayed copy is the talker for one
    and noise for the other.
    """
    e = example(8_000, 9)
    first, second = e.target.numpy()
    estimates = np.stack([np.roll(first, 40) + 0.02 * second, np.roll(second, 40) + 0.02 * first])
    assert improvement(e, estimates, "si_sdr") > improvement(e, estimates, "bss_eval") + 1


def test_unprocessed_is_no_improvement_and_perfect_is_large():
    e = example(8_000, 2)
    assert TASK.unprocessed(e, V1) == TASK.unprocessed(e, V2) == {"si_sdr_improvement": 0.0}
    assert improvement(e, e.target.flip(0)) > 60
    for level in (0.3, 30.0):
        assert improvement(e, leaky(e, 0.1) * level) == pytest.approx(
            improvement(e, leaky(e, 0.1)), abs=0.01
        )
    assert improvement(e, leaky(e, 0.1)) == pytest.approx(
        np.mean(
            [
                si_sdr(t.numpy(), x) - si_sdr(t.numpy(), e.wav.numpy())
                for t, x in zip(e.target, leaky(e, 0.1), strict=True)
            ]
        )
    )


@pytest.mark.parametrize("permutation", ["si_sdr", "bss_eval"])
def test_what_cannot_be_scored_is_a_failure_with_a_reason(permutation):
    e = example(8_000, 2)
    silent = Example("u", e.target[0], torch.stack([e.target[0], torch.zeros(8_000)]))
    assert improvement(silent, leaky(e, 0.1), permutation) == Failure("silent reference")
    half = leaky(e, 0.1) * [[1.0], [0.0]]
    assert improvement(e, half, permutation) == Failure("silent estimate")
    half[1, 5] = np.nan
    assert improvement(e, half, permutation) == Failure("estimate is not finite")
    assert TASK.unprocessed(silent, V1) == {"si_sdr_improvement": Failure("silent reference")}


# ---- the task ----


def test_recipes_are_the_published_ones():
    """From the yaml files named in `source`."""

    def has(protocol, **fields):
        assert {name: getattr(protocol, name) for name in fields} == fields

    shared = {
        "batch": 8,
        "steps": 150_000,
        "clip": 1.0,
        "eval_every": 2000,
        "optimiser": "adamw",
        "accumulate": 1,
        "train_limit": None,
        "dev_limit": None,
        "test_limit": None,
        "hop": 0,
        "aim": "npsm",
        "distance": "mse",
        "standardise": False,
    }
    has(
        V1,
        **shared,
        lr=1e-4,
        n_fft=512,
        win=512,
        hidden=896,
        layers=3,
        dropout=0.5,
        activation="relu",
        domain="magnitude",
        tail="guard",
        pad="reflect",
        permutation="bss_eval",
        dev_shuffled=1000,
    )
    has(
        V2,
        **shared,
        lr=1e-3,
        n_fft=1024,
        win=1024,
        hidden=256,
        layers=3,
        dropout=0.1,
        activation="sigmoid",
        domain="log1p",
        tail="drop",
        pad="constant",
        permutation="si_sdr",
        dev_shuffled=None,
    )
    small = TASK.protocols["minisuperb"]
    differs = {
        "steps": 15_000,
        "eval_every": 1500,
        "train_limit": 1400,
        "dev_shuffled": 1000,
        "lr_grid": (1e-2, 1e-3, 1e-4),
    }
    has(small, **differs, limit_seed=8830)
    assert replace(V2, **differs, name=small.name, source=small.source) == small
    assert (TASK.default, TASK.builtin, [m.name for m in TASK.metrics]) == (
        "superb-v1",
        "mini",
        ["si_sdr_improvement"],
    )
    with pytest.raises(UsageError, match="permutation is bss_eval or si_sdr, not 'sdr'"):
        replace(V1, permutation="sdr")


def test_the_dev_split_is_that_of_s3prl(tmp_path):
    """scripts/LibriMix/subsample.py, in its own order of steps: sort, seed 7, shuffle,
    cut, sort.
    """
    import random

    names = [f"{n:04d}" for n in random.Random(1).sample(range(3000), 3000)]
    random.seed(7)
    expected = sorted(names)
    random.shuffle(expected)
    chosen = ss.shuffled([Item(name, tmp_path, 1) for name in names], 1000)
    assert [item.id for item in chosen] == sorted(expected[:1000])
