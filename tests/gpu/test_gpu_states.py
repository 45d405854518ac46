"""States, evidence and exits on a device are those of the CPU, up to rounding."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.engine.feature_cache import cached_features
from earlyexit_superb.benchmark.engine.parameters import Parameters
from earlyexit_superb.benchmark.engine.precision import at_precision
from earlyexit_superb.benchmark.exiting import Exit, leaving, replay, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream
from helpers import wav
from torch.nn.utils.rnn import pad_sequence

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("full_precision")]
SAMPLES = (16_000, 9_000, 12_345)
WAVS = [wav(n, seed) for seed, n in enumerate(SAMPLES)]
BATCH, LENGTHS = pad_sequence(WAVS, batch_first=True), torch.tensor(SAMPLES)


@torch.no_grad()
def passed(upstream, wavs, lengths, device):
    """All states, and the evidence of every exit, on the CPU."""
    frames, previous, states, evidence = upstream.frames(lengths).to(device), None, [], []
    for depth, state in enumerate(upstream.states(wavs.to(device), lengths)):
        if upstream.knob and depth in upstream.exits:
            evidence.append(upstream.evidence(depth, state, previous, frames).cpu())
        states.append(state.cpu())
        previous = state
    return states, torch.stack(evidence) if evidence else torch.empty(0)


def close(a, b, tolerance=1e-4):
    assert float((a - b).abs().max()) <= tolerance * float(b.abs().max())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hubert.tiny", {}),
        ("hubert.tiny", {"front": "projection", "tap": "ffn"}),
        ("daisy.tiny", {}),
        ("margin", {}),
        ("layer_similarity", {}),
        ("block_plan", {}),
        ("wavlm.tiny", {}),
        ("data2vec.tiny", {}),
        ("hubert.base", {"weights": "random"}),
        ("wavlm.base", {"weights": "random"}),
        ("daisy.base", {"weights": "random"}),
    ],
    ids=str,
)
def test_states_and_evidence_are_the_cpus_and_a_batch_is_its_members(device, name, options):
    upstream = build_upstream(name, options).requires_grad_(False).eval()
    states, evidence = passed(upstream, BATCH, LENGTHS, "cpu")
    upstream = upstream.to(device)
    together, tested = passed(upstream, BATCH, LENGTHS, device)
    frames = upstream.frames(LENGTHS).tolist()
    if len(evidence):
        close(tested, evidence)
    for row, n in enumerate(frames):
        alone, own = passed(upstream, WAVS[row][None], LENGTHS[row : row + 1], device)
        if len(evidence):
            close(tested[:, row], own[:, 0])
        for ours, theirs, single in zip(together, states, alone, strict=True):
            close(ours[row, :n], theirs[row, :n])
            close(ours[row, :n], single[0])


def test_a_device_needs_the_parameters_that_a_cpu_needs(here, there):
    a, b = Parameters(here), Parameters(there)
    assert a.all == b.all and a.needed(6, (3,)) == b.needed(6, (3,))


def test_bfloat16_is_near(device, there):
    low = at_precision(there, "bf16")
    exact, rough = (passed(up, BATCH, LENGTHS, device) for up in (there, low))
    for a, b in zip(rough[0], exact[0], strict=True):
        assert a.dtype == torch.float32 and float((a - b).abs().mean() / b.abs().mean()) < 0.1
    assert float((rough[1] - exact[1]).abs().max()) < 0.5


def test_a_run_that_tests_no_depth_never_waits(device, there):
    if device != "cuda":
        pytest.skip("a CPU waits for nobody")
    on_gpu = BATCH.to(device)
    run_until_exit(there, on_gpu, LENGTHS, Exit((12,)))
    torch.cuda.set_sync_debug_mode("error")
    try:
        run_until_exit(there, on_gpu, LENGTHS, Exit((12,)))
    finally:
        torch.cuda.set_sync_debug_mode("default")


# ---- exits ---------------------------------------------------------------------------------------


def between(evidence, least):
    """Thresholds in the middle of gaps that rounding does not cross."""
    values = np.unique(evidence).tolist()
    middles = [(a + b) / 2 for a, b in pairwise(values) if b - a > 2 * least]
    assert len(middles) > 5
    return middles[:: len(middles) // 5]


def test_a_recording_replayed_is_the_live_run(device, heard, there):
    items, load = heard
    kept = cached_features(there, items, load, "tiny", device)
    wavs = pad_sequence([load(item).wav for item in items], batch_first=True).to(device)
    lengths = torch.tensor([item.samples for item in items])
    stored = kept.batch(range(len(items)))
    assert stored.states[False].device.type == stored.frames.device.type == device
    for tau in between(kept.evidence, 1e-4):
        exit = Exit(leaving(there), tau)
        live = run_until_exit(there, wavs, lengths, exit)
        assert live.depth.tolist() == replay(kept.evidence, exit).tolist()
        for i, depth in enumerate(live.depth.tolist()):
            n = int(stored.frames[i])
            shown, kept_of = live.states[: depth + 1, i, :n], stored.states[False][:, i, :n]
            error = (shown - kept_of[: depth + 1]).abs().max()
            worst = kept.manifest["largest_rounding_error"] + 1e-4 * float(kept_of.abs().max())
            assert float(error) <= worst
        for i in range(len(items)):
            one = wavs[i : i + 1, : lengths[i]], lengths[i : i + 1]
            assert run_until_exit(there, *one, exit).depth.tolist() == [int(live.depth[i])]


def test_exits_are_those_of_the_cpu_where_rounding_does_not_decide(device, heard, here, there):
    items, load = heard
    ours, theirs = (
        cached_features(up, items, load, "tiny", on).evidence
        for up, on in ((there, device), (here, "cpu"))
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    for tau in np.quantile(theirs, [0.1, 0.3, 0.5, 0.7, 0.9]).tolist():
        exit = Exit(leaving(here), tau)
        decided = (np.abs(theirs - tau) > 1e-4).all(1)
        assert decided.any()
        np.testing.assert_array_equal(replay(ours, exit)[decided], replay(theirs, exit)[decided])


def test_means_and_recomputed_states_are_the_stored_ones(device, heard, there, monkeypatch):
    """What identification reads, and what is read where the disk is too small for states."""
    from earlyexit_superb.benchmark.engine import extract
    from earlyexit_superb.benchmark.exiting import layer_normed

    items, load = heard
    stored = cached_features(there, items, load, "tiny", device)
    means = cached_features(there, items, load, "tiny", device, keep="means").batch([0, 1, 2])
    monkeypatch.setattr(extract, "SPARE", 2**60)
    again = cached_features(there, items[:3], load, "tiny", device)
    assert stored.kept and not again.kept
    assert means.states[True].device.type == means.samples.device.type == device
    a, b = stored.batch([0, 1, 2]), again.batch([0, 1, 2])
    for row, n in enumerate(a.frames.tolist()):
        whole = b.states[False][:, row, :n]
        close(a.states[False][:, row, :n], whole, 1e-3)
        # recomputed states are rounded to fp16 like stored ones, means are of states as they came
        close(means.states[False][:, row, 0], whole.mean(1), 1e-3)
        close(means.states[True][:, row, 0], layer_normed(whole).mean(1), 1e-3)
