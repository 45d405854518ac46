"""The input shortened before a backbone: the three filters, what they cost, exits around and inside
them, and their training.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.conformance import exits, states
from earlyexit_superb.benchmark.conformance.finding import findings
from earlyexit_superb.benchmark.contract import Upstream, UpstreamCard
from earlyexit_superb.benchmark.engine.training_start import TrainingConfig, train
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import Exit, leaving, replay, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams import downsampled
from earlyexit_superb.upstreams.backbones.hubert_shape import frame_counts, macs_to
from earlyexit_superb.upstreams.backbones.shortened import Shortened
from earlyexit_superb.upstreams.backbones.waveform_filters import ShorteningFilter
from earlyexit_superb.upstreams.downsampled import Downsampled
from earlyexit_superb.upstreams.hubert import SHAPES
from helpers import ROOT, TOY, wav
from safetensors.torch import load_file
from torch.nn import functional as F
from toys.toy import Toy

EVERY = [(method, factor) for method in ("conv", "average", "resample") for factor in (2, 3, 4)]
each_filter = pytest.mark.parametrize("method, factor", EVERY)


# ---- the filters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_filter_is_what_torch_and_scipy_call_it(factor):
    x = wav(5003)
    with torch.no_grad():
        average = ShorteningFilter("average", factor)(x)
        kernel = 12 if factor == 4 else 10
        torch.testing.assert_close(
            average, F.avg_pool1d(x[None], kernel, stride=factor, padding=2)[0]
        )
        resampled = ShorteningFilter("resample", factor)(x)
        theirs = audio.resample(x.numpy(), factor * 16_000)
        np.testing.assert_allclose(resampled.numpy(), theirs, atol=1e-6)
        conv = ShorteningFilter("conv", factor)
        assert conv.weight.shape == (1, 1, 161) and conv.padding == 0
        x[:] = 1  # of a mean, wherever it stands among the taps
        torch.testing.assert_close(conv(x), torch.ones(1 + (5003 - 161) // factor))


@each_filter
def test_it_hears_as_many_samples_as_it_says_and_nothing_beyond_an_utterance(method, factor):
    up = Shortened(Toy(), ShorteningFilter(method, factor))
    lengths = torch.tensor([9000, 1, 160, 161, 4321])
    rows = [wav(int(n), seed) for seed, n in enumerate(lengths)]
    with torch.no_grad():
        together = up.transform(torch.nn.utils.rnn.pad_sequence(rows, True), lengths)
        for row, x, n in zip(together, rows, up.heard(lengths).tolist(), strict=True):
            alone = up.shorten(x)
            assert len(alone) == n and torch.equal(row[:n], alone) and not row[n:].any()


# ---- what it costs -------------------------------------------------------------------------------


@each_filter
def test_macs_are_what_the_flop_counter_counts(method, factor):
    from torch.utils.flop_counter import FlopCounterMode

    up, samples = Shortened(Toy(), ShorteningFilter(method, factor)), 8003
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        counted = []
        for _ in up.states(wav(samples)[None], torch.tensor([samples])):
            counted.append(counter.get_total_flops())
    assert counted == [2 * up.macs(samples, depth) for depth in range(4)]


class OfWavLMLargesSize(Upstream):
    """As the paper counts: matrix products inside attention are no modules, which thop sees."""

    shape = SHAPES["large"]

    def __init__(self):
        super().__init__()
        self.card = UpstreamCard("large", self.shape.depth, self.shape.dim, 320, "none", "-")

    def macs(self, samples, depth):
        n = frame_counts(samples)
        return macs_to(self.shape, samples, depth) - 2 * n * n * self.shape.dim * depth


@each_filter
def test_it_saves_what_the_paper_counts(method, factor):
    inner = OfWavLMLargesSize()
    up, samples = Shortened(inner, ShorteningFilter(method, factor)), int(7.42 * 16_000)
    saved = 100 * (1 - up.macs(samples, 24) / inner.macs(samples, 24))
    published = 100 - {2: 192.97, 3: 134.864, 4: 96.11}[factor] / 3.86538
    # a third of the samples saves two thirds; why the paper has 65.1 % there, nothing in it says
    assert saved == pytest.approx(published, abs=1.7 if factor == 3 else 0.4)
    assert up.card.stride == 320 * factor and up.card.kind == "downsampled"


# ---- with exits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, options",
    [
        ("downsampled", {"tag": "resample3", "backbone": TOY}),  # the toy exits by itself
        ("downsampled.conv4", {"backbone": TOY, "trained": "untrained"}),
        ("layer_similarity", {"backbone": "downsampled.average3", "weights": "random"}),
        ("daisy", {"backbone": "downsampled.conv2", "weights": "random"}),
        ("downsampled.average2", {"backbone": "daisy", "weights": "random"}),
    ],
)
def test_exits_around_it_and_inside_it(name, options):
    up = build_upstream(name, options)
    checks = (*exits.CHECKS, states.backbone)
    found = [f for check in checks for f in findings(check.__name__, check(up))]
    assert [f.sentence for f in found if not f.ok] == []
    assert up.knob and up.card.kind == up.backbone.card.kind == "downsampled"


def test_a_live_run_leaves_where_the_record_says_and_costs_what_it_heard():
    up = build_upstream("downsampled.average2", {"backbone": TOY})
    wavs, lengths = wav(24_000)[None].repeat(3, 1), torch.tensor([24_000, 9000, 15_000])
    for row, n in zip(wavs, lengths, strict=True):
        row[n:] = 0
    with torch.no_grad():
        states = list(up.states(wavs, lengths))
        frames = up.frames(lengths)
        pairs = [(d, states[d], states[d - 1]) for d in up.exits]
        record = torch.stack([up.evidence(*pair, frames) for pair in pairs], 1).numpy()
    assert (frames == Toy().frames(up.heard(lengths))).all()
    middle = Exit(leaving(up), float(np.median(record)))
    live = run_until_exit(up, wavs, lengths, middle)
    np.testing.assert_array_equal(live.depth.numpy(), replay(record, middle, up.exits))
    heard = int(up.heard(lengths[:1]))
    assert up.macs(24_000, 2) == 10 * heard + Toy().macs(heard, 2)
    assert up.evidence_macs(24_000, 1) == Toy().evidence_macs(heard, 1)


def test_its_name_says_all_of_it_and_one_word_is_enough():
    assert Downsampled(weights="random").card.name == (
        "downsampled.average2(backbone=hubert.tiny(weights=random))"
    )
    one = build_upstream("downsampled.resample4", {"backbone": TOY})
    other = build_upstream("downsampled", {"backbone": TOY, "method": "resample", "factor": "4"})
    assert one.card == other.card and one.card.revision == "seed-0+resample4"
    assert one.backbone.card.name == "downsampled.resample4(backbone=toy)"


def test_some_of_its_blocks_are_a_plan():
    options = {"backbone": "downsampled.average2", "weights": "random", "blocks": "1-3"}
    plan = build_upstream("block_plan", options)
    whole = build_upstream("downsampled.average2", {"weights": "random"})
    clip, length = wav(8000)[None], torch.tensor([8000])
    with torch.no_grad():
        some = list(plan.states(clip, length))
        for a, b in zip(some, whole.states(clip, length), strict=False):
            assert torch.equal(a, b)
    assert len(some) == plan.card.depth + 1 == 4
    assert plan.macs(16_000, 3) == whole.macs(16_000, 3)


# ---- training ------------------------------------------------------------------------------------


def fit(speech, out, tag="conv2", **settings):
    """A filter of the toy."""
    few = {"backbone": TOY, "steps": 6, "batch": 4, "every": 3, "lr": 0.01} | settings
    config = TrainingConfig(f"downsampled.{tag}", out, "tiny", (speech / "clips",))
    return train(replace(config, settings={k: str(v) for k, v in few.items()}))


def trained(path, tag="conv2", **options):
    return build_upstream(f"downsampled.{tag}", {"backbone": TOY, "trained": str(path)} | options)


def test_a_filter_learns_the_states_of_the_full_rate(speech, tmp_path):
    path = fit(speech, tmp_path, steps=40, every=20)
    card = json.loads(path.with_suffix(".json").read_text())
    before, last = card["held_out"]["before"], card["held_out"]["last"]
    assert last["error"] < 0.9 * before["error"] and set(before) <= set(last)
    assert list(load_file(path)) == ["filter.weight"] and card["hours"]
    up, start = trained(path), trained("untrained")
    assert up.card.revision == f"seed-0+conv2+{card['revision']}"
    assert not torch.equal(up.shorten.weight, start.shorten.weight)
    assert torch.equal(up.inner.front.weight, Toy().front.weight)


def test_a_stopped_training_ends_at_the_same_taps(speech, tmp_path, monkeypatch):
    from earlyexit_superb.benchmark import resume_points

    straight, save = fit(speech, tmp_path / "straight"), resume_points.save

    def killed(point, path):
        save(point, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(resume_points, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(speech, tmp_path / "stopped")
    monkeypatch.setattr(resume_points, "save", save)
    resumed = fit(speech, tmp_path / "stopped")
    assert torch.equal(load_file(resumed)["filter.weight"], load_file(straight)["filter.weight"])


def test_a_tuned_backbone_comes_with_its_filter_and_exits_read_it(ragged, tmp_path, monkeypatch):
    path = fit(ragged, tmp_path, "average2", tune="yes", backbone_lr=0.01)
    state = load_file(path)
    assert {"filter.weight", "backbone.front.weight"} <= set(state)
    up = trained(path, "average2")
    assert torch.equal(up.inner.front.weight, state["backbone.front.weight"])
    assert not torch.equal(up.inner.front.weight, Toy().front.weight)
    assert torch.equal(up.shorten.weight, ShorteningFilter("average", 2).weight)
    similar = build_upstream("layer_similarity", {"backbone": TOY})
    monkeypatch.setattr(downsampled, "build_upstream", lambda *_: similar)
    around = trained(path, "average2")
    assert around.knob == "target_depth" and around.inner is similar
    assert torch.equal(similar.inner.front.weight, up.inner.front.weight)


def test_a_tuned_backbone_has_no_branches_of_the_one_before(ragged, tmp_path):
    path = fit(ragged, tmp_path, "average2", tune="yes", backbone_lr=0.01)
    daisy = {"backbone": TOY, "branches": "random"}
    inside = build_upstream("daisy", daisy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downsampled, "build_upstream", lambda *_: inside)
        with pytest.raises(UsageError, match="the branches of .* are of the one before"):
            trained(path, "average2")


def test_bad_input_is_one_sentence(speech, tmp_path):
    for asked, said in (
        ({"tag": "average5"}, "a method is conv, average, resample and a factor 2, 3 or 4"),
        ({"tag": "median"}, "not 'median' and 0"),
        ({"factor": 7}, "not 'average' and 7"),
        ({"tag": "conv3", "trained": "none"}, "no trained filter at none; train one: run_bench"),
        ({"tag": "conv2", "backbone": TOY}, "was trained for the backbone .*, not seed-0; train"),
    ):
        with pytest.raises(UsageError, match=said) as error:
            Downsampled(**asked)
        assert "\n" not in str(error.value)
    path = fit(speech, tmp_path)
    with pytest.raises(UsageError, match="was trained for the kind conv2, not conv3"):
        trained(path, "conv3")
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(UsageError, match="cannot be read .*; copy it again"):
        trained(path)
    with pytest.raises(UsageError, match="nothing to learn, and the backbone is frozen; add --set"):
        fit(speech, tmp_path, "average3")


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_shipped_filters_are_those_of_their_cards(factor):
    path = ROOT / "upstreams" / f"downsampled.conv{factor}.safetensors"
    card = json.loads(Path(path).with_suffix(".json").read_text())
    up = build_upstream(f"downsampled.conv{factor}")
    assert up.card.revision == f"{card['backbone_revision']}+conv{factor}+{card['revision']}"
    assert card["held_out"]["last"]["error"] < card["held_out"]["before"]["error"]
    assert up.card.name == f"downsampled.conv{factor}"
