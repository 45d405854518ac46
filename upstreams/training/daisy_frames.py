"""What DAISY's branches learn from: frames of a frozen backbone, and the unit each should name.

Two ways to hear the data. `WholeUtterances`, as published: every step hears a batch of whole
utterances from disk. `DrawnFrames`: the backbone runs once for many steps of small layers; it hears
one batch of crops after another, keeps all frames, and steps draw from them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
import torch
from torch import Tensor

from ...benchmark import distributed
from ...benchmark.contract import SAMPLE_RATE, TrainingRun, Upstream
from ...benchmark.errors import UsageError
from ...benchmark.masking import valid_mask
from .daisy_recipe import BranchRecipe
from .pretraining_data import Pool
from .units import nearest_centre
from .utterances import Utterances

LOOKS = 8  # batches of crops of a look at held-out speech
FALLBACK_BATCHES = 32  # that fallback units are clustered from
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class FrozenBackbone:
    """The frozen backbone: the states of its blocks, and the unit that every frame should name.

    Attributes:
        targets: the (B, T, D) states of all blocks, as `naming` gives them -> (B, T) units.
        naming: the backbone, or the same weights with the states that its units are read from.
        units: how many there are.
        said: how the card names them.
    """

    backbone: Upstream
    device: str
    targets: Callable[[list[Tensor]], Tensor]
    units: int
    said: str
    naming: Upstream

    @torch.no_grad()
    def hear(self, wavs: Tensor, lengths: Tensor) -> Batch:
        """(B, N), (B,) samples -> (L, n, D) states and (n,) units of all valid frames."""
        wavs = wavs.to(self.device)
        states = list(self.backbone.states(wavs, lengths))[1:]
        named = states
        if self.naming is not self.backbone:  # a second pass: its units need other states
            named = list(self.naming.states(wavs, lengths))[1:]
        frames = self.backbone.frames(lengths).to(self.device)
        valid = valid_mask(frames, states[0].shape[1])
        return torch.stack([state[valid] for state in states]), self.targets(named)[valid]


def frozen_backbone(
    backbone: Upstream, audio: Pool | Utterances, recipe: BranchRecipe, run: TrainingRun
) -> FrozenBackbone:
    if backbone.unit_count:
        said = "argmax of the backbone's self-supervised head"
        return FrozenBackbone(
            backbone,
            run.device,
            lambda states: backbone.units(states[-1]),
            backbone.unit_count,
            said,
            backbone.naming,
        )
    units, depth = recipe.fallback_units, backbone.card.depth
    block = recipe.fallback_block or max(1, round(depth * 7 / 12))
    if not 1 <= block <= depth:
        raise UsageError(f"train {run.name}: fallback_block is 1 to {depth}, not {block}")
    heard = islice(_batches(audio, recipe, run.seed), FALLBACK_BATCHES)
    nearest = nearest_centre(backbone, block, heard, units, run.seed, run.device)
    said = f"k-means, {units} units of block {block} (the backbone names no units of its own)"
    return FrozenBackbone(
        backbone, run.device, lambda states: nearest(states[block - 1]), units, said, backbone
    )


def _batches(audio: Pool | Utterances, recipe: BranchRecipe, seed: int) -> Iterator[Batch]:
    """Batches of training speech without end."""
    rng, samples = np.random.default_rng(seed), int(recipe.seconds * SAMPLE_RATE)
    for i in count():
        if isinstance(audio, Utterances):
            yield audio.batch(i)[:2]
        else:
            yield audio.crops(rng, recipe.batch, samples)[0], torch.full((recipe.batch,), samples)


class DrawnFrames:
    """Frames drawn from what was heard last: one hearing of the backbone serves many steps."""

    def __init__(self, recipe: BranchRecipe, pool: Pool, frozen: FrozenBackbone, seed: int):
        self.recipe, self.pool, self.frozen, self.seed = recipe, pool, frozen, seed
        self.samples = int(recipe.seconds * SAMPLE_RATE)
        self.rank, self.ranked = distributed.rank_and_size()
        self.number = -1
        self.last: Batch
        distributed.share(recipe.heard, "heard")

    def step(self, i: int) -> tuple[Tensor, Tensor, int]:
        """This process's (L, n, D) states and (n,) units of step i, and the frames of all."""
        recipe, (states, units) = self.recipe, self._hearing(i // self.recipe.every)
        each = len(units) * self.ranked // recipe.heard  # frames of a batch, whoever heard it
        rows = torch.randint(len(units) * self.ranked, (recipe.frames,), device=units.device)
        rows = rows[rows // each % self.ranked == self.rank]
        rows = rows // each // self.ranked * each + rows % each
        return states[:, rows], units[rows], recipe.frames

    def moments(self) -> tuple[Tensor, Tensor]:
        """(L, 1, D) mean and standard deviation of what is heard first.

        Most of a state is the same in every frame, which makes gradient descent on it slow.
        """
        first = self._hearing(0)[0].float()
        mean = distributed.mean(first.mean(1, keepdim=True))
        variance = distributed.mean((first - mean).square().mean(1, keepdim=True))
        return mean, variance.sqrt() + 1e-5

    def held_out(self) -> Iterator[Batch]:
        rng = np.random.default_rng(self.seed)
        for _ in range(LOOKS):
            yield self._hear(
                self.pool.crops(rng, self.recipe.batch, self.samples, held_out=True)[0]
            )

    def _hearing(self, number: int) -> Batch:
        if self.number != number:
            rng = np.random.default_rng([self.seed, number])
            heard = list(filter(None, (self._batch(rng, b) for b in range(self.recipe.heard))))
            states, units = zip(*heard, strict=True)
            self.last, self.number = (torch.cat(states, 1), torch.cat(units)), number
        return self.last

    def _batch(self, rng: np.random.Generator, number: int) -> Batch | None:
        """A batch of crops, the states in half precision; another process's is drawn, not heard."""
        wavs, _ = self.pool.crops(rng, self.recipe.batch, self.samples)
        wavs = self.pool.add_noise(wavs, rng, self.recipe.noisy)
        if number % self.ranked != self.rank:
            return None
        states, units = self._hear(wavs)
        return states.half(), units

    def _hear(self, wavs: Tensor) -> Batch:
        return self.frozen.hear(wavs, torch.full((len(wavs),), self.samples))


class WholeUtterances:
    """All frames of a batch of whole utterances a step, as published."""

    def __init__(self, utterances: Utterances, frozen: FrozenBackbone):
        self.utterances, self.frozen = utterances, frozen

    def step(self, i: int) -> tuple[Tensor, Tensor, int]:
        """This process's (L, n, D) states and (n,) units of step i, and the frames of all."""
        wavs, lengths, of_all = self.utterances.batch(i)
        together = int(self.frozen.backbone.frames(of_all).sum())
        return *self.frozen.hear(wavs, lengths), together

    def moments(self) -> tuple[Tensor, Tensor]:
        """0 and 1: the branches learn on states as they are."""
        card, device = self.frozen.backbone.card, self.frozen.device
        mean = torch.zeros(card.depth, 1, card.dim, device=device)
        return mean, torch.ones_like(mean)

    def held_out(self) -> Iterator[Batch]:
        for i in range(self.utterances.held_out_batches()):
            yield self.frozen.hear(*self.utterances.held_out_batch(i))
