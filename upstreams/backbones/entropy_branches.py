"""DAISY's branches, loaded and saved: one linear classifier per block, with bias.

`training/daisy.py` trains them.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ...benchmark.contract import Upstream
from ...benchmark.errors import UsageError
from ...benchmark.storage import write_text
from .checkpoint_formats import safetensors_of
from .hubert_weights import content_hash, refuse_others, write

UNITS = 504  # of random branches on a backbone without units: as many as HuBERT Base tells apart
NEVER = -1e4  # the bias of a unit that no frame ever chooses


def load(
    source: str, backbone: Upstream, seed: int, how: str = "train daisy.<tag>"
) -> tuple[nn.ModuleList, str]:
    """Branches for `backbone`, as wide as is fast, and their revision.

    Args:
        source: a safetensors file of trained branches, or "random".
        seed: of random ones; the global random state is neither used nor moved.
        how: they are trained where there are none, for people.

    Raises:
        UsageError: there is no such file, or its branches belong to another backbone.
    """
    if source == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            branches = new(backbone, backbone.unit_count or UNITS)
        return _full_width(branches), f"random-{seed}"
    state = _read(source, backbone, f"run_benchmark.py {how} --data DIR --out DIR")
    branches = new(backbone, _units(state, source))
    mend = "; name the file that run_benchmark.py train daisy.<tag> wrote"
    refuse_others(state, branches.state_dict(), f"daisy: {source}", mend)
    branches.load_state_dict(state)
    revision = content_hash(branches)
    return _full_width(branches), revision


def new(backbone: Upstream, units: int) -> nn.ModuleList:
    """A branch for every block; module k - 1 belongs to depth k."""
    card = backbone.card
    return nn.ModuleList(nn.Linear(card.dim, units) for _ in range(card.depth))


def save(branches: nn.ModuleList, path: Path, backbone: Upstream, facts: dict[str, Any]) -> None:
    """The weights as fp16, and in a JSON file of the same name the card with `facts`."""
    write(branches, path, backbone=backbone.card.revision, targets=facts["targets"])
    card = {
        "name": path.stem,
        "revision": content_hash(branches.half().float()),
        "backbone": backbone.card.name,
        "backbone_revision": backbone.card.revision,
        **facts,
    }
    write_text(path.with_suffix(".json"), json.dumps(card, indent=1) + "\n")


def _read(source: str, backbone: Upstream, train: str) -> dict[str, torch.Tensor]:
    if not source or not Path(source).is_file():
        where = source or f"any known place for {backbone.card.name}"
        raise UsageError(
            f"there are no trained branches at {where}; train them with: {train}, and name the "
            "file with --set branches=FILE, or look at random ones with --set branches=random"
        )
    tensors, said = safetensors_of(Path(source), "daisy: branches")
    state, trained_on = {k: v.float() for k, v in tensors.items()}, said.get("backbone", "")
    if trained_on != backbone.card.revision:
        raise UsageError(
            f"the branches in {source} were trained on the backbone "
            f"{trained_on or '(unnamed)'}, not on {backbone.card.name} {backbone.card.revision}; "
            f"train them again: {train}"
        )
    return state


def _units(state: dict[str, torch.Tensor], source: str) -> int:
    bias = state.get("0.bias")
    if bias is None or bias.ndim != 1 or not len(bias):
        raise UsageError(f"daisy: {source} holds no branches: it has no vector 0.bias")
    return len(bias)


@torch.no_grad()
def _full_width(branches: nn.ModuleList) -> nn.ModuleList:
    """With rows that no frame ever chooses, up to a multiple of 16.

    Their probability is exactly 0, and the product is faster (tests/bench/measure_width.py).
    """
    for branch in branches:
        rows = -len(branch.bias) % 16
        branch.weight = nn.Parameter(F.pad(branch.weight, (0, 0, 0, rows)))
        branch.bias = nn.Parameter(F.pad(branch.bias, (0, rows), value=NEVER))
        branch.out_features += rows
    return branches
