"""An exit rule that reads DAISY's branches, on any backbone: what entropy, margin and patience
share. The same branches serve all of them, so nothing is trained for another rule."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...benchmark.contract import Upstream
from ...benchmark.contract.wrapper import ExitRule, stepping
from ...benchmark.errors import UsageError
from ...benchmark.exiting import halfway
from ...benchmark.masking import masked_mean
from ...benchmark.registry import build_upstream, spelled, upstream_class
from . import entropy_branches

FRONT = "projection"  # depth 0 of DAISY's released code
# what a backbone that takes no such option may be left without; a seed is of random branches, too
USUAL = {"weights": "", "tap": "block"}
BRANCHES = {"tiny": str(Path(__file__).parents[1] / "daisy.tiny.safetensors")}


def backbone_of(tag: str, backbone: str = "", **options: Any) -> Upstream:
    """hubert.<tag>, or any other upstream, with those of the options that it takes.

    Raises: UsageError where it does not take one that was asked for: its row would say what is not.
    """
    known = inspect.signature(upstream_class(backbone or "hubert")).parameters
    taken = {name: value for name, value in options.items() if name in known}
    asked = {name: value for name, value in options.items() if value != USUAL.get(name, value)}
    if vain := sorted(asked.keys() - known.keys()):
        raise UsageError(
            f"{backbone} has no option {', '.join(vain)}; leave it out, or give the backbone its "
            "own in its name (name.tag)"
        )
    return stepping(build_upstream(backbone or f"hubert.{tag}", taken))


def front_of(backbone: str, front: str) -> str:
    """`front` where the backbone takes it, else the one that no name spells out."""
    known = inspect.signature(upstream_class(backbone or "hubert")).parameters
    return front if "front" in known else FRONT


def no_autocast(tensor: Tensor) -> AbstractContextManager:
    """Products in the precision of their factors, on devices that know autocast and others."""
    device = tensor.device.type
    known = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if known else nullcontext()


def mean_of(value: Callable[..., Tensor], frames: Tensor, *states: Tensor) -> Tensor:
    """(B,) the mean of `value` over each utterance's own frames.

    Args:
        value: of (..., T, D) states -> (..., T).
        frames: (B,) valid frames; states: (B, T, D) each.
    """
    # each utterance by itself, as its states were computed: no branch runs on padding
    if states[0].device.type == "cpu":
        rows = zip(*states, frames.tolist(), strict=True)
        return torch.stack([value(*(x[:n] for x in own)).mean() for *own, n in rows])
    return masked_mean(value(*states), frames)


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
        own: options of a subclass, as `spelled` takes them; set before `__init__`.
    """

    stand_in = {"weights": "random", "branches": "random"}
    called: ClassVar[str]
    paper: ClassVar[str]
    measures: ClassVar[str]
    own: Mapping[str, tuple[Any, Any]] = MappingProxyType({})

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
                front=(front_of(backbone, front), FRONT),
                seed=(seed, 0),
                tap=(tap, "block"),
                **self.own,
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
        return mean_of(lambda states: self.unsure(branch(states)), frames, state)

    def evidence_macs(self, samples: int, depth: int) -> int:
        branch: nn.Linear = self.branches[depth - 1]
        frames = int(self.inner.frames(torch.tensor(samples)))
        return frames * branch.in_features * branch.out_features
