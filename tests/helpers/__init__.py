"""Small settings and small functions that several test files use; fixtures are in conftest.py."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.contract import Example, Item, TrainingData, TrainingRun
from earlyexit_superb.benchmark.engine.training_start import TrainingConfig, train
from earlyexit_superb.benchmark.extras import EXTRAS
from earlyexit_superb.upstreams.backbones.hubert_shape import HubertShape
from earlyexit_superb.upstreams.training import hubert_recipe, masked_prediction

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
TOY = f"{ROOT / 'tests' / 'toys' / 'toy.py'}:Toy"
TASKS = ("se", "sid", "asr", "ss")
STEPS = ["--set", "steps=6", "eval_every=3", "batch=3"]
SMALL = HubertShape(
    dim=24, depth=2, heads=2, ffn=48, conv_dim=16, pos_kernel=16, pos_groups=4, units=8, unit_dim=12
)
FEW = {
    "front_steps": 3,
    "mfcc_steps": 3,
    "block_steps": 3,
    "mfcc_units": 5,
    "block_units": 8,
    "block_layer": 1,
    "batch": 2,
    "every": 2,
}


def command(corpus, results, *more):
    return [
        "--upstream",
        TOY,
        "--task",
        "se",
        "--data",
        str(corpus),
        "--protocol",
        "mini",
        "--results",
        str(results),
        *STEPS,
        *more,
    ]


def jsons(results):
    return {p.name: json.loads(p.read_text()) for p in sorted(results.glob("se/*/*/*/*.json"))}


def numbers(results):
    """Everything that must not differ between two machines' moods."""
    return {
        n: (
            r["scores"],
            r["depth"],
            r["exit_histogram"],
            r["cost"]["macs_saved"],
            r["layer_weights"],
        )
        for n, r in jsons(results).items()
    }


def fit(speech, out, device="cpu", **settings):
    """A backbone of SMALL shape: its weights."""
    data = TrainingData((speech / "clips",), (speech / "noise",))
    run = TrainingRun("hubert.small", "small", {}, out, out / "hubert.small", device=device)
    masked_prediction.train(replace(hubert_recipe.TINY, **FEW | settings), data, run, SMALL)
    return run.weights


def fit_branches(speech, out, preset="tiny", **settings):
    """Branches of daisy.tiny on random weights: theirs."""
    few = {"weights": "random", "steps": 3, "batch": 2, "every": 2} | settings
    if preset == "tiny":
        few = {"heard": 2, "frames": 64} | few
    told = {name: str(value) for name, value in few.items()}
    return train(
        TrainingConfig(
            "daisy.tiny", out, preset, (speech / "clips",), (speech / "noise",), settings=told
        )
    )


def wav(samples, seed=0):
    """(N,) noise under a slow envelope."""
    envelope = torch.sin(torch.arange(samples) / 1500 + seed).square() + 0.1
    return 0.1 * envelope * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def installed(*modules):
    """Skip a test that needs packages which are not there; one that is broken fails the test."""
    for module in modules:
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def installed_for(task):
    """The same, for what trains and scores heads of a task."""
    needed = EXTRAS[task].modules if task in EXTRAS else ()
    installed("lightning_fabric", *(module.partition(".")[0] for module in needed))


@torch.no_grad()
def evidence_of(upstream, wavs, lengths):
    """(n, E) evidence of every exit."""
    states, frames = list(upstream.states(wavs, lengths)), upstream.frames(lengths)
    found = [upstream.evidence(k, states[k], states[k - 1], frames) for k in upstream.exits]
    return torch.stack(found, 1).numpy()


def hubert_frames(samples):
    return (samples - 400) // 320 + 1


def items_of(folder, lengths, seed=0):
    """Items of noise in raw files, and a loader that knows the waveforms."""
    rng, items, wavs = np.random.default_rng(seed), [], {}
    for i, n in enumerate(map(int, lengths)):
        path = folder / f"u{i}.raw"
        wavs[path] = torch.from_numpy((0.1 * rng.standard_normal(n)).astype(np.float32))
        path.write_bytes(wavs[path].numpy().tobytes())
        items.append(Item(f"u{i}", path, n))
    return items, lambda item: Example(
        item.id, wavs[item.path][item.start : item.start + item.samples], None
    )
