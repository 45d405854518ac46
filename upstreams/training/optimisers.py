"""Optimisers by name, and several as one: backbone and heads may learn by different rules."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .recognition_recipe import RecognitionRecipe


class Several(torch.optim.Optimizer):
    """Optimisers that step together; the parameter groups are theirs, in their order."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]):
        self.parts = list(parts)
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        value = closure() if closure else None
        for part in self.parts:
            part.step()
        return value

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Raises: KeyError, ValueError: it is of other optimisers."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups[:] = self._groups()  # loading makes new ones


def optimiser(
    recipe: RecognitionRecipe,
    backbone: Iterable[nn.Parameter],
    heads: Iterable[nn.Parameter],
    head_lr: float,
    head_optimiser: str,
) -> torch.optim.Optimizer:
    """The backbone and the heads, as far as they learn, as two parts (`part` of a parameter group);
    a part of which nothing does has no group.

    Args:
        head_lr, head_optimiser: of the heads; "": as the backbone's.
    """
    kinds = (recipe.optimiser, head_optimiser or recipe.optimiser)
    learners = [[p for p in of if p.requires_grad] for of in (backbone, heads)]
    learning = [
        (kind, lr, some)
        for kind, lr, some in zip(kinds, (recipe.lr, head_lr), learners, strict=True)
        if some
    ]
    found: dict[str, list[dict[str, Any]]] = {}
    for part, (kind, lr, some) in enumerate(learning):
        found.setdefault(kind, []).extend(
            {"lr": lr, "part": part, **group} for group in _groups(some, recipe)
        )
    made = [_of_kind(kind, groups, recipe) for kind, groups in found.items()]
    return made[0] if len(made) == 1 else Several(made)


def _groups(parameters: Sequence[nn.Parameter], recipe: RecognitionRecipe) -> list[dict[str, Any]]:
    """All of them; or those that decay and those that do not, as biases and norms, which have one
    dimension."""
    if recipe.decayed == "all":
        return [{"params": list(parameters)}]
    weights = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _of_kind(
    kind: str, groups: list[dict[str, Any]], recipe: RecognitionRecipe
) -> torch.optim.Optimizer:
    common = {"eps": recipe.eps, "weight_decay": recipe.weight_decay}
    if kind == "adadelta":
        return torch.optim.Adadelta(groups, rho=recipe.rho, **common)
    made = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    return made(groups, betas=recipe.betas, **common)
