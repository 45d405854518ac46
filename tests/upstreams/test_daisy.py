"""DAISY: its arithmetic, its branches, its shipped weights, and the paper's
size on random weights.
"""

import json
import math

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import Exit, leaving, replay, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream, tasks
from earlyexit_superb.benchmark.validation import opened
from earlyexit_superb.upstreams.backbones import entropy_branches as training
from earlyexit_superb.upstreams.daisy import entropy
from helpers import ROOT, evidence_of
from torch.nn.utils.rnn import pad_sequence

UPSTREAMS = ROOT / "upstreams"


@pytest.fixture(scope="module")
def tiny():
    return build_upstream("daisy.tiny")


def card(name):
    return json.loads((UPSTREAMS / f"{name}.json").read_text())


def test_entropy_is_in_nats_per_frame_over_own_frames_and_never_nan(tiny):
    state, units = torch.zeros(2, 5, tiny.card.dim), tiny.branches[0].out_features
    branch = tiny.branches[0]
    weight, bias = branch.weight.data.clone(), branch.bias.data.clone()
    branch.weight.data.zero_(), branch.bias.data.zero_()
    frames = torch.tensor([5, 2])
    torch.testing.assert_close(
        tiny.evidence(1, state, state, frames), torch.full((2,), math.log(units))
    )
    branch.bias.data[3] = 1e4  # one-hot: a probability of exactly 0 elsewhere
    torch.testing.assert_close(tiny.evidence(1, state, state, frames), torch.zeros(2))
    branch.weight.data[:], branch.bias.data[:] = weight, bias
    padded = torch.randn(2, 5, tiny.card.dim)
    alone = tiny.evidence(1, padded[1:, :2], padded[1:, :2], frames[1:])
    torch.testing.assert_close(tiny.evidence(1, padded, padded, frames)[1:], alone)


@pytest.mark.parametrize("units", [504, 500, 256])
def test_rows_that_fill_a_branch_up_are_never_chosen_and_change_no_entropy(units):
    torch.manual_seed(0)
    narrow = torch.nn.Linear(48, units)
    [wide] = training._full_width(torch.nn.ModuleList([torch.nn.Linear(48, units)]))
    with torch.no_grad():
        wide.weight[:units], wide.bias[:units] = narrow.weight, narrow.bias
        logits = wide(state := 3 * torch.randn(200, 48))
        assert logits.shape[1] == wide.out_features == -(-units // 16) * 16
        assert (logits.softmax(-1)[:, units:] == 0).all()
        torch.testing.assert_close(
            entropy(logits),
            torch.special.entr(narrow(state).softmax(-1)).sum(-1),
            atol=5e-6,
            rtol=5e-6,
        )


def test_branches_cost_what_a_linear_layer_costs(tiny):
    frames = int(tiny.frames(torch.tensor(160_000)))
    assert tiny.evidence_macs(160_000, 5) == frames * tiny.card.dim * tiny.branches[4].out_features


def test_the_backbone_is_the_same_network(tiny):
    wav, length = torch.randn(1, 8000) * 0.1, torch.tensor([8000])
    with torch.no_grad():
        for a, b in zip(tiny.states(wav, length), tiny.backbone.states(wav, length), strict=True):
            assert torch.equal(a, b)
    assert tiny.backbone.card.name == "hubert.tiny(front=projection)"


def test_branches_of_another_backbone_are_refused(tmp_path, tiny):
    with pytest.raises(UsageError, match="were trained on the backbone"):
        training.load(
            str(UPSTREAMS / "daisy.tiny.safetensors"),
            build_upstream("hubert.tiny", {"weights": "random"}),
            0,
        )


def test_the_cards_are_of_the_shipped_weights(tiny):
    assert card("hubert.tiny")["revision"] == tiny.backbone.card.revision
    assert (
        tiny.card.revision
        == f"{card('daisy.tiny')['backbone_revision']}+{card('daisy.tiny')['revision']}"
    )
    assert sum(p.stat().st_size for p in UPSTREAMS.glob("*.safetensors")) <= 30 * 2**20


def test_what_the_card_says_was_measured(tiny):
    """Entropy falls with depth, on the built-in corpus."""
    measured = card("daisy.tiny")["measured"]
    for split in ("train", "dev", "test"):
        means = measured[f"mini, clean, {split}"]["entropy_nats_by_depth"]
        assert means[0] > means[-1] and np.corrcoef(np.arange(12), means)[0, 1] < -0.9


def test_noise_deepens_the_exit(tiny, small_builtins):
    """DAISY, sec. 4.5: at a threshold set on clean speech, on the built-in voices. 150 of them
    leave 4.2 blocks later at 0 dB (docs/tiny-model.md)."""
    task = tasks.get("asr")
    spoken = opened(task, None, task.protocols["mini"]).splits
    heard = [task.load(item).wav for item in (*spoken["train"], *spoken["test"])]
    draw = torch.Generator().manual_seed(0)
    white = [torch.randn(len(wav), generator=draw) * wav.square().mean().sqrt() for wav in heard]

    def known(wavs):
        lengths = torch.tensor([len(wav) for wav in wavs])
        return evidence_of(tiny, pad_sequence(wavs, batch_first=True), lengths)

    exit = Exit(leaving(tiny), tiny.tau(known(heard[:24]), 1.0))
    spoiled = [a + b for a, b in zip(heard, white, strict=True)]
    clean, noisy = (replay(known(wavs[24:]), exit) for wavs in (heard, spoiled))
    assert len(clean) == 8 and noisy.mean() > clean.mean() + 2


@pytest.mark.slow
def test_the_papers_size_runs_the_same_path(tmp_path, monkeypatch):
    """daisy.base, random weights at real size, a handful of utterances: all rows, and the savings
    the arithmetic promises.
    """
    from earlyexit_superb.benchmark import audio
    from earlyexit_superb.benchmark.cli import main
    from earlyexit_superb.benchmark.report.folder import load_all
    from earlyexit_superb.upstreams.backbones.hubert_shape import HubertShape, macs_to

    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for part, count in (("trainset_28spk", 6), ("testset", 3)):
        for i in range(count):
            clean = 0.1 * np.sin(np.cumsum(0.05 + 0.02 * rng.standard_normal(24_000)))
            for side, wav in (
                ("clean", clean),
                ("noisy", clean + 0.02 * rng.standard_normal(24_000)),
            ):
                audio.write(
                    tmp_path / "data" / f"{side}_{part}_wav_16k" / f"p{300 + i % 3}_{i:03d}.wav",
                    wav.astype(np.float32),
                )
    line = ["--upstream", "daisy.base", "--task", "se", "--rho", "1.0", "--protocol", "superb-v1"]
    line += ["--data", str(tmp_path / "data"), "--results", str(tmp_path / "r")]
    line += ["--set", "weights=random", "steps=2", "eval_every=2", "batch=2"]
    assert main(line) == 0
    rows = {(r.cell.exit, r.cell.layer_norm, r.cell.span): r for r in load_all(tmp_path / "r")}
    # 30.6 % saved: short audio has little attention
    whole = macs_to(HubertShape(), 24_000, 12)
    assert len(rows) == 8
    for depth in (0, 6):
        spent = macs_to(HubertShape(), 24_000, depth)
        assert rows[f"depth {depth}", True, None].cost.macs_saved == pytest.approx(
            100 * (1 - spent / whole)
        )


@pytest.mark.slow
def test_twelve_published_size_branches_cost_three_percent():
    daisy = build_upstream("daisy.base", {"weights": "random"})
    whole = daisy.macs(160_000, 12)
    assert 0.025 < sum(daisy.evidence_macs(160_000, k) for k in range(1, 13)) / whole < 0.035
    out = run_until_exit(
        daisy, torch.randn(1, 8000) * 0.1, torch.tensor([8000]), Exit(range(1, 13), math.inf)
    )
    assert out.depth.tolist() == [1] and len(out.states) == 2
