"""Exit rules on every upstream that steps: branches trained on it, and read by all of them."""

import json

import pytest
import torch
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import Exit, leaving, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream, upstream_class, upstreams
from earlyexit_superb.upstreams.training import daisy_frames
from helpers.students import train

BACKBONES = [name for name in upstreams.names() if not upstream_class(name).knob]
FEW = {"steps": 1, "heard": 1, "batch": 2, "seconds": 1.0, "frames": 32, "fallback_units": 9}


@pytest.mark.parametrize("name", BACKBONES)
def test_branches_are_trained_on_it_and_read_by_every_rule(name, speech, tmp_path, monkeypatch):
    monkeypatch.setattr(daisy_frames, "FALLBACK_BATCHES", 2)
    monkeypatch.setattr(daisy_frames, "LOOKS", 1)
    if not build_upstream(name).card.stepped:
        with pytest.raises(UsageError, match="computes all its depths"):
            build_upstream("layer_similarity", {"backbone": name})
        return
    few = {key: str(value) for key, value in FEW.items()}
    path = train(speech, tmp_path, upstream="daisy.tiny", settings={"backbone": name} | few)
    card = json.loads(path.with_suffix(".json").read_text())
    branches = {"branches": str(path)}
    wav, length = 0.1 * torch.randn(1, 4000), torch.tensor([4000])
    for rule, more in (("daisy", branches), ("patience", branches), ("layer_similarity", {})):
        up = build_upstream(rule, {"backbone": name} | more)
        assert not more or up.card.revision.endswith(card["revision"])
        early, never = (
            run_until_exit(up, wav, length, Exit(leaving(up), tau)) for tau in (99.0, -99.0)
        )
        assert early.depth.tolist() == [leaving(up)[0]] and len(early.states) == early.depth + 1
        assert never.depth.tolist() == [up.card.depth]
