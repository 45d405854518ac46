"""An exit rule that reads DAISY's branches, on any backbone: what entropy, margin and patience
share. The same branches serve all of them, so nothing is trained for another rule."""

import inspect
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...benchmark.contract import Upstream
from ...benchmark.contract.wrapper import ExitRule, stepping
from ...benchmark.exiting import halfway
from ...benchmark.masking import masked_mean
from ...benchmark.registry import build_upstream, spelled, upstream_class
from . import entropy_branches

BRANCHES = {"tiny": str(Path(__file__).parents[1] / "daisy.tiny.safetensors")}


def backbone_of(tag: str, backbone: str = "", **options: Any) -> Upstream:
    """hubert.<tag>, or any other upstream, with those of the options that it takes."""
    known = inspect.signature(upstream_class(backbone or "hubert")).parameters
    taken = {name: value for name, value in options.items() if name in known}
    return stepping(build_upstream(backbone or f"hubert.{tag}", taken))


def no_autocast(tensor: Tensor) -> AbstractContextManager:
    """Products in the precision of their factors, on devices that know autocast and others."""
    device = tensor.device.type
    known = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if known else nullcontext()


class Branched(ExitRule):
    """
    Args:
        tag, weights, seed: of the backbone, as `hubert` takes them.
        branches: a safetensors file of trained branches; "" = the tag's own, "random" = random
            ones.
        front: depth 0, `projection` as in DAISY's released code (hubert's own default is
            s3prl's `block_input`).
        tap: the state that branches and heads read, `block` or `ffn`, as hubert takes it.
        backbone: any upstream instead of hubert.<tag>; weights, front, tap and seed go to it
            where it takes them.
    Attributes:
        called, paper, measures: what the card says: the plug-in's name, the source, the evidence.
    """

    stand_in = {"weights": "random", "branches": "random"}
    called: ClassVar[str]
    paper: ClassVar[str]
    measures: ClassVar[str]

    def __init__(
        self,
        tag: str = "tiny",
        weights: str = "",
        branches: str = "",
        front: str = "projection",
        seed: int = 0,
        backbone: str = "",
        tap: str = "block",
    ):
        inner = backbone_of(tag, backbone, weights=weights, front=front, seed=seed, tap=tap)
        shipped = "" if backbone else BRANCHES.get(tag, "")
        branches = branches or ("random" if weights.startswith("random") else shipped)
        how = f"train daisy.{tag}" + (f" --set backbone={backbone}" if backbone else "")
        loaded, revision = entropy_branches.load(branches, inner, seed, how)
        super().__init__(
            inner,
            name=spelled(
                self.called,
                "" if backbone else tag,
                backbone=(backbone, ""),
                weights=(weights, ""),
                branches=("" if branches in BRANCHES.values() else branches, ""),
                front=(front, "projection"),
                seed=(seed, 0),
                tap=(tap, "block"),
            ),
            source=self.paper,
            evidence=self.measures,
            revision=f"{inner.card.revision}+{revision}",
        )
        self.branches = loaded
        if self.knob == "target_depth":
            self.knob_values = (halfway(self),)

    def unsure(self, logits: Tensor) -> Tensor:
        """(..., units) -> (...): how unsure a branch is of a frame."""
        raise NotImplementedError

    def evidence(self, depth: int, state: Tensor, previous: Tensor, frames: Tensor) -> Tensor:
        branch = self.branches[depth - 1]
        # each utterance by itself, as its states were computed: no branch runs on padding
        if state.device.type == "cpu":
            rows = zip(state, frames.tolist(), strict=True)
            return torch.stack([self.unsure(branch(row[:n])).mean() for row, n in rows])
        return masked_mean(self.unsure(branch(state)), frames)

    def evidence_macs(self, samples: int, depth: int) -> int:
        branch: nn.Linear = self.branches[depth - 1]
        frames = int(self.inner.frames(torch.tensor(samples)))
        return frames * branch.in_features * branch.out_features
