"""What learns in a distillation: blocks of a teacher, and what a step compares."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...benchmark.contract import Upstream
from ...benchmark.masking import valid_mask
from ..backbones.hubert import HubertNet
from .distillation_audio import Batch
from .distillation_recipe import DistillationRecipe
from .front_end import half


class Student(nn.Module):
    """Some blocks of a teacher, with a head for each state of the teacher that is to be told.

    Args:
        net: the network, whose parameters learn.
        told: how many states heads tell; 0 = no heads, its last state is compared.
    """

    def __init__(self, net: HubertNet, told: int):
        super().__init__()
        self.net, dim = net, net.shape.dim
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim)) for _ in range(told)
        )

    def forward(self, wavs: Tensor, lengths: Tensor, blocks: Sequence[int] = ()) -> Tensor:
        """(B, N), (B,) -> (heads or 1, B, T, D), by these blocks alone, where any are named."""
        net = self.net.with_blocks(blocks) if blocks else self.net
        *_, last = net.states(wavs, lengths)
        return torch.stack([head(last) for head in self.heads]) if self.heads else last[None]


def student_of(teacher: HubertNet, blocks: Sequence[int]) -> HubertNet:
    """A copy of the front-end and these blocks of a network, all of whose parameters learn."""
    net = teacher.with_blocks(blocks)
    net.head, net.shape = None, replace(net.shape, units=0)
    return copy.deepcopy(net).requires_grad_(True)


def hold_front(net: HubertNet, factor: float, blocks_alone: bool) -> None:
    """The gradients of the convolutions times a factor; what does not learn takes no gradient.

    Args:
        blocks_alone: nothing before the blocks learns, so that state 0 stays as it is.
    """
    for parameter in net.feature_extractor.parameters():
        parameter.requires_grad_(factor > 0)
        if factor > 0:
            parameter.register_hook(lambda gradient: gradient * factor)
    if blocks_alone:
        net.requires_grad_(False)
        net.encoder.layers.requires_grad_(True)


def left_in(depth: int, drop: float) -> Sequence[int]:
    """The blocks of a step: each is left out with probability `drop`, but never all; () = all."""
    if not drop:
        return ()
    kept = (torch.rand(depth) >= drop).nonzero().flatten() + 1
    return kept.tolist() or [int(torch.randint(1, depth + 1, ()))]


@torch.no_grad()
def states_of(teacher: Upstream, batch: Batch, blocks: Sequence[int], device: str) -> Tensor:
    """(len(blocks), B, T, D) float32: the states of these blocks, none deeper is computed."""
    walk = teacher.states(batch.wavs.to(device), batch.lengths)
    states = list(islice(walk, max(blocks) + 1))
    return torch.stack([states[k].float() for k in blocks])


def distance(told: Tensor, wanted: Tensor, cosine: float) -> Tensor:
    """(..., D), (..., D) -> (...): mean absolute difference, plus `cosine` times
    -log sigmoid(cosine similarity)."""
    similarity = F.cosine_similarity(told, wanted, dim=-1)
    return (told - wanted).abs().mean(-1) - cosine * F.logsigmoid(similarity)


class Comparison:
    """A student beside its teacher, on whose device both are."""

    def __init__(
        self, student: Student, teacher: Upstream, recipe: DistillationRecipe, device: str
    ):
        self.student, self.teacher, self.recipe, self.device = student, teacher, recipe, device

    def sums(self, batch: Batch, blocks: Sequence[int] = ()) -> Tensor:
        """(told states,): the distance summed over this process's valid frames.

        Args:
            blocks: of the student, which are run; () = all.
        """
        with half(self.device):
            told = self.student(batch.wavs.to(self.device), batch.lengths, blocks).float()
        # in full precision, as s3prl's
        wanted = states_of(self.teacher, batch, self.recipe.blocks, self.device)
        each = distance(told, wanted, self.recipe.cosine)
        valid = valid_mask(self.teacher.frames(batch.lengths).to(self.device), each.shape[-1])
        return (each * valid).sum((1, 2))

    def frames(self, batch: Batch) -> int:
        """Valid frames of all rows, whichever process has them."""
        return int(self.teacher.frames(batch.of_all).sum())
