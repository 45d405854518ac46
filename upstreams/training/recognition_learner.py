"""What learns when a system is fine-tuned: trunk, heads, and what stands in masked frames."""

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...benchmark import distributed
from ...benchmark.errors import UsageError
from ..backbones.shortened import Shortened
from ..recognition.recogniser import Recogniser
from . import trunk_walk
from .distillation_student import hold_front, left_in
from .front_end import half
from .recognition_data import Transcribed
from .recognition_loss import Heard
from .recognition_recipe import RecognitionRecipe


class Learner(nn.Module):
    """A recogniser under training.

    Args:
        recogniser: whose parameters learn.
        who: is trained, for messages.
    Attributes:
        filling: (D,) what stands in masked frames of an encoder's input. Learned, as wav2vec 2.0's,
            though not in pre-training, whose own our weights leave out: it begins as zeros.
        held: the trunk stays in evaluation mode, where it is not to learn.
    """

    held = False

    def __init__(self, recogniser: Recogniser, recipe: RecognitionRecipe, who: str):
        super().__init__()
        self.recogniser, self.recipe = recogniser, recipe
        if recipe.ctc < 1 and not hasattr(next(iter(recogniser.heads.values())), "cross_entropy"):
            raise UsageError(
                f"train {who}: its heads write by CTC alone and have no decoder to take the rest "
                "of the loss; add --set ctc=1"
            )
        encoder = trunk_walk.encoder_of(recogniser.trunk)
        self.filling: nn.Parameter | None = None
        if encoder is None:
            asked = [name for name in OF_ENCODERS if getattr(recipe, name)]
            if asked:
                raise UsageError(
                    f"train {who}: {asked[0]} is for HuBERT and its relatives, and "
                    f"{recogniser.trunk.card.name} is none; add --set {asked[0]}=0"
                )
            return
        hold_front(encoder, recipe.front, blocks_alone=False)
        trunk_walk.drop_out(encoder, recipe)
        if recipe.mask_prob:
            self.filling = nn.Parameter(torch.zeros(encoder.shape.dim))

    def train(self, mode: bool = True) -> "Learner":
        super().train(mode)
        if self.held:
            self.recogniser.trunk.eval()
        return self

    @property
    def last(self) -> int:
        return self.recogniser.card.depth

    @property
    def depths(self) -> tuple[int, ...]:
        """All that have a head."""
        return (*self.recogniser.exits, self.last)

    def backbone(self) -> Iterable[nn.Parameter]:
        """All that is not heads, a filter before the trunk included."""
        yield from self.recogniser.trunk.parameters()
        if self.filling is not None:
            yield self.filling

    def groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Those that learn as the backbone does, and those that learn as the heads do: a filter
        before it is as new as they are (salah-zaiem/speeding_inferences: hparams/sig_down8000.yaml,
        `model`)."""
        trunk, heads = self.recogniser.trunk, list(self.recogniser.heads.parameters())
        taps = list(trunk.shorten.parameters()) if isinstance(trunk, Shortened) else []
        new = {id(p) for p in taps}
        return [p for p in self.backbone() if id(p) not in new], [*heads, *taps]

    def hear(
        self, batch: Transcribed, depths: Iterable[int], device: str, frozen: bool = False
    ) -> Heard:
        """States and scores of a batch at these depths; none deeper is computed.

        Args:
            frozen: the backbone is run without gradients.
        """
        recipe, recogniser = self.recipe, self.recogniser
        # drawn first of all, so that all processes of a torchrun leave out the same
        blocks = left_in(self.last, 0.0 if frozen else recipe.layerdrop) if self.training else ()
        distributed.draw_apart()  # dropout is another one for other rows
        changes = trunk_walk.Changes(recipe, batch.rngs, blocks, self.filling)
        frames, scores = recogniser.frames(batch.lengths), {}
        with self._precision(device):
            with torch.no_grad() if frozen else contextlib.nullcontext():
                walk = trunk_walk.states(
                    recogniser.trunk,
                    batch.wavs.to(device),
                    batch.lengths,
                    changes,
                )
                states = _asked(walk, set(depths))
            for depth, state in states.items():
                state = F.dropout(state, recipe.head_dropout, self.training)
                scores[depth] = recogniser.scores(depth, state, frames.to(device))
        # float32 again: what reads them later, as a decoder does, is not under this precision
        states = {depth: state.float() for depth, state in states.items()}
        return Heard(states, scores, frames, recogniser.scored(frames))

    def _precision(self, device: str) -> contextlib.AbstractContextManager:
        return half(device) if self.recipe.precision == "bf16" else contextlib.nullcontext()


OF_ENCODERS = (
    *("layerdrop", "projection_dropout", "dropout"),
    *("attention_dropout", "activation_dropout", "front"),
)


def _asked(walk: Iterator[Tensor], depths: set[int]) -> dict[int, Tensor]:
    """The states of these depths; none deeper is computed."""
    found = {}
    for depth, state in enumerate(walk):
        if depth in depths:
            found[depth] = state
        if depth == max(depths):
            return found
    raise AssertionError(f"the trunk ended before depth {max(depths)}")
