"""A trace is the live pass: evidence exactly, states to fp16; recorded once, by every caller the same."""
import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark import trace as tracing
from earlyexit_superb.benchmark.contract import Example, Item
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import Exit, replay, run_until_exit
from toy import Toy


@pytest.fixture
def split(tmp_path, monkeypatch):
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    wavs = {f"u{i}": torch.from_numpy(0.1 * rng.standard_normal(n).astype(np.float32)) for i, n in enumerate((9000, 4000, 16000, 700))}
    items = []
    for name, wav in wavs.items():
        path = tmp_path / f"{name}.raw"
        path.write_bytes(wav.numpy().tobytes())
        items.append(Item(name, path, len(wav)))
    return items, lambda item: Example(item.id, wavs[item.id], None)


def test_it_equals_the_live_pass(split):
    items, load = split
    toy = Toy().eval()
    kept = tracing.trace(toy, items, load, "toy")
    for i, item in enumerate(items):
        wav = load(item).wav[None]
        with torch.no_grad():
            states = torch.stack(list(toy.states(wav, torch.tensor([item.samples]))))
        batch = kept.batch([i])
        torch.testing.assert_close(batch.states[False], states, atol=2e-3, rtol=1e-3)      # fp16 of values around 1
        assert int(batch.frames) == states.shape[2]
        for tau in np.unique(kept.evidence).tolist():
            exit = Exit((1, 2, 3), tau + 1e-6)
            assert int(run_until_exit(toy, wav, torch.tensor([item.samples]), exit).depth) == replay(kept.evidence[[i]], exit)[0]


def test_a_second_trace_calls_no_upstream_and_opens_no_audio(split):
    items, load = split
    toy = Toy().eval()
    first = tracing.trace(toy, items, load, "toy").evidence
    toy.states = None                                                               # would raise if called
    again = tracing.trace(toy, items, None, "toy")
    assert np.array_equal(again.evidence, first) and again.batch([0, 2]).states[True].shape[1] == 2


def test_where_states_do_not_fit_they_are_recomputed(split, monkeypatch):
    items, load = split
    toy = Toy().eval()
    stored = tracing.trace(toy, items, load, "toy").batch([0, 1])
    monkeypatch.setattr(tracing, "SPARE", 2**62)
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(items[0].path.parent / "other"))
    live = tracing.trace(toy, items, load, "toy")
    assert live.states is None
    torch.testing.assert_close(live.batch([0, 1]).states[False][:, 0], stored.states[False][:, 0], atol=2e-3, rtol=1e-3)


def test_other_weights_get_another_trace(split):
    items, load = split
    a, b = Toy().eval(), Toy().eval()
    with torch.no_grad():
        b.blocks[0].weight.add_(1.0)
    from dataclasses import replace
    b.card = replace(b.card, revision="other")
    assert not np.array_equal(tracing.trace(a, items, load, "toy").evidence, tracing.trace(b, items, load, "toy").evidence)


def test_audio_that_is_not_what_its_header_promised_is_named(split):
    items = split[0]
    with pytest.raises(UsageError, match=r"u2\.raw: 5 samples were read"):
        tracing.trace(Toy().eval(), items, lambda item: Example(item.id, torch.zeros(5), None), "toy")


def test_batches_cover_every_item_once_within_the_budget(split, monkeypatch):
    items = split[0]
    monkeypatch.setattr(tracing, "BATCH_SECONDS", 1.2)
    batches = list(tracing.by_length(items))
    assert sorted(i for rows in batches for i in rows) == [0, 1, 2, 3]
    assert all(len(rows) * max(items[i].samples for i in rows) <= 1.2 * 16000 for rows in batches)
