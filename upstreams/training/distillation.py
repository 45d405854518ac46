"""Distilling some blocks of a teacher from the whole of it, on speech without labels.

DistilHuBERT (Chang, Yang and Lee, 2022, arXiv:2110.01900, sec. 3): the student begins as the
teacher's front-end and first blocks, and heads on its last state, dropped afterwards, tell several
of the teacher's states. The loss of a frame is the mean L1 distance over the features plus
lambda * -log sigmoid(cosine) (eq. 1 and 2).

Without heads the student's last state itself is to become the teacher's: so the blocks that a layer
removal left, or a network whose steps leave out blocks at random (LayerDrop, Fan et al., 2020,
sec. 3.1), learn to stand for the whole.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from ...benchmark import distributed, trainer
from ...benchmark.contract import TrainingData, TrainingRun
from ...benchmark.errors import UsageError
from ...benchmark.storage import write_text
from ..backbones.checkpoint_shape import PROMISED
from ..backbones.hubert import HubertNet
from ..backbones.hubert_shape import HubertShape
from ..backbones.hubert_weights import load, save
from .distillation_audio import Crops, Whole, speech_of
from .distillation_recipe import DistillationRecipe
from .distillation_student import Comparison, Student, hold_front, left_in, student_of
from .schedules import warm_then_linear

Numbers = dict[str, float]


@dataclass(frozen=True)
class Pupil:
    """Which blocks of the teacher a student is made of.

    Attributes:
        blocks: of the teacher, from 1 on; the student's blocks are numbered anew.
        drop: probability with which a step leaves a block of the student out.
        kept: the student's blocks that are looked at and written; () = all.
    """

    blocks: Sequence[int]
    drop: float = 0.0
    kept: Sequence[int] = ()


def train(
    recipe: DistillationRecipe,
    data: TrainingData,
    run: TrainingRun,
    pupil: Pupil,
    shape: HubertShape,
) -> None:
    """`run.weights`, distilled from `run.teacher`, and their card; goes on from what is there.

    Args:
        shape: of the tag; apart from its depth the teacher must have it.
    """
    teacher = _network(recipe, data, run, pupil, shape)
    torch.manual_seed(run.seed)
    student = Student(student_of(teacher, pupil.blocks), len(recipe.blocks) * recipe.heads)
    hold_front(student.to(run.device).net, recipe.front, recipe.blocks_alone)
    speech = speech_of(recipe, data, run)
    compared = Comparison(student, run.teacher, recipe, run.device)

    def loss(i: int) -> torch.Tensor:
        """Mean over told states and the step's frames, whichever process has them."""
        batch = speech.batch(i)
        every = compared.sums(batch, left_in(len(pupil.blocks), pupil.drop)).mean()
        return every * distributed.rank_and_size()[1] / compared.frames(batch)

    # heads begin as noise: without them the loss before the training says what it brought
    before = {} if recipe.heads else _look(compared, speech, pupil.kept)
    trainer.train(
        student,
        loss,
        _optimiser(student, recipe),
        _schedule(recipe),
        folder=run.work / "steps",
        seed=run.seed,
        device=run.device,
        what=f"{run.name}: {sum(speech.sources.values()):.1f} h",
        validate=lambda: _look(compared, speech, pupil.kept),
    )
    if distributed.is_leader():
        _write(student.net.cpu(), recipe, run, pupil, speech, before)


@torch.no_grad()
def _look(compared: Comparison, speech: Crops | Whole, blocks: Sequence[int]) -> Numbers:
    """The loss of each told state on held-out speech."""
    batches = list(speech.held_out())
    total = sum(compared.sums(batch, blocks) for batch in batches)
    mean = (total / sum(map(compared.frames, batches))).tolist()
    return {f"loss@{k}": value for k, value in zip(compared.recipe.blocks, mean, strict=True)}


def _network(
    recipe: DistillationRecipe,
    data: TrainingData,
    run: TrainingRun,
    pupil: Pupil,
    shape: HubertShape,
) -> HubertNet:
    """The HuBERT inside the teacher; UsageError where no such student can learn from it."""
    teacher, who = run.teacher, f"train {run.name}"
    if data.noise:
        raise UsageError(f"{who}: student and teacher hear clean speech; leave out --noise")
    net = getattr(teacher, "net", None)
    if not isinstance(net, HubertNet):
        raise UsageError(
            f"{who}: the student begins as blocks of its teacher, and {teacher.card.name} is no "
            "HuBERT; name one: --teacher hubert.tiny"
        )
    for name in PROMISED:
        if name in ("depth", "feature_norm"):  # a student keeps its teacher's layer-norm
            continue
        there, asked = getattr(net.shape, name), getattr(shape, name)
        if there != asked:
            raise UsageError(
                f"{who}: a student has its teacher's sizes, and {teacher.card.name} has {name} "
                f"{there} where {run.name} has {asked}; choose the tag or the teacher that fits"
            )
    deepest = max(*recipe.blocks, *pupil.blocks)
    if deepest > teacher.card.depth:
        raise UsageError(
            f"{who}: block {deepest} is asked for, and the teacher {teacher.card.name} has "
            f"{teacher.card.depth}; see --set layers"
        )
    return net


def _optimiser(student: Student, recipe: DistillationRecipe) -> torch.optim.Optimizer:
    learners = [p for p in student.parameters() if p.requires_grad]
    decay = recipe.weight_decay
    return torch.optim.AdamW(learners, recipe.lr, (0.9, 0.98), 1e-6, weight_decay=decay)


def _schedule(recipe: DistillationRecipe) -> trainer.Schedule:
    factor = warm_then_linear(recipe.steps, recipe.warmup)
    return trainer.Schedule(recipe.steps, recipe.every, clip=recipe.clip, factor=factor)


def _write(
    net: HubertNet,
    recipe: DistillationRecipe,
    run: TrainingRun,
    pupil: Pupil,
    speech: Crops | Whole,
    before: Numbers,
) -> None:
    """The weights as fp16 and their card; heads are dropped."""
    kept = [pupil.blocks[k - 1] for k in pupil.kept] or list(pupil.blocks)
    net = net.with_blocks(pupil.kept).eval() if pupil.kept else net.eval()
    teacher, log = run.teacher.card, run.work / "steps" / "log.jsonl"
    said = {"blocks": "/".join(map(str, kept)), "teacher": teacher.revision}
    save(net, run.weights, without=teacher.name, **said)
    net, revision = load(str(run.weights), net.shape)  # as they are stored
    card = {
        "name": run.name,
        "revision": revision,
        "parameters": sum(p.numel() for p in net.parameters()),
        "shape": asdict(net.shape),
        "teacher": teacher.name,
        "teacher_revision": teacher.revision,
        "blocks": kept,
        "recipe": asdict(recipe),
        "seed": run.seed,
        "hours": {name: round(hours, 3) for name, hours in speech.sources.items()},
        "before": {name: round(value, 5) for name, value in before.items()},
        "last_look": json.loads(log.read_text().splitlines()[-1]),
    }
    write_text(run.weights.with_suffix(".json"), json.dumps(card, indent=1) + "\n")
