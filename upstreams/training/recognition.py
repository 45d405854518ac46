"""Fine-tuning a system that spells, on transcripts: the backbone and the heads at its exits.

Joint training adds all exits' losses (HuBERT-EE, Wright et al., Zaiem et al.); two-stage training
tunes the backbone by the last exit alone and then, with all that frozen, the other exits
(HuBERT-EE, sec. 2.3; Zaiem et al.'s second approach). With one exit alone both are the same.

The dev split is looked at through every exit, and the best weights by its word error rate are
written. Micro-batch i is a function of the seed and i, masks and speeds included: a killed training
ends as an undisturbed one.

    recognition_recipe.py    its numbers; recognition_presets.py: the published ones, and ours
    recognition_data.py      transcripts and batches; balanced_batches.py, disturbed.py
    recognition_learner.py   trunk and heads as they learn; trunk_walk.py
    recognition_loss.py      CTC of every exit; schedules.py, optimisers.py
    recognition_stages.py    one stage: training, and looks at the dev split
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from ...benchmark import distributed
from ...benchmark.contract import TrainingData, TrainingRun
from ...benchmark.errors import UsageError
from ...benchmark.storage import write_text
from ..recognition import weights
from ..recognition.finetuned import Finetuned
from ..recognition.from_scratch import FromScratch
from ..recognition.heads import are_tied
from .recognition_data import Transcripts, alphabet_for
from .recognition_learner import Learner
from .recognition_recipe import RecognitionRecipe
from .recognition_stages import Progress, StageTraining, stages_of


def train(
    recipe: RecognitionRecipe,
    data: TrainingData,
    run: TrainingRun,
    system: type[Finetuned | FromScratch],
    start: str,
) -> None:
    """`run.weights`, tuned on the transcripts of `data`, and their card; goes on from what is
    there.

    Args:
        system: its class; what it is built with are the run's options.
        start: its option `weights`, where the run names none: what the training begins with.
    """
    if data.noise:
        raise UsageError(f"train {run.name} hears its transcribed speech alone; leave out --noise")
    options = {"weights": start, "seed": run.seed, **run.options}
    options["alphabet"] = alphabet_for(recipe, data, run)
    recogniser = system(run.tag, **options)
    speech = Transcripts(recipe, data, run, recogniser)
    torch.manual_seed(run.seed)
    learner = Learner(recogniser, recipe, run.name).to(run.device)
    stages = stages_of(recipe, learner.depths)
    if len(stages) > 1 and are_tied(recogniser.heads):
        raise UsageError(
            f"train {run.name}: tied heads are one, which cannot be trained after itself; add "
            "--set strategy=joint, or head=separate"
        )
    trainings = [StageTraining(stage, learner, speech, recipe, run) for stage in stages]
    done = {one.stage.name: one.train() for one in trainings}
    if distributed.is_leader():
        _write(learner.recogniser.cpu().eval(), run, speech)
        built = system(run.tag, **run.options | {"weights": str(run.weights)})  # as it is stored
        card = _card(built, recipe, run, speech, done)
        write_text(run.weights.with_suffix(".json"), json.dumps(card, indent=1) + "\n")


def _write(recogniser: Finetuned | FromScratch, run: TrainingRun, speech: Transcripts) -> None:
    """fp16, without what a shipped backbone holds already."""
    trunk = weights.parts(recogniser.trunk, recogniser.heads)["trunk"]
    shipped = trunk.card.name.partition("(")[0]
    tuned_on = f"{speech.name}, {speech.hours:.1f} h of transcripts"
    about = recogniser.described
    weights.save(recogniser, about, run.weights, tuned_on, without=shipped, recipe=run.recipe)


def _card(
    recogniser: Finetuned | FromScratch,
    recipe: RecognitionRecipe,
    run: TrainingRun,
    speech: Transcripts,
    done: Mapping[str, Progress],
) -> dict[str, Any]:
    """What was trained, on what, how, and what it was worth on dev when its weights were kept."""
    return {
        "name": run.name,
        "revision": recogniser.card.revision,
        "parameters": sum(p.numel() for p in recogniser.parameters()),
        "alphabet": recogniser.alphabet.name,
        "symbols": len(recogniser.alphabet),
        "exits": [*recogniser.exits, recogniser.card.depth],
        "tuned_on": recogniser.card.tuned_on,
        "corpus": speech.name,
        "hours": round(speech.hours, 3),
        "utterances": len(speech.items),
        "recipe": asdict(recipe),
        "options": {name: str(value) for name, value in run.options.items()},
        "seed": run.seed,
        "kept": {name: dict(stage.kept) for name, stage in done.items()},
        "last_look": {name: dict(stage.last) for name, stage in done.items()},
        "skipped": {name: list(stage.skipped) for name, stage in done.items()},
    }
