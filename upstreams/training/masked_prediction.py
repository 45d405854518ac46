"""Pre-training a small HuBERT by masked prediction of units (Hsu et al., 2021, sec. III).

Three stages, each resumable, each warm-started from the one before:

1. `front`: the convolutions learn to carry the log-mel spectrum and are frozen (`front_end.py`).
   Their output is kept, clean and with noise.
2. `mfcc`: the blocks predict k-means units of 39-dimensional MFCCs at masked frames (HuBERT's first
   iteration).
3. `block`: units of a middle block of stage 2's model (HuBERT's second iteration).

Units are always those of clean speech; a part of each batch is heard with noise, so the blocks
learn to see through it. In stage 3 the last block, or every block, must also still tell the clean
convolution output (`carry`), so that deep states keep some of what speech sounded like. HuBERT has
no such term. Earlier blocks may have to predict the units, too (`deep`), as in ILS-SSL (Wang et
al., 2022): units are otherwise named in the upper half alone, and entropy is flat below it.

`warm=FILE` goes on from trained weights instead of stages 1 and 2: units of that model's middle
block, then stage 3.
"""

import json
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...benchmark import distributed, trainer
from ...benchmark.contract import SAMPLE_RATE, TrainingData, TrainingRun
from ...benchmark.errors import UsageError
from ...benchmark.storage import write_text
from ..backbones.hubert import HubertNet
from ..backbones.hubert_shape import STRIDE, HubertShape
from ..backbones.hubert_weights import content_hash, load, save
from .front_end import front_end, half
from .heard import Heard
from .hubert_recipe import HubertRecipe
from .masked_crops import Draw
from .masked_predictor import Predictor, look
from .pretraining_data import Pool
from .schedules import warm_then_linear
from .units import Features, mfcc, units_of


@dataclass(frozen=True)
class Stage:
    """What stages 2 and 3 differ in; the fields are the recipe's."""

    name: str
    steps: int
    units: int
    unmasked: float
    carry: float
    deep: float

    @classmethod
    def of(cls, recipe: HubertRecipe, name: str) -> "Stage":
        fields = ("steps", "units", "unmasked", "carry")
        deep = recipe.block_deep if name == "block" else 0.0
        own = {field: getattr(recipe, f"{name}_{field}") for field in fields}
        return cls(name=name, deep=deep, **own)


def train(recipe: HubertRecipe, data: TrainingData, run: TrainingRun, shape: HubertShape) -> None:
    """All stages of a network of this shape; `run.weights` with its SSL head, and a card."""
    distributed.share(recipe.batch)
    if not 1 <= recipe.block_layer <= shape.depth:
        raise UsageError(
            f"train {run.name}: block_layer is 1 to {shape.depth}, not {recipe.block_layer}"
        )
    pool = Pool(data.speech, data.noise, (recipe.frames * STRIDE + 80) / SAMPLE_RATE)
    clips = len(pool.clips)
    if recipe.warm:
        net = load(recipe.warm, shape)[0].to(run.device)
        heard = Heard(net, pool, recipe.noisy, run)
    else:
        net = front_end(shape, recipe, pool, run)
        heard = Heard(net, pool, recipe.noisy, run)
        units = units_of(mfcc(pool.wav), clips, recipe.mfcc_units, run.work / "mfcc", run.seed)
        net = _predict(Stage.of(recipe, "mfcc"), recipe, net, heard, units, run)
    other = recipe.units_from
    namer = load(other, shape)[0].to(run.device) if other else net
    if not _hear_alike(namer, net):
        raise UsageError(
            f"train {run.name}: the convolutions of units_from={other} are not those of this "
            "training, whose output its blocks would be given; name weights that come from the "
            "same ones by warm=FILE"
        )
    states = _block_states(namer, heard, recipe.block_layer, run.device)
    units = units_of(states, clips, recipe.block_units, run.work / "block", run.seed)
    if recipe.warm and recipe.level:  # not before: units are those of the weights as they came
        _levelled(net, heard, run.device)
    net = _predict(Stage.of(recipe, "block"), recipe, net, heard, units, run)
    if distributed.is_leader():
        save(net.cpu(), run.weights)
        card = json.dumps(_card(net, recipe, pool, run), indent=1)
        write_text(run.weights.with_suffix(".json"), card + "\n")


def _hear_alike(one: HubertNet, other: HubertNet) -> bool:
    """Whether two networks have the same convolutions, as they are stored."""
    a, b = (net.feature_extractor.state_dict() for net in (one, other))
    return all(torch.equal(a[name].half(), b[name].half()) for name in a)


def _card(net: HubertNet, recipe: HubertRecipe, pool: Pool, run: TrainingRun) -> dict:
    logs = sorted(run.work.glob("*/log.jsonl"))
    names = {field: Path(getattr(recipe, field)).name for field in ("warm", "units_from")}
    namer = _card_beside(recipe.units_from)
    return {
        "name": run.name,
        "revision": content_hash(net.half().float()),
        "parameters": sum(p.numel() for p in net.parameters()),
        "shape": asdict(net.shape),
        "recipe": asdict(replace(recipe, **names)),
        "units_from_revision": namer and namer["revision"],
        "warm_from": _card_beside(recipe.warm),
        "seed": run.seed,
        "hours": {name: round(hours, 3) for name, hours in pool.sources.items()},
        "last_look": {
            log.parent.name: json.loads(log.read_text().splitlines()[-1]) for log in logs
        },
    }


def _card_beside(weights: str) -> dict | None:
    path = Path(weights).with_suffix(".json") if weights else None
    return json.loads(path.read_text()) if path and path.exists() else None


def _block_states(net: HubertNet, heard: Heard, layer: int, device: str) -> Features:
    """Clip number -> (T, D) clean states of block `layer`."""

    @torch.no_grad()
    def features(clip: int) -> np.ndarray:
        with half(device):
            x = heard.whole(clip)[None].float().to(device)
            x = net.feature_projection.projection(net.feature_projection.layer_norm(x))
            state = next(islice(net.blocks(net.position(x), None), layer - 1, None))
        return state[0].float().cpu().numpy()

    return features


@torch.no_grad()
def _levelled(net: HubertNet, heard: Heard, device: str) -> None:
    """Divide the projection such that the mean square of state 0 begins at 1."""
    projection, clips = net.feature_projection.projection, range(0, len(heard.sizes), 50)
    x = torch.cat([heard.whole(clip) for clip in clips]).float().to(device)
    size = projection(net.feature_projection.layer_norm(x)).square().mean().sqrt()
    projection.weight /= size
    projection.bias /= size


def _predict(
    stage: Stage,
    recipe: HubertRecipe,
    warm: HubertNet,
    heard: Heard,
    units: list[np.ndarray],
    run: TrainingRun,
) -> HubertNet:
    torch.manual_seed(run.seed)
    shape = replace(warm.shape, units=stage.units)
    model = Predictor(shape, warm, recipe.carry_all, stage.deep > 0).to(run.device)
    draw = Draw(recipe, heard, units, run.device)

    def loss(i: int) -> Tensor:
        crops = draw(np.random.default_rng(trainer.step_seed(run.seed, i)))
        with half(run.device):
            states = model.states(crops.heard, crops.mask)
            carry = model.carry_error(states, crops)
            naming = model.naming_error(states, crops, stage.unmasked, stage.deep)
        level = states[0].float().square().mean().log().square()
        # sums over frames are shared among the processes, of which the mean is taken
        shares = distributed.rank_and_size()[1]
        return recipe.level * level + shares * (naming + stage.carry * carry / crops.opened)

    learners = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        learners, recipe.lr, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01
    )
    trainer.train(
        model,
        loss,
        optimiser,
        _schedule(stage, recipe),
        folder=run.work / stage.name,
        seed=run.seed,
        device=run.device,
        what=f"hubert, {stage.name} units: {heard.pool.hours:.1f} h",
        validate=lambda: look(model, draw.held_out(run.seed), run.device),
    )
    return model.net.eval()


def _schedule(stage: Stage, recipe: HubertRecipe) -> trainer.Schedule:
    factor = warm_then_linear(stage.steps, recipe.warmup, floor=0.02)
    return trainer.Schedule(stage.steps, recipe.every, clip=5.0, factor=factor)
