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
    """A parameter group for the backbone and one for the heads, of those that learn; a part of
    which nothing does has none.

    Args:
        head_lr, head_optimiser: of the heads; "": as the backbone's.
    """
    kinds = (recipe.optimiser, head_optimiser or recipe.optimiser)
    found = []
    for kind, parameters, lr in zip(kinds, (backbone, heads), (recipe.lr, head_lr), strict=True):
        if learners := [p for p in parameters if p.requires_grad]:
            found.append((kind, {"params": learners, "lr": lr}))
    if len({kind for kind, _ in found}) == 1:
        return _of_kind(found[0][0], [group for _, group in found], recipe)
    return Several([_of_kind(kind, [group], recipe) for kind, group in found])


def _of_kind(
    kind: str, groups: list[dict[str, Any]], recipe: RecognitionRecipe
) -> torch.optim.Optimizer:
    common = {"eps": recipe.eps, "weight_decay": recipe.weight_decay}
    if kind == "adadelta":
        return torch.optim.Adadelta(groups, rho=recipe.rho, **common)
    made = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    return made(groups, betas=recipe.betas, **common)
